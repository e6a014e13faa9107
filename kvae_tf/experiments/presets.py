"""The experiments under ``configs/`` by name, for use from Python."""

from __future__ import annotations

from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.experiments import flagfiles, initial
from kvae_tf.experiments import flags as settings_flags
from kvae_tf.experiments.settings import Settings
from kvae_tf.models.base import SequenceModel
from kvae_tf.training.build import jit, optimizer


def names() -> list[str]:
    """All presets."""
    return flagfiles.names()


def settings(name: str, **changes) -> Settings:
    """The settings of a preset, some of them replaced.

    Args:
      name: out of ``names()``.
      **changes: settings by their flags' names.

    Raises:
      UserError: there is no such preset or setting.
    """
    return Settings.from_dict(initial.complete(flags(name) | changes))


def flags(name: str) -> dict[str, object]:
    """What a preset's file sets, by flag name, files that it refers to included.

    Raises:
      UserError: there is no such preset, or it sets something that is no setting.
    """
    if name not in names():
        raise UserError(f"preset {name!r} is unknown, expected one of: {', '.join(names())}")
    path = flagfiles.folder() / f"{name}.cfg"
    try:
        return settings_flags.read([f"--flagfile={path}"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def create(name: str, train: SequenceData, **changes) -> SequenceModel:
    """A preset's model for some data, built and compiled: ``fit`` can begin.

    Where a preset lets several initialisations compete, this is the first of them.

    >>> from kvae_tf import data, presets
    >>> train = data.load("pendulum", seed=0, num_sequences=(40, 10, 10)).train
    >>> model = presets.create("pendulum", train, epochs=2, jit="off")
    >>> model.encoding_size
    2

    Args:
      name: out of ``names()``.
      train: the training part, for its shapes.
      **changes: settings by their flags' names.

    Raises:
      UserError: there is no such preset or setting, or the data do not fit.
    """
    chosen = settings(name, **{"starts": 1} | changes)
    model, plan = initial.build_model(chosen, train), chosen.plan
    model.compile(optimizer=optimizer(model, plan, train), jit_compile=jit(plan))
    return model
