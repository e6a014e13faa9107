"""A Kalman filter's update by a reading of two coordinates, in closed form.

A general solver takes longer than all else in the loops that use these.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf


class Innovation(NamedTuple):
    """What a reading of two coordinates says beyond its prediction.

    Attributes:
      scaled: S⁻¹ e, ``[..., 2]``, of the innovation e and its covariance S.
      log_density: ln N(e; 0, S), ``[...]`` nats.
      inverse: S⁻¹, its entries (0, 0), (0, 1) and (1, 1).
    """

    scaled: tf.Tensor
    log_density: tf.Tensor
    inverse: tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def innovation(states, covariances, y, variances) -> Innovation:
    """The innovation of readings of the first two coordinates of states.

    Args:
      states: predicted means, ``[..., n]``.
      covariances: predicted covariances, ``[..., n, n]``.
      y: readings, ``[..., 2]``.
      variances: of the readings, ``[..., 2]``.
    """
    e = y - states[..., :2]
    a = covariances[..., 0, 0] + variances[..., 0]
    b = covariances[..., 0, 1]
    c = covariances[..., 1, 1] + variances[..., 1]
    determinant = a * c - tf.square(b)
    inverse = c / determinant, -b / determinant, a / determinant
    scaled = tf.stack(
        [
            inverse[0] * e[..., 0] + inverse[1] * e[..., 1],
            inverse[1] * e[..., 0] + inverse[2] * e[..., 1],
        ],
        axis=-1,
    )
    square = tf.reduce_sum(e * scaled, axis=-1) + tf.math.log(determinant)
    return Innovation(scaled, -0.5 * square - math.log(2.0 * math.pi), inverse)


def updated(states, covariances, found: Innovation, seen) -> tuple[tf.Tensor, tf.Tensor]:
    """Moments of states given one more reading each, where it is seen.

    Args:
      states: predicted means, ``[B, ..., n]``.
      covariances: predicted covariances, ``[B, ..., n, n]``.
      found: the innovation of the readings.
      seen: ``[B]``, 1 = seen.
    """
    first, second = covariances[..., 0], covariances[..., 1]  # P Bᵀ
    p, q, r = (x[..., tf.newaxis] for x in found.inverse)
    gains = p * first + q * second, q * first + r * second
    seen = tf.reshape(seen, [-1] + [1] * (states.shape.rank - 1))
    states += seen * (first * found.scaled[..., :1] + second * found.scaled[..., 1:])
    shrunk = sum(
        gain[..., :, tf.newaxis] * column[..., tf.newaxis, :]
        for gain, column in zip(gains, (first, second), strict=True)
    )
    return states, covariances - seen[..., tf.newaxis] * shrunk
