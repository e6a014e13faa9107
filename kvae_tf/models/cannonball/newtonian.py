r"""Objects that move by Newton's laws: linear Gaussian, with a mixture of initial states.

Chiappa and Paquet, equations 3, 4 and 10; all objects of all sequences share one model.

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

L is the number of objects of all sequences together.

Given noisy readings y_t of the positions, with known variances R_t, the posterior uses the dynamics
(as section 2.3 suggests):

    q(h, a) ∝ g(h_1) Π_t p(h_{t+1} | h_t) p(a_t | h_t) N(y_t; a_t, R_t)

where g is the Gaussian with the moments of the mixture of initial states, so that q is Gaussian.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.layers.mode_mixture import NOISE_FLOOR
from kvae_tf.models import inputs
from kvae_tf.models.cannonball.collisions import Collisions, Law
from kvae_tf.models.cannonball.gaussian_mixture import GaussianMixture


@keras.saving.register_keras_serializable("kvae_tf")
class NewtonianMixture(keras.layers.Layer):
    """log p(a) of whole trajectories, and exact inference and draws.

    Args:
      num_components: number K of components of the mixture of initial states, 2 by default.
      position_size: dimension m of a position, 2 by default.
      step: initial value of the time step δ, 0.1 by default.
      transition_noise: initial value of the variance Σ_H, 1e-3 by default.
      emission_noise: initial value of the variance Σ_A, 1 by default.
      initial_variance: initial value of the variance Σ_k, 1 by default.
      initial_spread: initial standard deviation of the positions in μ_k among each other, 1 by
        default.
      learn_transition_noise: learn Σ_H (default), else keep it.
      collision_modes: number of modes by which objects meet walls and each other, see
        ``collisions``; 0: they do not (default).
      collision_units: width of the networks of these modes, 64 by default.
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
        collision_modes=0,
        collision_units=64,
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
            "collision_modes": collision_modes,
            "collision_units": collision_units,
        }
        self.num_components = num_components
        self.position_size = position_size
        self.collisions = None
        if collision_modes:
            self.collisions = Collisions(
                collision_modes, collision_units, 2 * position_size, name="collisions"
            )

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
        if self.collisions is not None:
            self.collisions.build()
        self.built = True

    @property
    def noise_variables(self) -> list:
        """The variables of Σ_H and Σ_A."""
        return [self.log_transition_noise, self.log_emission_noise]

    @property
    def start_variables(self) -> list:
        """The variables of π, μ and Σ."""
        return [
            self.component_logits,
            self.start_positions,
            self.start_velocities,
            self.start_log_scales,
            self.start_corners,
        ]

    # The parameters of the equations.

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
    def initial_factors(self) -> tf.Tensor:
        """Lower triangular factors of Σ, ``[K, 2m, 2m]``."""
        n = 2 * self.position_size
        rows = [[i, j] for i in range(n) for j in range(i)]
        corners = tf.transpose(
            tf.scatter_nd(rows, tf.transpose(self.start_corners), [n, n, self.num_components]),
            [2, 0, 1],
        )
        return tf.linalg.set_diag(corners, tf.exp(self.start_log_scales))

    @property
    def initial_covariances(self) -> tf.Tensor:
        """Σ, ``[K, 2m, 2m]``."""
        factors = self.initial_factors
        return tf.matmul(factors, factors, transpose_b=True)

    @property
    def initial_moments(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean ``[2m]`` and covariance ``[2m, 2m]`` of the mixture of initial states."""
        weights = tf.nn.softmax(self.component_logits)[:, tf.newaxis]
        mean = tf.reduce_sum(weights * self.initial_means, axis=0)
        deviations = self.initial_means - mean
        within = tf.reduce_sum(weights[..., tf.newaxis] * self.initial_covariances, axis=0)
        return mean, within + tf.matmul(weights * deviations, deviations, transpose_a=True)

    @property
    def free_law(self) -> Law:
        """Of an object that meets nothing: ``[2m, 2m]``, ``[2m]`` and ``[2m]``."""
        return Law(self.transition, tf.convert_to_tensor(self.force), self.transition_noise)

    def law(self, latents, present) -> Law:
        """What takes objects to the next step.

        Args:
          latents: h, ``[..., N, 2m]``, states of the objects of a sequence.
          present: ``[..., N]``, 1 = the object is present.

        Returns:
          ``free_law`` where objects do not meet; else a law of each object, ``[..., N, ...]``.
        """
        if self.collisions is None:
            return self.free_law
        return self.collisions.law(self.free_law, latents, present)

    def set_emission_noise(self, noise: np.ndarray) -> None:
        """Sets Σ_A.

        Args:
          noise: ``[m]`` variances.
        """
        least = NOISE_FLOOR * 1e-3
        self.log_emission_noise.assign(np.log(np.maximum(noise - NOISE_FLOOR, least)))

    def set_acceleration(self, acceleration: np.ndarray) -> None:
        """Sets the part of u that changes velocities.

        Args:
          acceleration: second difference of the positions, ``[m]``.
        """
        force = np.array(self.force)
        force[self.position_size :] = acceleration / np.asarray(self.step)
        self.force.assign(force)

    def set_start(self, start: GaussianMixture) -> None:
        """Sets π, μ and Σ.

        Args:
          start: mixture of initial states, K components in 2m dimensions.
        """
        m, n = self.position_size, 2 * self.position_size
        factors = np.linalg.cholesky(start.covariances)
        below = np.tril_indices(n, -1)
        self.component_logits.assign(np.log(start.weights))
        self.start_positions.assign(start.means[:, :m])
        self.start_velocities.assign(start.means[:, m:])
        self.start_log_scales.assign(np.log(np.diagonal(factors, axis1=1, axis2=2)))
        self.start_corners.assign(factors[:, below[0], below[1]])

    # Densities, inference and draws.

    def model(
        self,
        components: tf.Tensor,
        variances: tf.Tensor | None = None,
        law: Law | None = None,
    ) -> lgssm.LGSSM:
        """The state-space model of objects with known components.

        Args:
          components: ``[L]`` integers, component of each object.
          variances: ``[L, T, m]``, variances of readings of the positions; None: the positions
            themselves are observed.
          law: along the path of each object, ``[L, T, ...]``; None: ``free_law`` (default).
        """
        # Products, not gathers, whose gradients would be sparse.
        chosen = tf.one_hot(components, self.num_components)
        return self._ssm(
            chosen @ self.initial_means,
            tf.tensordot(chosen, self.initial_covariances, 1),
            variances,
            law,
        )

    def component_log_probs(self, positions, observed=None, variances=None, law=None) -> tf.Tensor:
        """log p(z = k, a) of each object, ``[L, K]`` nats, by a Kalman filter for each component.

        Args:
          positions: ``[L, T, m]``, positions or readings of them.
          observed: ``[L, T]``, 1 = seen; None: all are seen.
          variances: ``[L, T, m]``, variances of readings; None: ``positions`` are no readings.
          law: along the path of each object, ``[L, T, ...]``; None: ``free_law`` (default).
        """
        K, count = self.num_components, tf.shape(positions)[0]
        components = tf.tile(tf.range(K), [count])
        log_p = lgssm.log_likelihood(
            self.model(components, _repeat(variances, K), _repeat(law, K)),
            _repeat(positions, K),
            _repeat(observed, K),
        )
        return tf.nn.log_softmax(self.component_logits) + tf.reshape(log_p, [count, K])

    def log_prob(self, positions, observed=None) -> tf.Tensor:
        """log p(a) of each object, ``[L]`` nats, equation 10.

        Args:
          positions: ``[L, T, m]``.
          observed: ``[L, T]``, 1 = seen; None: all are seen.
        """
        return tf.reduce_logsumexp(self.component_log_probs(positions, observed), axis=1)

    def posterior_sample(
        self, readings, variances, observed, seed, law=None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """A draw of q(h, a), the module's last equation, and its estimate of -KL(q || p).

        Args:
          readings: y, ``[L, T, m]``.
          variances: R, ``[L, T, m]``.
          observed: ``[L, T]``, 1 = seen.
          seed: an int, a stateless pair or a ``Sampler``, whose rows are the L objects.
          law: along the path of each object, ``[L, T, ...]``; None: ``free_law`` (default).

        Returns:
          a ``[L, T, m]`` and ln p(h, a) - ln q(h, a) ``[L]``, nats. Of the ratio only the terms of
          the initial state and of the readings remain: all others cancel.
        """
        state_sampler, position_sampler = lgssm.as_sampler(seed).split(2)
        mean, covariance = self.initial_moments
        ssm = self._ssm(mean, covariance, variances, law)
        evidence = lgssm.log_likelihood(ssm, readings, observed)
        h = lgssm.posterior_sample(ssm, readings, observed, state_sampler)[0]
        expected = h[..., : self.position_size]
        centre, spread = self.moments(expected, readings, variances)
        noise = position_sampler.normal(tf.shape(readings))
        a = centre + tf.sqrt(spread) * noise
        log_reading = -0.5 * tf.reduce_sum(
            tf.square(readings - a) / variances + tf.math.log(2.0 * math.pi * variances), axis=-1
        )
        start = h[:, 0]
        log_guess = _log_normal(start - mean, tf.linalg.cholesky(covariance))
        log_starts = _log_normal(start[:, tf.newaxis] - self.initial_means, self.initial_factors)
        log_start = tf.reduce_logsumexp(
            tf.nn.log_softmax(self.component_logits) + log_starts, axis=-1
        )
        log_ratio = evidence - tf.reduce_sum(observed * log_reading, axis=1)
        return a, log_ratio + log_start - log_guess

    def smooth(self, readings, variances, law=None) -> tuple[tf.Tensor, tf.Tensor]:
        """Moments of h given readings, with h_1 ~ g: ``[L, T, 2m]`` and ``[L, T, 2m, 2m]``.

        Args:
          readings: y, ``[L, T, m]``.
          variances: R, ``[L, T, m]``.
          law: along the path of each object, ``[L, T, ...]``; None: ``free_law`` (default).
        """
        result = lgssm.smooth(self._ssm(*self.initial_moments, variances, law), readings)
        return result.smoothed_means, result.smoothed_covariances

    def filter(
        self, positions, observed, variances=None, law=None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Moments of h_t given what was seen up to t, and ln p(z = k, a_{1:t}).

        ``[L, T, 2m]``, ``[L, T, 2m, 2m]`` and ``[L, T, K]``. The moments are those of the component
        that is likeliest up to t.

        Args:
          positions: ``[L, T, m]``, positions or readings of them.
          observed: ``[L, T]``, 1 = seen.
          variances: ``[L, T, m]``, variances of readings; None: ``positions`` are no readings.
          law: along the path of each object, ``[L, T, ...]``; None: ``free_law`` (default).
        """
        K, n = self.num_components, 2 * self.position_size
        shape = tf.shape(positions)
        components = tf.tile(tf.range(K), shape[:1])
        model = self.model(components, _repeat(variances, K), _repeat(law, K))
        result = lgssm.filter(model, _repeat(positions, K), _repeat(observed, K))
        steps = tf.reshape(result.step_log_likelihoods, [-1, K, shape[1]])
        log_p = tf.nn.log_softmax(self.component_logits)[:, tf.newaxis] + tf.cumsum(steps, axis=2)
        best = tf.one_hot(tf.argmax(log_p, axis=1), K, axis=1)  # [L, K, T]
        means = tf.reshape(result.filtered_means, [-1, K, shape[1], n])
        covariances = tf.reshape(result.filtered_covariances, [-1, K, shape[1], n, n])
        return (
            tf.einsum("lkt,lkti->lti", best, means),
            tf.einsum("lkt,lktij->ltij", best, covariances),
            tf.transpose(log_p, [0, 2, 1]),
        )

    def moments(
        self, expected, readings, variances, uncertainty=0.0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and variance of a_t given a reading and the moments of B h_t, both ``[..., m]``.

        Args:
          expected: the mean of B h_t, ``[..., m]``.
          readings: y_t, ``[..., m]``.
          variances: R_t, ``[..., m]``.
          uncertainty: variance of B h_t, ``[..., m]``; 0: B h_t is known (default).
        """
        gain = self.emission_noise / (self.emission_noise + variances)
        variance = gain * variances + tf.square(1.0 - gain) * uncertainty
        return expected + gain * (readings - expected), variance

    def likeliest(self, positions, observed=None) -> tf.Tensor:
        """The most likely component of each object, ``[L]`` int32.

        Args:
          positions: ``[L, T, m]``.
          observed: ``[L, T]``, 1 = seen; None: all are seen.
        """
        components = tf.argmax(self.component_log_probs(positions, observed), axis=1)
        return tf.cast(components, tf.int32)

    def sample(self, count, num_steps, seed) -> tf.Tensor:
        """Trajectories from the prior.

        Args:
          count: number L of objects.
          num_steps: number T of steps.
          seed: an int, a stateless pair or a ``Sampler``, whose rows are the L objects.

        Returns:
          ``[L, T, m]``.
        """
        pick_sampler, walk_sampler = lgssm.as_sampler(seed).split(2)
        components = self._sample_components(count, pick_sampler)
        _, positions = lgssm.sample(self.model(components), walk_sampler, num_steps, count)
        return positions

    def sample_start(self, count, seed) -> tf.Tensor:
        """Initial states from the prior, ``[L, 2m]``.

        Args:
          count: number L of objects.
          seed: an int, a stateless pair or a ``Sampler``, whose rows are the L objects.
        """
        pick_sampler, walk_sampler = lgssm.as_sampler(seed).split(2)
        components = self._sample_components(count, pick_sampler)
        latents, _ = lgssm.sample(self.model(components), walk_sampler, 1, count)
        return latents[:, 0]

    def _sample_components(self, count, sampler):
        logits = tf.convert_to_tensor(self.component_logits)[tf.newaxis]

        def pick(shape, seed):
            return tf.random.stateless_categorical(logits, shape[0], seed)[0]

        return sampler.rows(pick, [count])

    def _ssm(self, initial_mean, initial_covariance, variances=None, law=None):
        noise = self.emission_noise
        return lgssm.LGSSM(
            *(law or self.free_law),
            self.emission,
            noise if variances is None else noise + variances,
            initial_mean,
            initial_covariance,
        )

    def get_config(self):
        return super().get_config() | self._settings


def _repeat(x, count):
    """Each row, or each row of each tensor, ``count`` times one after the other; None: None."""
    return tf.nest.map_structure(lambda x: None if x is None else tf.repeat(x, count, axis=0), x)


def _log_normal(error, factor):
    """log N(x; μ, L Lᵀ) in nats, ``[...]``, of x - μ ``[..., n]`` and L ``[..., n, n]``."""
    white = tf.linalg.triangular_solve(factor, error[..., tf.newaxis])[..., 0]
    return inputs.log_normal(white, tf.math.log(tf.linalg.diag_part(factor)))
