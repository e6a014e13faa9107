"""The filter of a KVAE in continuous time, frame by frame.

In discrete time a filter can predict the next frame as soon as it has seen one. Here it does not
know when that will be. So its state is that of the last frame, and a step begins with the way from
there to its own frame, in as many equal parts as a sequence has between two frames.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kvae_tf.layers.continuous_mixture import ContinuousMixture
from kvae_tf.layers.dynamics_network import DynamicsParameterNetwork
from kvae_tf.layers.joint_filter import (
    FilterStep,
    first_carry,
    log_likelihood,
    moving,
    updating,
)
from kvae_tf.lgssm.steps import batch_first, batch_last, cast


class ContinuousFilterState(NamedTuple):
    """The filter's state after a frame; before the first one that of the start.

    Attributes:
      mean: ``[B, n]``, filtered mean of z at the last frame; at first the mean of z_1.
      covariance: ``[B, n, n]``, filtered covariance of z, alike.
      mode_weights: ``[B, K]``, those of the last frame; at first those of the first one.
      encoding: ``[B, m]``, of the last frame, or its prediction; at first 0.
      control: ``[B, U]``, acts from the last frame to the next; at first 0.
      started: ``[B]``, 1 after the first frame, 0 before it.
      network: state of the dynamics parameter network, a tuple of ``[B, ·]``.
    """

    mean: tf.Tensor
    covariance: tf.Tensor
    mode_weights: tf.Tensor
    encoding: tf.Tensor
    control: tf.Tensor
    started: tf.Tensor
    network: tuple[tf.Tensor, ...]


def filter_start(
    network: DynamicsParameterNetwork,
    mixture: ContinuousMixture,
    batch_size,
    control_size: int,
) -> ContinuousFilterState:
    """The filter's state before the first frame.

    Args:
      network: the dynamics parameter network.
      mixture: the modes.
      batch_size: B.
      control_size: U, without the learned controls.
    """
    _, (mean, covariance, weights, *inner) = first_carry(network, mixture, batch_size)
    mean, covariance = cast((mean, covariance), mixture.initial_mean.dtype)
    blank = tf.zeros([batch_size, mixture.settings["encoding_size"]])
    return ContinuousFilterState(
        batch_first(mean),
        batch_first(covariance),
        weights,
        blank,
        tf.zeros([batch_size, control_size]),
        tf.zeros([batch_size]),
        tuple(inner),
    )


def filter_step(
    network: DynamicsParameterNetwork,
    mixture: ContinuousMixture,
    state: ContinuousFilterState,
    encoding: tf.Tensor,
    seen: tf.Tensor,
    control: tf.Tensor,
    interval: tf.Tensor,
    parts: int,
    variance: tf.Tensor | None = None,
) -> tuple[ContinuousFilterState, FilterStep]:
    """One step of ``joint_filter`` in continuous time, to filter frame by frame.

    Args:
      network: the dynamics parameter network.
      mixture: the modes.
      state: the filter's state after the frame before.
      encoding: ``[B, m]``; any finite value where the frame is missing.
      seen: ``[B]`` or ``[B, m]``, 1 = seen.
      control: ``[B, U]``, acts from this frame to the next.
      interval: ``[B]``, units of time since the frame before; without effect for the first one.
      parts: number of equal parts of the interval, at each of which the modes are weighted anew.
      variance: ``[B, m]``, of the error with which the encoding is read; None: 0 (default).

    Returns:
      The state after this frame, and its ``FilterStep``.
    """
    dtype = state.mean.dtype
    see = updating(network, mixture)
    move = moving(network, mixture)
    moments = cast((batch_last(state.mean), batch_last(state.covariance)), tf.float64)
    start = (*moments, state.mode_weights, *state.network)
    part = tf.where(state.started > 0, interval, 1.0) / parts
    carry, read = start, state.mean if network.reads_latents else state.encoding
    for i in range(parts):
        mean, covariance, weights, *inner = carry
        if i:  # between two frames there is none to see
            read = tf.cast(tf.transpose(mean), dtype)
            if not network.reads_latents:
                read = tf.linalg.matvec(mixture.mix(mixture.emission, weights), read)
        carry, _ = move(mean, covariance, inner, read, state.control, part)
    carry = _where(state.started > 0, carry, start)
    mean, covariance, weights, *inner = carry
    variance = tf.zeros_like(encoding) if variance is None else variance
    result, encoding, _, emission = see(mean, covariance, weights, encoding, seen, variance)
    likelihood = log_likelihood(result, seen)
    moments = cast((result.mean, result.covariance, emission, likelihood), dtype)
    step = FilterStep(encoding, *map(batch_first, moments))
    later = ContinuousFilterState(
        step.mean,
        step.covariance,
        weights,
        encoding,
        control,
        tf.ones_like(state.started),
        tuple(inner),
    )
    return later, step


def _where(condition, carry, start):
    """The carry where the condition ``[B]`` holds, else the start; moments are batch-last."""
    rows = condition[:, tf.newaxis]
    pairs = list(zip(carry, start, strict=True))
    return (
        *(tf.where(condition, x, y) for x, y in pairs[:2]),
        *(tf.where(rows, x, y) for x, y in pairs[2:]),
    )
