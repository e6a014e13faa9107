r"""Which reading belongs to which object: several hypotheses, weighed by their likelihood.

Where objects pass one another, attention may take one for the other from then on. Its readings of
both are still good; only who is who is wrong, and no path of one object obeys the motion any more.
So at each step the readings are given to the objects in every order. A hypothesis is one order for
each step so far; it has one Kalman filter for each object, and its weight is

    ln w = Σ_t Σ_n ln p(y_t^{o_t(n)} | y_1^{o_1(n)} … y_{t-1}^{o_{t-1}(n)}) + ln p(o_t | o_{t-1})

o_t(n) is the reading that object n takes. Attention exchanges objects seldom: an order stays as it
is with probability 1 - ``_CHANGE``. The likeliest hypotheses are kept (multiple hypothesis
tracking, Reid 1979; here each object has one reading in each frame). The names of objects are
arbitrary: in the first frame seen they are attention's.

======  =================  ===================
letter  name               shape
======  =================  ===================
y       ``readings``       ``[B, T, N, m]``
o       ``orders``         ``[B, T, N]``
h       ``states``         ``[B, J, N, 2m]``
w       ``log_weights``    ``[B, J]``
======  =================  ===================

J is the number of hypotheses. An order is one of the N! ways to put N objects.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.models.cannonball.newtonian import NewtonianMixture

_CHANGE = 0.05
_IMPOSSIBLE = -1e30


def orders(
    motion: NewtonianMixture, readings, variances, seen, num_objects, hypotheses: int
) -> tf.Tensor:
    """The reading that each object takes in the likeliest hypothesis, ``[B, T, N]`` int32.

    With one hypothesis the order of a step depends on no later step.

    Args:
      motion: the motion of an object; h_1 has the moments of its mixture of initial states.
      readings: y, ``[B, T, N, m]``.
      variances: ``[B, T, N, m]``, of the readings; 0 where positions are read without error.
      seen: ``[B, T]``, 1 = seen. Where it is 0 the order stays as it is.
      num_objects: ``[B]``; objects beyond it keep their readings.
      hypotheses: number J of hypotheses that are kept.
    """
    batch, T, N = tf.shape(readings)[0], tf.shape(readings)[1], readings.shape[2]
    ways = np.array(list(itertools.permutations(range(N))), np.int32)  # the first is attention's
    stays = np.full((len(ways), len(ways)), math.log(_CHANGE / max(len(ways) - 1, 1)))
    np.fill_diagonal(stays, math.log1p(-_CHANGE))
    stays = tf.constant(stays, readings.dtype)
    is_first = tf.equal(tf.cumsum(seen, axis=1), 1.0) & (seen > 0)
    absent = ~tf.sequence_mask(num_objects, N)
    moves_absent = tf.constant(ways != np.arange(N)) & absent[:, tf.newaxis]
    allowed = ~tf.reduce_any(moves_absent, axis=2)  # [B, ways]

    mean, covariance = motion.initial_moments
    zeros = tf.zeros([batch, hypotheses], readings.dtype)
    start = (
        zeros + tf.where(tf.equal(tf.range(hypotheses), 0), 0.0, _IMPOSSIBLE),
        tf.zeros([batch, hypotheses], tf.int32),
        tf.zeros([batch, hypotheses, N, *mean.shape], readings.dtype) + mean,
        tf.zeros([batch, hypotheses, N, *covariance.shape], readings.dtype) + covariance,
        tf.zeros([batch, hypotheses, T], tf.int32),
    )

    def step(carry, now):
        log_weights, way, states, covariances, history = carry
        y, variances, seen, is_first, t = now
        fit, states, covariances = _filter(motion, states, covariances, y, variances, seen)
        fit = tf.einsum("bjnr,wnr->bjw", fit, tf.one_hot(ways, N, dtype=fit.dtype))
        same = tf.one_hot(way, len(ways), on_value=True, off_value=False)
        attentions = tf.one_hot(tf.zeros_like(way), len(ways), on_value=True, off_value=False)
        may = tf.where(seen[:, None, None] > 0, allowed[:, tf.newaxis], same)
        may = tf.where(is_first[:, None, None] > 0, attentions, may)
        values = log_weights[..., tf.newaxis] + fit + tf.gather(stays, way)
        values = tf.reshape(tf.where(may, values, _IMPOSSIBLE), [batch, -1])
        log_weights, best = tf.math.top_k(values, hypotheses)
        parent, way = best // len(ways), best % len(ways)
        taken = tf.gather(ways, way)  # [B, J, N]
        states, covariances = (
            tf.gather(tf.gather(x, parent, batch_dims=1), taken, batch_dims=3)
            for x in (states, covariances)
        )
        history = tf.gather(history, parent, batch_dims=1)
        history = tf.where(tf.equal(tf.range(T), t), way[..., tf.newaxis], history)
        later = log_weights - log_weights[:, :1], way, states, covariances, history
        return tuple(tf.ensure_shape(x, old.shape) for x, old in zip(later, start, strict=True)), ()

    by_step = (readings, variances, seen, tf.cast(is_first, readings.dtype))
    by_step = (*(tf.stop_gradient(_time_first(x)) for x in by_step), tf.range(T))
    carry, _ = lgssm.scan(step, tuple(map(tf.stop_gradient, start)), by_step, [])
    return tf.gather(ways, carry[-1][:, 0])


def _filter(motion, states, covariances, y, variances, seen):
    """Each reading as that of each object, in each hypothesis.

    Returns:
      The log-likelihoods ``[B, J, N, N]``, of object and reading, and the moments of the states of
      the next step, ``[B, J, N, N, ...]``.
    """
    m, n = motion.position_size, 2 * motion.position_size
    pairs = tf.concat([tf.shape(states)[:3], [y.shape[1]]], axis=0)

    def each_reading(x):  # [B, N, m]
        return tf.reshape(tf.broadcast_to(x[:, None, None], tf.concat([pairs, [m]], 0)), [-1, 1, m])

    def each_state(x):  # [B, J, N, ...]
        return tf.reshape(tf.stack([x] * y.shape[1], axis=3), [-1, *x.shape[3:]])

    ssm = motion.model(tf.zeros([1], tf.int32))
    ssm = ssm._replace(
        emission_noise=ssm.emission_noise + each_reading(variances),
        initial_mean=each_state(states),
        initial_covariance=each_state(covariances),
    )
    there = tf.broadcast_to(seen[:, None, None, None], pairs)
    result = lgssm.filter(ssm, each_reading(y), tf.reshape(there, [-1, 1]))
    A, Q = ssm.transition, tf.linalg.diag(ssm.transition_noise)
    means = tf.linalg.matvec(A, result.filtered_means[:, 0]) + ssm.transition_offset
    covariances = tf.matmul(A @ result.filtered_covariances[:, 0], A, transpose_b=True) + Q
    return (
        tf.reshape(result.log_likelihood, pairs),
        tf.reshape(means, tf.concat([pairs, [n]], axis=0)),
        tf.reshape(covariances, tf.concat([pairs, [n, n]], axis=0)),
    )


def _time_first(x):
    """``[B, T, ...] -> [T, B, ...]``."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
