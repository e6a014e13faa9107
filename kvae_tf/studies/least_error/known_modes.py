"""A linear Gaussian model that is told which affine map holds at each step of the true path.

It knows when the ball flies, bounces and is pushed out of a wall, before and after, but takes a
frame for a position with Gaussian noise of the variance of a pixel's width, 1/12. No model whose
modes are linear and Gaussian can know more of the motion.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.data.worlds import box_motion
from kvae_tf.data.worlds.bouncing_ball import CENTRE

PROCESS_NOISE = 1e-8  # variance, squared pixels
EMISSION_NOISE = 1.0 / 12.0  # variance of a uniform distribution over a pixel, squared pixels


def model(world: str, states: np.ndarray) -> lgssm.LGSSM:
    """The model of given paths, float64; the observations are positions ``[N, T, 2]``.

    Args:
      world: "box" or "gravity".
      states: ``[N, T, 4]``, the true states, from which the modes are read.

    Raises:
      UserError: the closed form does not hold in that world.
    """
    scene = box_motion.scene(world)
    transition, offset = box_motion.transitions(world, states)
    low, high = scene.speeds
    # A uniform direction shares the mean square of the speed between the axes.
    velocity = (low**2 + low * high + high**2) / 6.0
    return lgssm.LGSSM(
        transition=tf.constant(transition),
        transition_offset=tf.constant(offset),
        transition_noise=tf.fill([4], tf.constant(PROCESS_NOISE, tf.float64)),
        emission=tf.eye(2, 4, dtype=tf.float64),
        emission_noise=tf.fill([2], tf.constant(EMISSION_NOISE, tf.float64)),
        initial_mean=tf.constant([CENTRE, CENTRE, 0.0, 0.0], tf.float64),
        initial_covariance=tf.linalg.diag(
            tf.constant([scene.start_std**2] * 2 + [velocity] * 2, tf.float64)
        ),
    )


def positions(ssm: lgssm.LGSSM, pixels: np.ndarray, observed: np.ndarray) -> dict[str, np.ndarray]:
    """Method -> expected positions ``[N, T, 2]``.

    Args:
      ssm: what ``model`` gives.
      pixels: ``[N, T, 2]``, the pixel of the ball at each frame, whose centre is observed.
      observed: ``[N, T]``, 1 = seen.
    """
    centres = tf.constant(pixels + 0.5, tf.float64)
    found = _smooth(ssm, centres, tf.constant(observed, tf.float64))
    means = {"smooth": found.smoothed_means, "filter": found.filter.filtered_means}
    return {method: mean[..., :2].numpy() for method, mean in means.items()}


_smooth = tf.function(lgssm.smooth, reduce_retracing=True)
