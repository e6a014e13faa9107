"""Random Fourier features: waves over a vector, from which a small network makes sharp edges.

A network of few dense layers learns what changes slowly with its input long before what changes
fast; reading sin(Ω x) and cos(Ω x) beside x mends it (Rahimi and Recht 2007; Tancik et al. 2020).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def frequencies(size: int, count: int, highest: float) -> np.ndarray:
    """Ω: directions at random, lengths from 1 to ``highest`` with a uniform logarithm.

    Args:
      size: dimension n of the vectors.
      count: number F of waves.
      highest: largest length, radians per unit of x; at least 1.

    Returns:
      ``[n, F]`` float32, always the same for the same arguments.
    """
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(size, count))
    directions /= np.linalg.norm(directions, axis=0)
    lengths = np.exp(rng.uniform(0.0, np.log(max(highest, 1.0)), count))
    return (directions * lengths).astype(np.float32)


def with_waves(x: tf.Tensor, omega: tf.Tensor) -> tf.Tensor:
    """x, sin(Ω x) and cos(Ω x): ``[N, n], [n, F] -> [N, n + 2 F]``."""
    # No tf.matmul: on a GPU it would round to TensorFloat-32, and phases are many turns.
    phases = tf.reduce_sum(x[..., tf.newaxis] * omega, axis=-2)
    return tf.concat([x, tf.sin(phases), tf.cos(phases)], axis=-1)
