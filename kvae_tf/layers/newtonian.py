r"""Objects that move by Newton's laws: a linear Gaussian state-space model with a mixed start.

Chiappa and Paquet, equations 3, 4 and 10; every object of every sequence follows the same law.

    z       ~ Categorical(π)
    h_1     ~ N(μ_z, Σ_z)
    h_{t+1} = A h_t + u + noise,  noise ~ N(0, Σ_H)      A = [I, δI; 0, I]
    a_t     = B h_t + noise,      noise ~ N(0, Σ_A)      B = [I, 0]

======  ========================  ===============
letter  name                      shape
======  ========================  ===============
a       ``positions``             ``[L, T, m]``
h       ``latents``               ``[L, T, 2m]``: positions, then velocities
z       component                 one of K
δ       ``step``                  ``[]``
u       ``force``                 ``[2m]``
Σ_H     ``transition_noise``      ``[2m]``, its diagonal
Σ_A     ``emission_noise``        ``[m]``, its diagonal
μ       ``initial_means``         ``[K, 2m]``
Σ       ``initial_covariances``   ``[K, 2m, 2m]``
======  ========================  ===============

L numbers objects, whatever sequence they are of.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.layers.mode_mixture import NOISE_FLOOR


@keras.saving.register_keras_serializable("kvae_tf")
class NewtonianMixture(keras.layers.Layer):
    """log p(a) of whole trajectories, and all that the exact engine says of them.

    Args:
      num_components: K.
      position_size: m.
      step: δ at the start.
      transition_noise: Σ_H at the start, a variance.
      emission_noise: Σ_A at the start, a variance.
      initial_variance: Σ_k at the start, a variance.
      initial_spread: standard deviation of the positions' means μ_k among each other at the start.
      learn_transition_noise: whether Σ_H is learned.
    """

    def __init__(
        self,
        num_components=2,
        position_size=2,
        step=0.1,
        transition_noise=1e-3,
        emission_noise=1.0,
        initial_variance=1.0,
        initial_spread=1.0,
        learn_transition_noise=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._settings = {
            "num_components": num_components,
            "position_size": position_size,
            "step": step,
            "transition_noise": transition_noise,
            "emission_noise": emission_noise,
            "initial_variance": initial_variance,
            "initial_spread": initial_spread,
            "learn_transition_noise": learn_transition_noise,
        }
        self.num_components = num_components
        self.position_size = position_size

    def build(self, input_shape=None):
        del input_shape
        K, m, s = self.num_components, self.position_size, self._settings
        n = 2 * m

        def weight(name, shape, start, trainable=True):
            if not callable(start):
                start = keras.initializers.Constant(start)
            return self.add_weight(shape=shape, initializer=start, trainable=trainable, name=name)

        self.log_step = weight("log_step", (), math.log(s["step"]))
        self.force = weight("force", (n,), 0.0)
        learn = s["learn_transition_noise"]
        self.log_transition_noise = weight(
            "log_transition_noise", (n,), math.log(s["transition_noise"]), learn
        )
        self.log_emission_noise = weight("log_emission_noise", (m,), math.log(s["emission_noise"]))
        self.component_logits = weight("component_logits", (K,), 0.0)
        spread = keras.initializers.RandomNormal(stddev=s["initial_spread"])
        self.start_positions = weight("start_positions", (K, m), spread)
        self.start_velocities = weight("start_velocities", (K, m), 0.0)
        self.start_log_scales = weight(
            "start_log_scales", (K, n), 0.5 * math.log(s["initial_variance"])
        )
        # Below the diagonal of the factors of Σ_k.
        self.start_corners = weight("start_corners", (K, n * (n - 1) // 2), 0.0)
        self.built = True

    # The parameters as the equations have them.

    @property
    def step(self) -> tf.Tensor:
        """δ, positive."""
        return tf.exp(self.log_step)

    @property
    def transition(self) -> tf.Tensor:
        """A, ``[2m, 2m]``."""
        n = 2 * self.position_size
        return tf.eye(n) + self.step * np.eye(n, k=self.position_size, dtype=np.float32)

    @property
    def emission(self) -> tf.Tensor:
        """B, ``[m, 2m]``."""
        return tf.eye(self.position_size, 2 * self.position_size)

    @property
    def transition_noise(self) -> tf.Tensor:
        """The diagonal of Σ_H, ``[2m]``."""
        return tf.exp(self.log_transition_noise)

    @property
    def emission_noise(self) -> tf.Tensor:
        """The diagonal of Σ_A, ``[m]``."""
        return tf.exp(self.log_emission_noise) + NOISE_FLOOR

    @property
    def initial_means(self) -> tf.Tensor:
        """μ, ``[K, 2m]``."""
        return tf.concat([self.start_positions, self.start_velocities], axis=1)

    @property
    def initial_covariances(self) -> tf.Tensor:
        """Σ, ``[K, 2m, 2m]``."""
        n = 2 * self.position_size
        rows = [[i, j] for i in range(n) for j in range(i)]
        corners = tf.transpose(
            tf.scatter_nd(rows, tf.transpose(self.start_corners), [n, n, self.num_components]),
            [2, 0, 1],
        )
        factors = tf.linalg.set_diag(corners, tf.exp(self.start_log_scales))
        return tf.matmul(factors, factors, transpose_b=True)

    # What follows from them.

    def model(self, components: tf.Tensor) -> lgssm.LGSSM:
        """The state-space model of objects with known components ``[L]``."""
        # Products, not gathers, whose gradients would be sparse.
        chosen = tf.one_hot(components, self.num_components)
        return lgssm.LGSSM(
            self.transition,
            tf.convert_to_tensor(self.force),
            self.transition_noise,
            self.emission,
            self.emission_noise,
            chosen @ self.initial_means,
            tf.tensordot(chosen, self.initial_covariances, 1),
        )

    def component_log_probs(self, positions, observed=None) -> tf.Tensor:
        """log p(z = k, a) of each object, ``[L, K]``, by a Kalman filter for each component.

        Args:
          positions: ``[L, T, m]``.
          observed: ``[L, T]``, 1 = seen, or None.
        """
        K, count = self.num_components, tf.shape(positions)[0]
        components = tf.tile(tf.range(K), [count])
        log_p = lgssm.log_likelihood(
            self.model(components),
            tf.repeat(positions, K, axis=0),
            None if observed is None else tf.repeat(observed, K, axis=0),
        )
        return tf.nn.log_softmax(self.component_logits) + tf.reshape(log_p, [count, K])

    def log_prob(self, positions, observed=None) -> tf.Tensor:
        """log p(a) of each object, ``[L]``, equation 10; arguments as above."""
        return tf.reduce_logsumexp(self.component_log_probs(positions, observed), axis=1)

    def likeliest(self, positions, observed=None) -> tf.Tensor:
        """The most likely component of each object, ``[L]`` int32; arguments as above."""
        found = tf.argmax(self.component_log_probs(positions, observed), axis=1)
        return tf.cast(found, tf.int32)

    def sample(self, count, num_steps, seed) -> tf.Tensor:
        """Trajectories ``[L, T, m]`` of so many objects; ``seed`` is a stateless pair."""
        pick_seed, walk_seed = tf.unstack(tf.random.split(seed, 2))
        logits = tf.convert_to_tensor(self.component_logits)[tf.newaxis]
        components = tf.random.stateless_categorical(logits, count, pick_seed)[0]
        _, positions = lgssm.sample(self.model(components), walk_seed, num_steps, count)
        return positions

    def get_config(self):
        return super().get_config() | self._settings
