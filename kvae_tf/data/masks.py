"""Masks ``[N, T]`` float32 of missing frames: 1 = seen, 0 = missing.

They are pure functions of their arguments; multiply a mask with a data set's own ``observed``.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf.data import number_checks
from kvae_tf.errors import UserError


def missing_at_random(
    num_sequences: int, num_steps: int, rate: float, first_seen: int, seed: int
) -> np.ndarray:
    """Every frame after the first ``first_seen`` is missing with probability ``rate``.

    Frames that are missing at one rate are missing at every higher rate with the same seed.

    Args:
      num_sequences: number N of sequences.
      num_steps: number T of frames of a sequence.
      rate: probability of a missing frame, in [0, 1].
      first_seen: number of first frames that are never missing.
      seed: a non-negative int.

    Returns:
      ``[N, T]`` float32, 1 = seen.

    Raises:
      UserError: an argument is out of its range.
    """
    rate = number_checks.rate("rate", rate)
    shape = (
        number_checks.integer("num_sequences", num_sequences),
        number_checks.integer("num_steps", num_steps),
    )
    uniform = np.random.default_rng(number_checks.integer("seed", seed, minimum=0)).random(shape)
    observed = (uniform >= rate).astype(np.float32)
    observed[:, : number_checks.integer("first_seen", first_seen, minimum=0)] = 1.0
    return observed


def gap(num_sequences: int, num_steps: int, start: int, stop: int) -> np.ndarray:
    """Frames ``start`` … ``stop - 1``, counted from 0, are missing in every sequence.

    Args:
      num_sequences: number N of sequences.
      num_steps: number T of frames of a sequence.
      start: first missing frame.
      stop: first frame after the gap.

    Returns:
      ``[N, T]`` float32, 1 = seen.

    Raises:
      UserError: not 0 <= start <= stop <= num_steps.
    """
    num_sequences = number_checks.integer("num_sequences", num_sequences)
    num_steps = number_checks.integer("num_steps", num_steps)
    if not 0 <= start <= stop <= num_steps:
        raise UserError(
            f"the gap from frame {start} to {stop} does not fit; "
            f"expected 0 <= start <= stop <= {num_steps} frames"
        )
    observed = np.ones((num_sequences, num_steps), np.float32)
    observed[:, start:stop] = 0.0
    return observed


def stateless_missing_at_random(
    seed: tf.Tensor,
    batch: int,
    steps: int,
    rate: float,
    first_seen: int,
    mixed_rates: bool = False,
) -> tf.Tensor:
    """Frames missing at random, inside a graph, as a pure function of a stateless seed.

    Args:
      seed: a stateless seed, two integers.
      batch: number B of sequences.
      steps: number T of frames of a sequence.
      rate: probability of a missing frame, in [0, 1].
      first_seen: number of first frames that are never missing.
      mixed_rates: each sequence has its own rate, uniform between 0 and ``rate``; False by default.

    Returns:
      ``[B, T]`` float32, 1 = seen.
    """
    if mixed_rates:
        seed, rate_seed = tf.unstack(tf.random.split(seed, 2))
        rate *= tf.random.stateless_uniform([batch, 1], rate_seed)
    seen = tf.cast(tf.random.stateless_uniform([batch, steps], seed) >= rate, tf.float32)
    start = tf.cast(tf.range(steps) < first_seen, tf.float32)  # [T]
    return tf.maximum(seen, start)
