"""What to evaluate: a run or an export, with its data."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from kvae_tf import data
from kvae_tf.errors import UserError
from kvae_tf.experiments import run as experiment
from kvae_tf.experiments.settings import Settings
from kvae_tf.export.loading import LoadedModel
from kvae_tf.studies import EvaluationTarget


def find(
    run: str = "",
    saved_model: str = "",
    dataset: str = "",
    seed: int | None = None,
    validation: bool = False,
) -> EvaluationTarget:
    """The model of a run or of an export, and the data it was trained on, or others.

    Args:
      run: a run's folder; or
      saved_model: an export's version folder, beside which ``settings.json`` lies.
      dataset: a world's name or a file, instead of the model's own.
      seed: of the data, instead of the model's own.
      validation: look at the validation part instead of the test part.

    Raises:
      UserError: not one of ``run`` and ``saved_model``, or they or the data do not fit.
    """
    if bool(run) == bool(saved_model):
        raise UserError("expected either --run=PATH or --saved_model=PATH")
    changes = {"dataset": dataset} if dataset else {}
    changes |= {} if seed is None else {"seed": seed}
    if run:
        settings, model, splits = experiment.restore(Path(run))
        if changes:
            settings = Settings.from_dict(settings.to_dict() | changes)
            splits = experiment.load_data(settings)
    else:
        model = LoadedModel(saved_model)
        path = Path(saved_model).parent / "settings.json"
        settings = experiment.read_settings(path, run_dir="unused", **changes)
        splits = experiment.load_data(settings)
    for what in ("frame_shape", "control_size"):
        expected, found = getattr(model, what), getattr(splits.test, what)
        if expected != found:
            raise UserError(
                f"--dataset={settings.data.dataset} has {what} {found}, expected {expected}, as "
                "the model was trained with"
            )
    if validation:
        splits = splits._replace(test=splits.validation)
    longer = functools.partial(_longer, settings, splits, validation)
    return EvaluationTarget(model, splits, longer, settings.data.dataset, settings.spec.studies)


def _longer(settings, splits, validation, num_steps):
    """Evaluation sequences of ``num_steps`` frames; None where the data are no simulated world."""
    if settings.data.dataset not in data.WORLDS:
        return None
    sizes = np.ones(3, int)
    sizes[1 if validation else 2] = len(splits.test)
    parts = experiment.load_data(
        settings, num_sequences=tuple(map(int, sizes)), num_steps=num_steps
    )
    return parts.validation if validation else parts.test
