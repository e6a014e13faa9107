r"""Which reading belongs to which object: several hypotheses, weighed by their likelihood.

Where objects pass one another, attention may take one for the other from then on. Its readings of
both are still good; only who is who is wrong, and no path of one object obeys the motion any more.
So at each step the readings are given to the objects in every order. A hypothesis is one order for
each step so far; it has one Kalman filter for each object, and its weight is

    ln w = Σ_t Σ_n ln p(y_t^{o_t(n)} | y_1^{o_1(n)} … y_{t-1}^{o_{t-1}(n)}) + ln p(o_t | o_{t-1})

o_t(n) is the reading that object n takes. Attention exchanges objects seldom: from frame to frame
an order stays as it is with probability 1 - ``_CHANGE``, or else becomes any other; after a gap it
may have changed in each hidden frame. The likeliest hypotheses are kept (multiple hypothesis
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

import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.models.cannonball.innovation import innovation, updated
from kvae_tf.models.cannonball.newtonian import NewtonianMixture

_CHANGE = 0.05
_IMPOSSIBLE = -1e30


def orders(
    motion: NewtonianMixture, readings, variances, seen, num_objects, hypotheses: int
) -> tf.Tensor:
    """The reading that each object takes in the likeliest hypothesis, ``[B, T, N]`` int32.

    With one hypothesis the order of a step depends on no later step.

    Args:
      motion: the motion of an object in the plane; h_1 has the moments of its mixture of initial
        states.
      readings: y, ``[B, T, N, m]``.
      variances: ``[B, T, N, m]``, of the readings; 0 where positions are read without error.
      seen: ``[B, T]``, 1 = seen. Where it is 0 the order is that before.
      num_objects: ``[B]``; objects beyond it keep their readings.
      hypotheses: number J of hypotheses that are kept.
    """
    batch, T, N = tf.shape(readings)[0], tf.shape(readings)[1], readings.shape[2]
    ways = np.array(list(itertools.permutations(range(N))), np.int32)  # the first is attention's
    is_first = tf.equal(tf.cumsum(seen, axis=1), 1.0) & (seen > 0)
    present = tf.sequence_mask(num_objects, N)
    absent = ~present
    moves_absent = tf.constant(ways != np.arange(N)) & absent[:, tf.newaxis]
    allowed = ~tf.reduce_any(moves_absent, axis=2)  # [B, ways]

    present = tf.cast(present[:, tf.newaxis], readings.dtype)
    mean, covariance = motion.initial_moments
    zeros = tf.zeros([batch, hypotheses], readings.dtype)
    start = (
        zeros + tf.where(tf.equal(tf.range(hypotheses), 0), 0.0, _IMPOSSIBLE),
        tf.zeros([batch, hypotheses], tf.int32),
        tf.zeros([batch], readings.dtype),
        tf.zeros([batch, hypotheses, N, *mean.shape], readings.dtype) + mean,
        tf.zeros([batch, hypotheses, N, *covariance.shape], readings.dtype) + covariance,
        tf.zeros([batch, hypotheses, T], tf.int32),
    )

    def step(carry, now):
        log_weights, way, hidden, states, covariances, history = carry
        y, variances, seen, is_first, t = now
        each = y[:, None, None], variances[:, None, None]  # each reading as that of each object
        of_each = innovation(states[..., None, :], covariances[..., None, :, :], *each)
        fit = seen[:, None, None, None] * of_each.log_density  # [B, J, N, N]
        fit = tf.einsum("bjnr,wnr->bjw", fit, tf.one_hot(ways, N, dtype=fit.dtype))
        same = tf.one_hot(way, len(ways), on_value=True, off_value=False)
        attentions = tf.one_hot(tf.zeros_like(way), len(ways), on_value=True, off_value=False)
        may = tf.where(seen[:, None, None] > 0, allowed[:, tf.newaxis], same)
        may = tf.where(is_first[:, None, None] > 0, attentions, may)
        values = log_weights[..., tf.newaxis] + fit + _log_order(same, hidden + 1.0)
        values = tf.reshape(tf.where(may, values, _IMPOSSIBLE), [batch, -1])
        log_weights, best = tf.math.top_k(values, hypotheses)
        parent, way = best // len(ways), best % len(ways)
        states, covariances, history = (
            tf.gather(x, parent, batch_dims=1) for x in (states, covariances, history)
        )
        taken = tf.gather(ways, way)  # [B, J, N]
        y, variances = (tf.gather(x, taken, batch_dims=1) for x in (y, variances))
        found = innovation(states, covariances, y, variances)
        states, covariances = updated(states, covariances, found, seen)
        states, covariances = motion.law(states, present).predict(states, covariances)
        history = tf.where(tf.equal(tf.range(T), t), way[..., tf.newaxis], history)
        hidden = (1.0 - seen) * (hidden + 1.0)
        log_weights -= log_weights[:, :1]
        later = log_weights, way, hidden, states, covariances, history
        return tuple(tf.ensure_shape(x, old.shape) for x, old in zip(later, start, strict=True)), ()

    variances += motion.emission_noise
    by_step = (readings, variances, seen, tf.cast(is_first, readings.dtype))
    by_step = (*(tf.stop_gradient(_time_first(x)) for x in by_step), tf.range(T))
    carry, _ = lgssm.scan(step, tuple(map(tf.stop_gradient, start)), by_step, [])
    return tf.gather(ways, carry[-1][:, 0])


def _log_order(same, steps):
    """ln p(o_t | o_{t-k}) of k steps, ``[B, J, ways]``.

    Args:
      same: bool ``[B, J, ways]``, whether an order is the one before.
      steps: k, ``[B]``.
    """
    count = same.shape[-1]
    kept = tf.pow(1.0 - _CHANGE * count / max(count - 1, 1), steps)[:, None, None]
    stays = kept + (1.0 - kept) / count
    return tf.math.log(tf.where(same, stays, (1.0 - stays) / max(count - 1, 1)))


def _time_first(x):
    """``[B, T, ...] -> [T, B, ...]``."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
