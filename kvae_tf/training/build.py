"""From a plan and data to a model that can be trained: built, initialised, compiled."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import data
from kvae_tf.data.settings import DataSettings
from kvae_tf.errors import UserError
from kvae_tf.evaluation.masked_batches import warn_of_times
from kvae_tf.models import registry
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.settings import ModelSettings
from kvae_tf.models.spec import ModelSpec, Setup
from kvae_tf.training import distribution
from kvae_tf.training.checkpoints import Checkpoints
from kvae_tf.training.optimizer import PhasedAdam, PiecewiseSchedule, SchedulePiece
from kvae_tf.training.settings import TrainingSettings


class TrainingPlan(NamedTuple):
    """A training: data, model and optimisation.

    Attributes:
      data: settings of the data, with hidden frames and curriculum.
      spec: spec of the model.
      model: settings of the model, an instance of ``spec.settings``.
      training: settings of optimiser and schedule.
    """

    data: DataSettings
    spec: ModelSpec
    model: ModelSettings
    training: TrainingSettings


def build(
    plan: TrainingPlan,
    train: data.SequenceData,
    start: int = 0,
    arguments: dict[str, object] | None = None,
) -> SequenceModel:
    """The model of a plan, built and reproducibly initialised.

    Args:
      plan: the whole training.
      train: the training part, for its shapes and for initialisations in closed form.
      start: number of the initialisation where several are compared (``--starts``), 0 by default.
      arguments: arguments of the model's constructor, in place of those of the plan, for a model
        whose weights are then set: it has no initialisation in closed form. None: all are those of
        the plan (default).

    Raises:
      UserError: the model does not fit the data.
    """
    if train.is_vector and not plan.spec.accepts_vectors(plan.model):
        known = [s.name for s in registry.specs() if s.accepts_vectors(s.settings())]
        raise UserError(
            f"--model={plan.spec.name}: the data are vectors, expected --model="
            f"{' or '.join(known)} with its default --network"
        )
    seed = plan.training.seed
    if start:
        seed = int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
    keras.utils.set_random_seed(seed)
    setup = model_setup(plan, train)
    model = plan.spec.create(setup)
    warn_of_times(model, train.times)
    if arguments is not None:
        model = type(model).from_config(model.get_config() | arguments)
    model.build()
    if arguments is None:
        plan.spec.prepare(model, setup)
    return model


def model_setup(plan: TrainingPlan, train: data.SequenceData) -> Setup:
    """The ``Setup`` from which the plan's model is made.

    Args:
      plan: the whole training.
      train: the training part of the data.
    """
    training, steps = plan.training, steps_per_epoch(plan, train)
    # The step of a replica is not compiled at all.
    jit_engine = not jit(plan) and tf.distribute.get_strategy().num_replicas_in_sync == 1
    return Setup(
        settings=plan.model,
        train=train,
        dataset=plan.data.dataset,
        seed=training.seed,
        epochs=training.epochs,
        steps_per_epoch=steps,
        jit_engine=jit_engine,
        training={
            "noise_seed": training.seed,
            "batch_parts": training.batch_parts,
            "loss_scale": plan.model.loss_scale,
            "reconstruction_weight": training.reconstruction_weight,
            "weight_updates": training.weight_epochs * steps,
        },
    )


def compile_model(
    model: SequenceModel, plan: TrainingPlan, train: data.SequenceData, folder: Path
) -> Checkpoints:
    """Compiles the model with the plan's optimiser.

    Args:
      model: a built model.
      plan: the whole training.
      train: the training part of the data.
      folder: folder of the run's checkpoints.

    Returns:
      The run's checkpoints; a worker that is not the chief writes its own elsewhere.
    """
    model.compile(optimizer=optimizer(model, plan, train), jit_compile=jit(plan))
    strategy = tf.distribute.get_strategy()
    if distribution.is_chief(strategy):
        return Checkpoints(folder, model)
    own = folder.parent / f"worker-{strategy.cluster_resolver.task_id}"
    return Checkpoints(folder, model, own)


def optimizer(
    model: SequenceModel, plan: TrainingPlan, train: data.SequenceData
) -> keras.optimizers.Optimizer:
    """The optimiser of a plan, built for the model's variables.

    Args:
      model: a built model.
      plan: the whole training.
      train: the training part of the data.
    """
    training = plan.training
    rate = _learning_rate(plan, steps_per_epoch(plan, train))
    clip = training.clip_norm or None
    if training.optimizer == "adadelta":
        optimizer = keras.optimizers.Adadelta(rate, global_clipnorm=clip)
    else:
        optimizer = PhasedAdam(
            rate, model.dynamics_variables, training.dynamics_rate, global_clipnorm=clip
        )
    optimizer.build(model.trainable_variables)
    return optimizer


def _learning_rate(plan, steps):
    """The learning-rate schedule; it starts again with each part of the training."""
    training, schedules = plan.training, keras.optimizers.schedules

    def schedule(epochs, factor):
        rate = factor * training.learning_rate
        return {
            "constant": lambda: schedules.ExponentialDecay(rate, 1, 1.0),
            "cosine": lambda: schedules.CosineDecay(rate, epochs * steps, alpha=0.01),
            "exponential": lambda: schedules.ExponentialDecay(
                rate, training.decay_epochs * steps, training.decay_rate, True
            ),
        }[training.schedule]()

    parts = plan.model.schedule_parts(training.epochs)
    pieces = [SchedulePiece(epochs * steps, schedule(epochs, rate)) for epochs, rate in parts]
    return pieces[0].schedule if len(pieces) == 1 else PiecewiseSchedule(pieces)


def steps_per_epoch(plan: TrainingPlan, train: data.SequenceData) -> int:
    """Number of updates in an epoch: as set, or one pass over the training part.

    Args:
      plan: the whole training.
      train: the training part of the data.
    """
    return plan.training.steps_per_epoch or data.steps_per_pass(
        train, min(plan.training.batch_size, len(train))
    )


def jit(plan: TrainingPlan) -> bool:
    """Whether XLA compiles whole training steps; by default only where there is a GPU.

    Args:
      plan: the whole training.

    Raises:
      UserError: ``--jit`` is on, but several replicas share a step.
    """
    choice = plan.training.jit
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        if choice == "on":
            raise UserError("--jit is on, expected auto or off where replicas share a step")
        return False
    if choice != "auto":
        return choice == "on"
    return bool(tf.config.list_physical_devices("GPU"))
