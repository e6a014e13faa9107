"""Live models, which ``fit`` can go on with, from what runs and exports left on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.experiments.settings import Settings, read
from kvae_tf.experiments.sources import Source
from kvae_tf.export import weights
from kvae_tf.export.weights import Description
from kvae_tf.models.base import SequenceModel
from kvae_tf.training.build import build, compile_model, jit, optimizer


def from_source(source: Source) -> SequenceModel:
    """The trained model, compiled with the optimiser of its training.

    The learning-rate schedule of an export's model begins anew; that of a run goes on.

    Args:
      source: where the model is.

    Raises:
      UserError: a file is missing or damaged, or does not fit the others.
    """
    description = describe(source)
    settings = read(
        source.folder / "settings.json",
        run_dir="unused",
        steps_per_epoch=description.steps_per_epoch,
    )
    like = _like(description)
    arguments = dict(description.arguments)
    if source.kind != "run":
        arguments |= dict.fromkeys(settings.spec.first_updates, 0)
    try:
        model = build(settings.plan, like, arguments=arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source.folder / weights.MODEL} does not fit: {error}") from None
    if source.kind == "run":
        restore(model, settings, like, source.path)
    else:
        weights.read(source.weights, model)
        if model.weight_updates:  # they are done
            model.weight_updates, model.reconstruction_weight = 0, 1.0
        model.compile(
            optimizer=optimizer(model, settings.plan, like), jit_compile=jit(settings.plan)
        )
    return model


def describe(source: Source) -> Description:
    """What ``model.json`` says of a trained model.

    Args:
      source: where the model is.

    Raises:
      UserError: there are no weights to go on from, or no description of the model.
    """
    if source.kind == "export" and not source.weights.exists():
        raise UserError(
            f"{source.path} has no {weights.WEIGHTS} beside it, expected the weights of the model: "
            "exports of earlier versions have none"
        )
    return weights.read_description(source.folder / weights.MODEL)


def restore(model: SequenceModel, settings: Settings, train: SequenceData, run_dir: Path) -> None:
    """Compiles a model and restores what a run made: its last state; with patience, its best.

    Where the run has calibrated that state, it is the calibrated one.

    Args:
      model: a built model.
      settings: settings of the run.
      train: sequences with the shapes of the training part.
      run_dir: the run's folder.

    Raises:
      UserError: there is no checkpoint, or it is damaged, or of another model.
    """
    states = compile_model(model, settings.plan, train, run_dir / "checkpoints")
    trained = states.restore_best if settings.training.patience else states.restore_last
    if not (states.restore_calibrated() or trained()):
        raise UserError(f"{run_dir} holds no checkpoint, expected a run with a finished epoch")


def _like(description):
    """One sequence with the shapes of the training data, from which a model can be made."""
    shape = (1, 2, *description.frame_shape)
    most = description.max_objects
    return SequenceData(
        frames=np.zeros(shape, np.float32 if description.is_vector else np.uint8),
        observed=np.ones((1, 2), np.float32),
        controls=np.zeros((1, 2, description.control_size), np.float32),
        num_objects=np.array([most], np.int32) if most else None,
        is_vector=description.is_vector,
    )
