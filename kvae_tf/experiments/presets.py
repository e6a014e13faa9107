"""The experiments under ``configs/`` by name, for use from Python."""

from __future__ import annotations

import sys
from pathlib import Path

from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.experiments.settings import Settings, fields
from kvae_tf.models.base import SequenceModel
from kvae_tf.training.build import build, jit, optimizer

# Beside the package in a clone, under the environment's folder where it was installed.
_FOLDERS = (Path(__file__).parents[2] / "configs", Path(sys.prefix) / "share/kvae_tf/configs")


def names() -> list[str]:
    """All presets."""
    return sorted(path.stem for path in _folder().glob("*.cfg"))


def settings(name: str, **changes) -> Settings:
    """The settings of a preset, some of them replaced.

    Args:
      name: out of ``names()``.
      **changes: settings by their flags' names.

    Raises:
      UserError: there is no such preset or setting.
    """
    return Settings.from_dict(flags(name) | changes)


def flags(name: str) -> dict[str, object]:
    """What a preset's file sets, by flag name, files that it refers to included.

    Raises:
      UserError: there is no such preset, or it sets something that is no setting.
    """
    path = _folder() / f"{name}.cfg"
    if not path.exists():
        raise UserError(f"preset {name!r} is unknown, expected one of: {', '.join(names())}")
    defaults = {name: field.default for name, field in fields().items()}
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("--"):
            continue
        key, _, text = line[2:].partition("=")
        if key == "flagfile":
            values |= flags(Path(text).stem)
        elif key in defaults:
            values[key] = _value(defaults[key], text)
        elif key.startswith("no") and defaults.get(key[2:]) in (True, False):
            values[key[2:]] = False
        else:
            raise UserError(f"{path} sets --{key}, which is no setting")
    return values


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
    plan = settings(name, **{"starts": 1} | changes).plan
    model = build(plan, train)
    model.compile(optimizer=optimizer(model, plan, train), jit_compile=jit(plan))
    return model


def _folder():
    for folder in _FOLDERS:
        if folder.is_dir():
            return folder
    raise UserError(f"the folder {_FOLDERS[0]} is missing, expected the package's configs there")


def _value(default, text):
    if isinstance(default, bool):
        return text.lower() in ("", "true", "1")
    if isinstance(default, tuple):
        return [int(word) for word in text.split(",") if word]
    return type(default)(text)
