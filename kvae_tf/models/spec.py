"""What the package knows of a model: one ``ModelSpec``, through which everything else asks.

``registry`` holds the specs. A model of your own registers one, see ``docs/adding_a_model.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras

from kvae_tf.data import SequenceData
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.settings import ModelSettings

FRAME_STUDIES = (
    "missing_at_random",
    "gap",
    "trajectories",
    "modes",
    "generate",
    "forecast",
    "quality",
)
STATE_STUDIES = ("regression", "walk", "controls")
OBJECT_STUDIES = ("objects", "continuations")


class Setup(NamedTuple):
    """What a model is made from.

    Attributes:
      settings: the model's own.
      train: the training part, for its shapes and numbers.
      dataset: the data set's name, for messages.
      seed: of the whole training.
      epochs: of the whole training.
      steps_per_epoch: updates an epoch.
      jit_engine: compile the dynamics inside a step that is itself not compiled.
      training: constructor arguments that ``SequenceModel`` takes, by name.
    """

    settings: ModelSettings
    train: SequenceData
    dataset: str
    seed: int
    epochs: int
    steps_per_epoch: int
    jit_engine: bool
    training: dict[str, object]

    def arguments(self, *parts: type[ModelSettings]) -> dict[str, object]:
        """Constructor arguments: frame shape, control size, those of the training, and settings.

        Args:
          *parts: classes of settings, whose fields are arguments of the same name; none: all.
        """
        names = [field.name for part in parts for field in dataclasses.fields(part)]
        chosen = dataclasses.asdict(self.settings)
        return {
            "frame_shape": self.train.frame_shape,
            "control_size": self.train.control_size,
            **self.training,
            **{name: chosen[name] for name in names or chosen},
        }

    def updates(self, epochs: int) -> int:
        """The updates of so many epochs."""
        return epochs * self.steps_per_epoch


def _nothing(model, setup):
    """No preparation."""
    del model, setup


def _no_callbacks(setup):
    del setup
    return []


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model, as flags, training, evaluation, cards and tables see it.

    Attributes:
      name: what ``--model`` calls it.
      title: what tables and figures call it.
      summary: what a model card calls it, a noun phrase.
      paper: where it comes from: authors, year, title.
      settings: the dataclass of its settings.
      create: makes the model, not yet built.
      describe: a model card's words for its parts, from the settings.
      prepare: called with the built model before any update, for a start in closed form.
      callbacks: Keras callbacks of its own in training.
      studies: the studies of ``kvae_tf.studies`` that make sense for it.
      accepts_vectors: whether settings allow vectors in place of pictures.
      older_exports: what exports of earlier versions do not say of themselves, by attribute of
        ``VideoModel``, from the values of their ``settings.json``.
    """

    name: str
    title: str
    summary: str
    paper: str
    settings: type[ModelSettings]
    create: Callable[[Setup], SequenceModel]
    describe: Callable[[ModelSettings], str]
    prepare: Callable[[SequenceModel, Setup], None] = _nothing
    callbacks: Callable[[Setup], list[keras.callbacks.Callback]] = _no_callbacks
    studies: tuple[str, ...] = (*FRAME_STUDIES, *STATE_STUDIES)
    accepts_vectors: Callable[[ModelSettings], bool] = lambda settings: False
    older_exports: Callable[[dict], dict[str, object]] = lambda values: {}
