"""Learns what happens where objects meet, from attention's readings alone.

The modes of ``Collisions``, the force and the noises are fitted to what attention reads in training
sequences: by gradients, such that the readings are likely under the filters of ``together.follow``.
In half of the sequences a stretch of frames is hidden, so that the law has to hold over many steps.
Frames play no part, so thousands of updates take minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData, evaluation_batches
from kvae_tf.models.cannonball.model import Cannonball
from kvae_tf.models.cannonball.newtonian import NewtonianMixture
from kvae_tf.models.cannonball.together import follow

_BATCH = 64  # sequences of an update
_READ = 100  # sequences that attention reads at once
_RATE = 5e-3  # of the first update of a fit; it falls to 0 by a cosine
_CLIP = 20.0  # norm of the gradient of ln p of a sequence
_HIDDEN = 0.5  # share of the sequences with a hidden stretch
_FIRST_SEEN = 4


class Ascent:
    """Gradient ascent (Adam) on ln p of readings.

    Args:
      motion: a built motion with ``collisions``; its variables are changed.
    """

    def __init__(self, motion: NewtonianMixture):
        variables = [*motion.collisions.trainable_variables, motion.force, *motion.noise_variables]
        variables = [variable for variable in variables if variable.trainable]  # Σ_H may rest
        optimizer = keras.optimizers.Adam(_RATE, global_clipnorm=_CLIP)
        optimizer.build(variables)

        @tf.function(autograph=False, jit_compile=True)
        def update(readings, variances, seen, present):
            with tf.GradientTape() as tape:
                log_p = follow(motion, readings, variances, seen, present).log_likelihood
                loss = -tf.reduce_mean(tf.reduce_sum(log_p, axis=[1, 2]))
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

        self._optimizer = optimizer
        self._update = update

    def restart(self) -> None:
        """Forgets moments and the count of updates."""
        for variable in self._optimizer.variables:
            variable.assign(tf.zeros_like(variable))

    def update(self, rate, readings, variances, seen, present) -> None:
        """One update with a learning rate, on a batch as ``follow`` takes it."""
        self._optimizer.learning_rate.assign(rate)
        self._update(readings, variances, seen, present)


def fit_collisions(
    model: Cannonball,
    train: SequenceData,
    updates: int,
    seed: int = 0,
    rate: float = 1.0,
    ascent: Ascent | None = None,
) -> None:
    """Fits ``model.motion`` where objects meet, its force and its noises.

    Args:
      model: a built model with ``collision_modes``; its motion is changed.
      train: complete sequences.
      updates: number of updates.
      seed: of batches and hidden frames, an int, 0 by default.
      rate: factor of the learning rate, 1 by default.
      ascent: of the model's motion; None: a new one (default).
    """
    motion, rng = model.motion, np.random.default_rng(seed)
    readings, variances, present = read_together(model, train)
    num_steps = readings.shape[1]
    _standardise(motion, readings, present)
    ascent = ascent or Ascent(motion)
    ascent.restart()
    for i in range(updates):
        step = rate * _RATE * (1.0 + math.cos(math.pi * i / updates)) / 2.0
        rows = rng.integers(0, len(readings), _BATCH)
        batch = readings[rows], variances[rows], _stretches(rng, _BATCH, num_steps), present[rows]
        ascent.update(step, *batch)


def read_together(
    model: Cannonball, data: SequenceData, query: Callable | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Readings of all objects and their variances ``[S, T, N, m]``, and who is present ``[S, N]``.

    With ``posterior="attention"`` readings are the positions themselves: the variances are 0.

    Args:
      model: a built model.
      data: S complete sequences; without ``num_objects`` each shows ``max_objects``.
      query: of frames and ``num_objects``; None: ``model.locate`` (default).
    """
    locate, moments = tf.function(query or model.locate, autograph=False), []
    for batch in evaluation_batches(data, min(_READ, len(data))):
        counts = batch.get("num_objects")
        if counts is None:
            counts = np.full(len(batch["frames"]), model.max_objects, np.int32)
        q = locate(batch["frames"], num_objects=counts)
        present = np.arange(model.max_objects) < counts[:, np.newaxis]
        rows = batch["weight"] > 0
        moments.append([x[rows] for x in (q.mean.numpy(), q.std.numpy(), present)])
    means, stds, present = map(np.concatenate, zip(*moments, strict=True))
    variances = np.square(stds) if model.posterior == "smoothed" else np.zeros_like(stds)
    return means, variances, present.astype(np.float32)


def _standardise(motion, readings, present):
    """Units of positions, and of velocities as differences say them, in units of δ."""
    there = np.repeat(present[:, np.newaxis] > 0, readings.shape[1] - 1, axis=1)
    velocities = np.diff(readings, axis=1) / np.asarray(motion.step)
    states = np.concatenate([readings[:, 1:], velocities], axis=-1)
    motion.collisions.standardise(states[there])


def _stretches(rng, count, num_steps):
    """Masks ``[count, T]``: half of them with a stretch of hidden frames."""
    steps = np.arange(num_steps)
    least = min(_FIRST_SEEN, num_steps - 1)
    starts = rng.integers(least, num_steps, (count, 1))
    lengths = rng.integers(1, max(num_steps // 2, 2), (count, 1))
    is_hidden = (starts <= steps) & (steps < starts + lengths)
    return np.where(is_hidden & (rng.random((count, 1)) < _HIDDEN), 0.0, 1.0).astype(np.float32)
