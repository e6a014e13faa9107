"""Building, compiling and training the model that settings describe."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from kvae_tf import data
from kvae_tf.errors import UserError
from kvae_tf.experiments.settings import Settings
from kvae_tf.models import registry
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.cannonball import features
from kvae_tf.models.cannonball.motion_em import Refit
from kvae_tf.training import callbacks, distribution
from kvae_tf.training.checkpoints import Checkpoints
from kvae_tf.training.optimizer import Leg, Legs, RestingAdam


def build(settings: Settings, train: data.SequenceData, start: int = 0) -> SequenceModel:
    """The model that the settings describe, built and reproducibly initialised.

    Args:
      settings: the whole experiment.
      train: the training part, for its shapes.
      start: number of the initialisation, where several compete.
    """
    seed = settings.training.seed
    if start:
        seed = int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
    keras.utils.set_random_seed(seed)
    steps = steps_per_epoch(settings, train)
    # A replica's step is neither compiled as a whole nor in parts.
    jit_engine = not jit(settings) and tf.distribute.get_strategy().num_replicas_in_sync == 1
    model = registry.create(settings, train, steps, jit_engine)
    model.build()
    if settings.training.newtonian_epochs:
        features.begin(model, train)
    return model


def compile_model(
    model: SequenceModel, settings: Settings, train: data.SequenceData, folder: Path
) -> Checkpoints:
    """Gives the model its optimiser.

    Returns:
      The run's checkpoints.
    """
    model.compile(optimizer=optimizer(model, settings, train), jit_compile=jit(settings))
    strategy = tf.distribute.get_strategy()
    if distribution.is_chief(strategy):
        return Checkpoints(folder, model)
    own = folder.parent / f"worker-{strategy.cluster_resolver.task_id}"
    return Checkpoints(folder, model, own)


def optimizer(
    model: SequenceModel, settings: Settings, train: data.SequenceData
) -> keras.optimizers.Optimizer:
    """The optimiser that the settings describe, built for the model's variables."""
    training = settings.training
    rate = _learning_rate(training, steps_per_epoch(settings, train))
    clip = training.clip_norm or None
    if training.optimizer == "adadelta":
        found = keras.optimizers.Adadelta(rate, global_clipnorm=clip)
    else:
        found = RestingAdam(
            rate, model.dynamics_variables, training.dynamics_rate, global_clipnorm=clip
        )
    found.build(model.trainable_variables)
    return found


def _learning_rate(training, steps):
    """The schedule; where a training has two parts it starts again with the second."""
    schedules = keras.optimizers.schedules

    def schedule(epochs, factor=1.0):
        rate = factor * training.learning_rate
        return {
            "constant": lambda: schedules.ExponentialDecay(rate, 1, 1.0),
            "cosine": lambda: schedules.CosineDecay(rate, epochs * steps, alpha=0.01),
            "exponential": lambda: schedules.ExponentialDecay(
                rate, training.decay_epochs * steps, training.decay_rate, True
            ),
        }[training.schedule]()

    last, factor = training.settling_epochs, training.settling_rate
    if training.pretraining_epochs:
        last, factor = training.epochs - training.pretraining_epochs, 1.0
    first = training.epochs - last
    parts = [(epochs, f) for epochs, f in ((first, 1.0), (last, factor)) if epochs]
    legs = [Leg(epochs * steps, schedule(epochs, f)) for epochs, f in parts]
    return legs[0].schedule if len(legs) == 1 else Legs(legs)


def train(
    model: SequenceModel,
    checkpoints: Checkpoints,
    settings: Settings,
    splits: data.Splits,
    run_dir: Path,
    epochs: int | None = None,
) -> None:
    """Runs the epochs that are left.

    Args:
      model: built and compiled.
      checkpoints: its checkpoints, of which the last is restored if there is one.
      settings: the whole experiment.
      splits: the data.
      run_dir: where logs and times go.
      epochs: the epoch after which to stop; None: the last.
    """
    training, progress = settings.training, checkpoints.progress
    done = int(progress.epoch.numpy())
    epochs = epochs or training.epochs
    if done >= epochs or int(progress.stopped.numpy()):
        return
    steps = steps_per_epoch(settings, splits.train)
    batch_size = min(training.batch_size, len(splits.train))

    def batches(rows):
        found = data.curriculum_batches(
            splits.train,
            training.curriculum_epochs * steps,
            batch_size,
            training.seed,
            start_step=done * steps,
            missing_rate=settings.data.missing_rate,
            first_seen=settings.data.first_seen,
            mixed_rates=settings.data.mixed_rates,
            fixed_masks=settings.data.fixed_masks,
            rows=rows,
        )
        complete = settings.data.missing_rate == 0 and splits.train.is_complete
        return found.map(_all_seen) if complete else found

    validation = data.evaluation_batches(splits.validation, min(250, len(splits.validation)))
    if splits.validation.is_complete:
        validation = validation.map(_all_seen)
    strategy = tf.distribute.get_strategy()
    writing = _writing(settings, splits, run_dir, done) if distribution.is_chief(strategy) else []
    refits = []
    if settings.model.model == "cannonball":  # without settling epochs theirs never comes
        refits = [Refit(splits.train, training.joint_epochs, training.seed)]
    model.fit(
        distribution.deal_out(batches, batch_size, strategy),
        steps_per_epoch=steps,
        initial_epoch=done,
        epochs=epochs,
        validation_data=validation,
        shuffle=False,
        verbose=1,
        callbacks=[
            callbacks.Throughput(batch_size * splits.train.num_steps),
            *refits,
            callbacks.NaNGuard(run_dir / "checkpoints"),
            callbacks.SaveAndStop(checkpoints, training.patience),
            *writing,
        ],
    )


def _writing(settings, splits, run_dir, done):
    """What leaves results for people."""
    logs = run_dir / "logs"
    _write_hparams(logs, settings)
    profiled = settings.training.profile_updates or 0
    return [
        keras.callbacks.TensorBoard(str(logs), write_graph=False, profile_batch=profiled),
        callbacks.Pictures(logs / "validation", splits.validation, settings.training.image_epochs),
        callbacks.Clock(run_dir / "time.json", done),
    ]


def steps_per_epoch(settings: Settings, train: data.SequenceData) -> int:
    """Updates an epoch: as set, or one pass over the training part."""
    return settings.training.steps_per_epoch or data.steps_per_pass(
        train, min(settings.training.batch_size, len(train))
    )


def jit(settings: Settings) -> bool:
    """Whether whole steps are compiled; on a CPU by default only the dynamics are.

    Raises:
      UserError: they are to be, but several replicas share them.
    """
    choice = settings.training.jit
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        if choice == "on":
            raise UserError("--jit is on, expected auto or off where replicas share a step")
        return False
    if choice != "auto":
        return choice == "on"
    return bool(tf.config.list_physical_devices("GPU"))


def _all_seen(batch):
    """A batch without a mask: the model then takes the way without the coupled loop."""
    return {name: value for name, value in batch.items() if name != "observed"}


def _write_hparams(folder, settings):
    values = {
        name: str(value) if isinstance(value, list) else value
        for name, value in settings.to_dict().items()
    }
    with tf.summary.create_file_writer(str(folder / "train")).as_default(step=0):
        hparams.hparams(values, trial_id=settings.run.run_dir)
        rows = "\n".join(f"| {name} | `{value}` |" for name, value in values.items())
        tf.summary.text("settings", f"| flag | value |\n| --- | --- |\n{rows}")
