"""Targets of an evaluation: a run or an export, with its data."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from kvae_tf import data
from kvae_tf.data.settings import VIDEO_ONLY, DataSettings
from kvae_tf.errors import UserError
from kvae_tf.experiments import run as experiment
from kvae_tf.experiments import settings as experiment_settings
from kvae_tf.experiments.load import load
from kvae_tf.experiments.settings import Settings
from kvae_tf.export.loading import LoadedModel
from kvae_tf.studies import EvaluationTarget


def find(
    run: str = "",
    saved_model: str = "",
    dataset: str = "",
    seed: int | None = None,
    validation: bool = False,
    annotations: str = "",
    max_memory: float | None = None,
    live: bool = False,
) -> EvaluationTarget:
    """The model of a run or of an export, with the data set it was trained on or another one.

    Args:
      run: folder of a run; empty: ``saved_model`` is given (default).
      saved_model: folder of an export's version, with ``settings.json`` beside it; empty: ``run``
        is given (default).
      dataset: name of a world or a file; empty: the data set of the training (default).
      seed: seed of the data, an int; None: the seed of the training (default).
      validation: evaluate the validation part in place of the test part; False by default.
      annotations: a CSV file for the videos of ``dataset``; empty: none, or without ``dataset``
        that of the training (default).
      max_memory: largest size of the data in files, GiB; None: as in the training (default).
      live: take the live model of ``saved_model``, for queries that an export of an earlier version
        lacks; False by default.

    Raises:
      UserError: not exactly one of ``run`` and ``saved_model`` is given, it cannot be read, or the
        data do not fit the model.
    """
    if bool(run) == bool(saved_model):
        raise UserError("expected either --run=PATH or --saved_model=PATH")
    changes = _of_other_data(dataset) if dataset else {}
    changes |= {"annotations": annotations} if annotations else {}
    changes |= {} if seed is None else {"seed": seed}
    changes |= {} if max_memory is None else {"max_memory": max_memory}
    if live and run:
        raise UserError(f"--live is for exports, but --run={run} is given: pass --saved_model")
    if run:
        settings, model, splits = experiment.restore(Path(run))
        if changes:
            settings = Settings.from_dict(settings.to_dict() | changes)
            splits = experiment.load_data(settings)
    else:
        model = load(saved_model, trainable=True) if live else LoadedModel(saved_model)
        path = Path(saved_model).parent / "settings.json"
        settings = experiment_settings.read(path, run_dir="unused", **changes)
        splits = experiment.load_data(settings)
    for what in ("frame_shape", "control_size"):
        expected, value = getattr(model, what), getattr(splits.test, what)
        if expected != value:
            raise UserError(
                f"--dataset={settings.data.dataset} has {what} {value}, expected {expected}, as "
                "the model was trained with"
            )
    if validation:
        splits = splits._replace(test=splits.validation)
    longer = functools.partial(_longer, settings, splits, validation)
    return EvaluationTarget(model, splits, longer, settings.data.dataset, settings.spec.studies)


def _of_other_data(dataset):
    """Settings for another data set: those of the training that do not apply to it are unset."""
    unset = {"annotations"}
    unset |= set() if data.is_video(dataset) else set(VIDEO_ONLY)
    unset |= set() if dataset in data.WORLDS else {"draw_walls", "path_frames"}
    defaults = {f.name: f.default for f in dataclasses.fields(DataSettings) if f.name in unset}
    return {"dataset": dataset} | defaults


def _longer(settings, splits, validation, num_steps):
    """Evaluation sequences of ``num_steps`` frames; None if no regular world has them."""
    if settings.data.dataset not in data.WORLDS or settings.data.path_frames:
        return None
    sizes = np.ones(3, int)
    sizes[1 if validation else 2] = len(splits.test)
    parts = experiment.load_data(
        settings, num_sequences=tuple(map(int, sizes)), num_steps=num_steps
    )
    return parts.validation if validation else parts.test
