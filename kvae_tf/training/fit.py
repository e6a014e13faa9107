"""The epochs of a training: batches, validation and callbacks."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from kvae_tf import data
from kvae_tf.models.base import SequenceModel
from kvae_tf.training import callbacks, distribution
from kvae_tf.training.build import TrainingPlan, model_setup, steps_per_epoch
from kvae_tf.training.checkpoints import Checkpoints

_VALIDATED = 250  # sequences in a validation batch


def train(
    model: SequenceModel,
    checkpoints: Checkpoints,
    plan: TrainingPlan,
    splits: data.Splits,
    run_dir: Path,
    epochs: int | None = None,
) -> None:
    """Runs the epochs that are left.

    Args:
      model: a model that is built and compiled.
      checkpoints: the model's checkpoints; the progress in them says which epochs are done.
      plan: the whole training.
      splits: the three parts of the data.
      run_dir: the run's folder, for logs and times.
      epochs: number of the epoch after which to stop; None: the last of the plan (default).

    Raises:
      DivergedError: a term of the bound is no longer a number.
    """
    progress = checkpoints.progress
    done = int(progress.epoch.numpy())
    epochs = epochs or plan.training.epochs
    if done >= epochs or int(progress.stopped.numpy()):
        return
    strategy = tf.distribute.get_strategy()
    model.fit(
        _training_batches(plan, splits.train, done, strategy),
        steps_per_epoch=steps_per_epoch(plan, splits.train),
        initial_epoch=done,
        epochs=epochs,
        validation_data=_validation_batches(splits.validation),
        shuffle=False,
        verbose=callbacks.verbosity(),
        callbacks=_callbacks(plan, splits, checkpoints, run_dir, done, strategy),
    )


def _training_batches(plan, train, done, strategy):
    """Batches from the first one that is not done, divided among the replicas."""
    settings, steps = plan.data, steps_per_epoch(plan, train)
    batch_size = min(plan.training.batch_size, len(train))

    def batches(rows):
        dataset = data.curriculum_batches(
            train,
            settings.curriculum_epochs * steps,
            batch_size,
            plan.training.seed,
            start_step=done * steps,
            missing_rate=settings.missing_rate,
            first_seen=settings.first_seen,
            mixed_rates=settings.mixed_rates,
            fixed_masks=settings.fixed_masks,
            rows=rows,
        )
        complete = settings.missing_rate == 0 and train.is_complete
        return dataset.map(_without_mask) if complete else dataset

    return distribution.deal_out(batches, batch_size, strategy)


def _validation_batches(validation):
    batches = data.evaluation_batches(validation, min(_VALIDATED, len(validation)))
    return batches.map(_without_mask) if validation.is_complete else batches


def _without_mask(batch):
    """A batch without ``observed``: all frames are seen, and models need no joint filter."""
    return {name: value for name, value in batch.items() if name != "observed"}


def _callbacks(plan, splits, checkpoints, run_dir, done, strategy):
    """The callbacks in their order; only the chief writes logs, pictures and times."""
    batch_size = min(plan.training.batch_size, len(splits.train))
    *before, _ = (part.epochs for part in plan.model.schedule_parts(plan.training.epochs))
    working = [
        callbacks.Throughput(batch_size * splits.train.num_steps),
        *plan.spec.callbacks(model_setup(plan, splits.train)),
        callbacks.NaNGuard(run_dir / "checkpoints"),
        callbacks.SaveAndStop(checkpoints, plan.training.patience, sum(before)),
    ]
    if not distribution.is_chief(strategy):
        return working
    logs, profiled = run_dir / "logs", plan.training.profile_updates or 0
    every = plan.training.image_epochs
    pictures = [callbacks.Pictures(logs / "validation", splits.validation, every)] if every else []
    return [
        *working,
        keras.callbacks.TensorBoard(str(logs), write_graph=False, profile_batch=profiled),
        *pictures,
        callbacks.Clock(run_dir / "time.json", done),
        callbacks.EpochLines(),
    ]
