"""Training from Python: data and settings in, a fitted model out."""

from __future__ import annotations

import os
import tempfile

import numpy as np

from kvae_tf.data.in_memory import as_splits
from kvae_tf.data.settings import IN_MEMORY
from kvae_tf.errors import DivergedError, UserError
from kvae_tf.experiments import presets, recipe
from kvae_tf.experiments import run as experiment
from kvae_tf.experiments.settings import check_own
from kvae_tf.models import registry
from kvae_tf.models.base import SequenceModel


def train(
    data,
    preset: str | None = None,
    run_dir: str | os.PathLike | None = None,
    **flags,
) -> SequenceModel:
    """Trains a model, as ``scripts/train.py`` does.

    For example ``kvae_tf.train(images, epochs=20, learning_rate=0.003)``, or
    ``kvae_tf.train("mine.npz", preset="box", run_dir="runs/mine")``.

    Args:
      data: the name of a world or the path of a file or folder, as ``--dataset``; an array of
        images ``[N, T, H, W]`` or ``[N, T, H, W, C]``, uint8 or float in [0, 1], or of vectors
        ``[N, T, D]``; a dictionary of arrays by the names they have in a file (``images`` or
        ``vectors``, ``controls``, ``observed``, ``states``); ``SequenceData``, of which 80 / 10 /
        10 % are for training, validation and test; or ``Splits``.
      preset: settings by the name of a config, as ``"box"``; None: those that are chosen from the
        data, see ``recipe`` (default), of a world the flags' defaults.
      run_dir: folder of the run, with checkpoints, logs, metrics and the export; None: nothing is
        kept on disk (default).
      **flags: settings by their flags' names; they go before those of the preset.

    Returns:
      The trained model, compiled: ``fit`` can go on. With ``patience``, that of the best epoch.

    Raises:
      UserError: a setting or the data are refused; the message names it.
      DivergedError: the bound is no longer a number.
    """
    values = _values(preset, {name: _plain(value) for name, value in flags.items()})
    if isinstance(data, (str, os.PathLike)):
        values["dataset"], splits = os.fspath(data), None
    else:
        values["dataset"] = IN_MEMORY
        splits = as_splits(data, values.get("seed", 0))
    if run_dir is not None:
        values |= {"run_dir": os.fspath(run_dir)}
        return _execute(values, splits, preset is not None).model
    for name in ("resume", "overwrite"):
        if values.get(name):
            raise UserError(f"{name} is set, expected run_dir, the folder of a run")
    with tempfile.TemporaryDirectory(prefix="kvae_tf_") as folder:
        values = {"image_epochs": 0} | values | {"run_dir": folder}
        try:
            training_only = not values.get("export_dir")
            return _execute(values, splits, preset is not None, training_only).model
        # What they say is kept is not.
        except KeyboardInterrupt:
            raise KeyboardInterrupt("nothing is kept without run_dir") from None
        except DivergedError as error:
            advice = "try a lower learning_rate or clip_norm; nothing is kept without run_dir"
            raise DivergedError(error.what, advice) from None


def _values(preset, flags):
    """The settings that are given, by flag name."""
    for name in ("dataset", "run_dir"):
        if name in flags:
            raise UserError(f"{name} is set twice, expected data and run_dir as arguments")
    values = presets.flags(preset) if preset else {}
    for name in ("dataset", "run_dir"):
        values.pop(name, None)
    values |= flags
    model = values.get("model", registry.DEFAULT)
    if not values.get("init_from") and isinstance(model, str):
        check_own(model, flags)
    return values


def _execute(values, splits, is_configured, training_only=False):
    settings, splits = recipe.complete(values, is_configured, splits)
    return experiment.execute(settings, splits, training_only)


def _plain(value):
    """A setting as JSON has it: NumPy's numbers and arrays as Python's, paths as text."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
