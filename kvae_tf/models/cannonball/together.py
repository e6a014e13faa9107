r"""Objects that meet, followed together by Kalman filters.

Whether objects collide depends on the states of all of them. So their filters run side by side, and
the law that leads from one step to the next is that of ``Collisions`` where the filters' means are.
Given this law along the paths, objects are independent and linear Gaussian again: the smoother, the
likelihood and draws are those of ``lgssm``.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.models.cannonball.collisions import Law
from kvae_tf.models.cannonball.innovation import innovation, updated
from kvae_tf.models.cannonball.newtonian import NewtonianMixture


class Followed(NamedTuple):
    """What the filters say.

    Attributes:
      law: along the paths, ``[B, T, N, ...]``; that of step t leads to step t + 1.
      log_likelihood: ln p(y_t | y_{1:t-1}), ``[B, T, N]`` nats; 0 where unseen or absent.
      means: of h_t given y_{1:t}, ``[B, T, N, 2m]``.
    """

    law: Law
    log_likelihood: tf.Tensor
    means: tf.Tensor


def follow(motion: NewtonianMixture, readings, variances, seen, present) -> Followed:
    """Filters of all objects side by side; h_1 has the moments of the mixture of initial states.

    Args:
      motion: the motion of an object, with ``collisions``.
      readings: y, ``[B, T, N, m]``.
      variances: ``[B, T, N, m]``, of the readings.
      seen: ``[B, T]``, 1 = seen.
      present: ``[B, N]``, 1 = the object is present.
    """
    readings, seen = tf.convert_to_tensor(readings), tf.convert_to_tensor(seen)
    batch, N, n = tf.shape(readings)[0], readings.shape[2], 2 * readings.shape[3]
    mean, covariance = motion.initial_moments
    start = (
        tf.zeros([batch, N, n], readings.dtype) + mean,
        tf.zeros([batch, N, n, n], readings.dtype) + covariance,
    )

    def step(carry, now):
        states, covariances = carry
        y, R, is_seen = now
        found = innovation(states, covariances, y, R)
        log_p = present * is_seen[:, tf.newaxis] * found.log_density
        states, covariances = updated(states, covariances, found, is_seen)
        law = motion.law(states, present)
        return law.predict(states, covariances), (*law, log_p, states)

    by_step = (_swap(readings), _swap(variances + motion.emission_noise), tf.transpose(seen))
    rows = readings.shape[0]
    shapes = [[rows, N, n, n], [rows, N, n], [rows, N, n], [rows, N], [rows, N, n]]
    _, outputs = lgssm.scan(step, start, by_step, shapes)
    transition, offset, noise, log_p, means = map(_swap, outputs)
    return Followed(Law(transition, offset, noise), log_p, means)


def sample(motion: NewtonianMixture, present, num_steps: int, seed) -> tf.Tensor:
    """Positions of all objects from the prior, ``[B, T, N, m]``.

    Args:
      motion: the motion of an object.
      present: ``[B, N]``, 1 = the object is present.
      num_steps: number T of steps.
      seed: an int, a stateless pair or a ``Sampler``, whose rows are the B N objects.
    """
    batch, N, m = tf.shape(present)[0], present.shape[1], motion.position_size
    if motion.collisions is None:
        free = motion.sample(batch * N, num_steps, seed)
        return tf.transpose(tf.reshape(free, [batch, N, num_steps, m]), [0, 2, 1, 3])
    start_sampler, walk_sampler, read_sampler = lgssm.as_sampler(seed).split(3)
    h = tf.reshape(motion.sample_start(batch * N, start_sampler), [batch, N, 2 * m])
    noises = walk_sampler.normal([batch * N, num_steps, 2 * m])
    noises = tf.transpose(tf.reshape(noises, [batch, N, num_steps, 2 * m]), [2, 0, 1, 3])

    def step(carry, now):
        law = motion.law(carry[0], present)
        return (law.mean(carry[0]) + tf.sqrt(law.noise) * now[0],), carry

    _, (path,) = lgssm.scan(step, (h,), (noises,), [[present.shape[0], N, 2 * m]])
    noise = tf.reshape(read_sampler.normal([batch * N, num_steps, m]), [batch, N, num_steps, m])
    positions = tf.transpose(path, [1, 0, 2, 3])[..., :m]
    return positions + tf.sqrt(motion.emission_noise) * tf.transpose(noise, [0, 2, 1, 3])


def _swap(x):
    """Exchanges the first two axes."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
