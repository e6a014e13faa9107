"""What the package knows of a model: one ``ModelSpec``, which everything else reads.

``registry`` holds the specs. A model of your own registers one, see ``docs/adding_a_model.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
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
    "coverage",
    "quality",
    "anomalies",
)
STATE_STUDIES = ("regression", "walk", "controls", "long_filtering")
OBJECT_STUDIES = ("objects", "continuations")


class Setup(NamedTuple):
    """What a model is made from.

    Attributes:
      settings: the model's own settings.
      train: the training part of the data, for its shapes and numbers.
      dataset: name of the data set, for messages.
      seed: seed of the whole training, an int.
      epochs: number of epochs of the whole training.
      steps_per_epoch: number of updates in an epoch.
      jit_engine: compile the dynamics inside a training step that is itself not compiled.
      training: constructor arguments of ``SequenceModel``, by name.
    """

    settings: ModelSettings
    train: SequenceData
    dataset: str
    seed: int
    epochs: int
    steps_per_epoch: int
    jit_engine: bool
    training: dict[str, object]

    def arguments(self, *without: str) -> dict[str, object]:
        """Constructor arguments by name: frame shape, control size, ``training`` and settings.

        Args:
          *without: names of settings that are no arguments of the constructor.
        """
        settings = dataclasses.asdict(self.settings)
        return {
            "frame_shape": self.train.frame_shape,
            "control_size": self.train.control_size,
            **self.training,
            **{name: value for name, value in settings.items() if name not in without},
        }

    def updates(self, epochs: int) -> int:
        """Number of updates in a number of epochs."""
        return epochs * self.steps_per_epoch


def _nothing(model, setup):
    """No preparation."""
    del model, setup


def _no_callbacks(setup):
    del setup
    return []


def _no_recipe(train, given):
    del train, given
    return {}


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model, as flags, training, evaluation, cards and tables see it.

    Attributes:
      name: name of the model for ``--model``.
      title: name of the model in tables and figures.
      summary: what the model is, for its model card; a noun phrase.
      paper: source of the model: authors, year, title.
      settings: dataclass of the model's settings.
      create: makes the model from a ``Setup``; it is not yet built.
      describe: describes the model's parts in words for its model card, from the settings.
      prepare: called with the built model before the first update, for an initialisation in closed
        form; by default nothing is done.
      callbacks: makes the model's own Keras callbacks of the training; none by default.
      recipe: chooses settings for data that nobody tuned the model for, by flag name, from the
        training part and the settings that are given; by default none.
      studies: names of the studies of ``kvae_tf.studies`` that apply to the model.
      first_updates: names of constructor arguments that are numbers of a training's first updates,
        which a trained model has behind it; none by default.
      accepts_vectors: whether the model, with given settings, takes vectors in place of images;
        by default it does not.
      from_data: names of the constructor's arguments that ``create`` takes from the data; a model
        that starts from the weights of another one keeps those of the other.
      older_exports: values of ``VideoModel`` attributes that exports of earlier versions lack, by
        attribute name, from the values of their ``settings.json``.
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
    recipe: Callable[[SequenceData, Mapping[str, object]], dict[str, object]] = _no_recipe
    studies: tuple[str, ...] = (*FRAME_STUDIES, *STATE_STUDIES)
    first_updates: tuple[str, ...] = ()
    accepts_vectors: Callable[[ModelSettings], bool] = lambda settings: False
    from_data: tuple[str, ...] = ()
    older_exports: Callable[[dict], dict[str, object]] = lambda values: {}
