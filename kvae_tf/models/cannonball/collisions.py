r"""Objects that meet walls and each other: a mixture of linear modes, weighted by where they are.

Between collisions an object moves by Newton's laws. At a wall its velocity turns round, which is
linear in its own state; two objects exchange parts of their velocities, which is linear in both
states. So the law is a mixture of linear modes, as that of the KVAE, whose weights come from two
networks: one of the object's own state, one of each pair of objects,

    h̃_{t+1}^n = F h̃_t^n + Σ_k α_k(h̃_t^n) (A_k h̃_t^n + b_k)
                + Σ_{l≠n} Σ_k β_k(h̃_t^n, h̃_t^l - h̃_t^n) (C_k h̃_t^n + D_k h̃_t^l + e_k) + noise

with F the motion without collisions, h̃ the state in units of its own spread, and a variance of the
noise for each mode. Both networks end in a softmax over K + 1 values, of which the first belongs to
no mode: nothing happens. The networks are the same for all objects, and the sum is over those that
are present, so a sequence may show any number.

======  ==================  =======================
letter  name                shape
======  ==================  =======================
h       ``latents``         ``[..., N, n]``
α, β    weights of modes    ``[..., N, K]``, ``[..., N, N, K]``
======  ==================  =======================
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

_START = 0.1  # standard deviation of the modes' matrices before they are fitted
_START_NOISE = np.exp(-4.0)  # variance of a mode, in units of the states' spread


class Law(NamedTuple):
    """What takes a state to the next step: h' = A h + u + noise.

    Attributes:
      transition: A, ``[..., n, n]``.
      offset: u, ``[..., n]``.
      noise: variances, ``[..., n]``.
    """

    transition: tf.Tensor
    offset: tf.Tensor
    noise: tf.Tensor

    def mean(self, states) -> tf.Tensor:
        """The mean of the next state, ``[..., n]``, from ``[..., n]``."""
        return tf.linalg.matvec(self.transition, states) + self.offset

    def predict(self, states, covariances) -> tuple[tf.Tensor, tf.Tensor]:
        """Moments of the next state, ``[..., n]`` and ``[..., n, n]``, from those of this one."""
        A = self.transition
        moved = tf.matmul(A @ covariances, A, transpose_b=True)
        return self.mean(states), moved + tf.linalg.diag(self.noise)


@keras.saving.register_keras_serializable("kvae_tf")
class Collisions(keras.layers.Layer):
    """The modes of the module's docstring; without effect until ``standardise`` was called.

    Args:
      num_modes: number K of modes, each for walls and for pairs.
      units: width of the two hidden layers of both networks, 64 by default.
      state_size: size n of a state, 4 by default.
    """

    def __init__(self, num_modes, units=64, state_size=4, **kwargs):
        super().__init__(**kwargs)
        self.num_modes = num_modes
        self.units = units
        self.state_size = state_size
        self.of_one = self._network("of_one")
        self.of_pair = self._network("of_pair")

    def _network(self, name):
        wide = keras.initializers.VarianceScaling(4.0)
        return [
            keras.layers.Dense(self.units, "tanh", kernel_initializer=wide, name=f"{name}_1"),
            keras.layers.Dense(self.units, "tanh", name=f"{name}_2"),
            keras.layers.Dense(self.num_modes + 1, "softmax", name=f"{name}_3"),
        ]

    def build(self, input_shape=None):
        """Creates the weights; sizes are those of the constructor."""
        del input_shape
        K, n = self.num_modes, self.state_size
        for network, size in ((self.of_one, n), (self.of_pair, 2 * n)):
            for layer in network:
                layer.build((None, size))
                size = layer.units
        small = keras.initializers.RandomNormal(stddev=_START)
        noise = keras.initializers.Constant(np.log(_START_NOISE))

        def weight(name, shape, start=small, trainable=True):
            return self.add_weight(shape=shape, initializer=start, trainable=trainable, name=name)

        self.one_matrices = weight("one_matrices", (K, n, n))
        self.one_offsets = weight("one_offsets", (K, n))
        self.one_log_noises = weight("one_log_noises", (K, n), noise)
        self.pair_matrices = weight("pair_matrices", (K, n, n))
        self.pair_matrices_of_other = weight("pair_matrices_of_other", (K, n, n))
        self.pair_offsets = weight("pair_offsets", (K, n))
        self.pair_log_noises = weight("pair_log_noises", (K, n), noise)
        self.centre = weight("centre", (n,), "zeros", False)
        self.scale = weight("scale", (n,), "ones", False)
        self.is_fitted = weight("is_fitted", (), "zeros", False)
        self.built = True

    def standardise(self, states: np.ndarray) -> None:
        """Sets the unit of states, and puts the modes into effect.

        Args:
          states: ``[M, n]`` states of objects.
        """
        self.centre.assign(states.mean(axis=0))
        self.scale.assign(np.maximum(states.std(axis=0), 1e-6))
        self.is_fitted.assign(1.0)

    def law(self, free: Law, latents, present) -> Law:
        """The law of each object where it is, ``[..., N, ...]``.

        Args:
          free: the motion without collisions, ``[n, n]``, ``[n]`` and ``[n]``.
          latents: h, ``[..., N, n]``.
          present: ``[..., N]``, 1 = the object is present.
        """
        N = latents.shape[-2]
        z = (latents - self.centre) / self.scale
        own = self.is_fitted * _modes(self.of_one, z)
        A = tf.einsum("...k,kij->...ij", own, self.one_matrices)
        b = tf.einsum("...k,ki->...i", own, self.one_offsets)
        Q = tf.einsum("...k,ki->...i", own, tf.exp(self.one_log_noises))
        if N > 1:
            this = tf.stack([z] * N, axis=-2)  # [..., N, N, n]
            other = tf.stack([z] * N, axis=-3)
            both = present[..., tf.newaxis] * present[..., tf.newaxis, :]
            both *= 1.0 - np.eye(N, dtype=np.float32)
            pair = _modes(self.of_pair, tf.concat([this, other - this], axis=-1))
            pair *= self.is_fitted * both[..., tf.newaxis]
            of_all = tf.reduce_sum(pair, axis=-2)
            A += tf.einsum("...k,kij->...ij", of_all, self.pair_matrices)
            b += tf.einsum("...k,ki->...i", of_all, self.pair_offsets)
            b += tf.einsum("...lk,kij,...lj->...i", pair, self.pair_matrices_of_other, other)
            Q += tf.einsum("...k,ki->...i", of_all, tf.exp(self.pair_log_noises))
        A = A * self.scale[:, tf.newaxis] / self.scale
        return Law(
            free.transition + A,
            free.offset + self.scale * b - tf.linalg.matvec(A, self.centre + tf.zeros_like(z)),
            free.noise + tf.square(self.scale) * Q,
        )

    def get_config(self):
        return super().get_config() | {
            "num_modes": self.num_modes,
            "units": self.units,
            "state_size": self.state_size,
        }


def _modes(network, x):
    """Weights of the modes, ``[..., K]``; the first output belongs to none."""
    for layer in network:
        x = layer(x)
    return x[..., 1:]
