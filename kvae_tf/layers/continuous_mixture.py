r"""The modes of a KVAE's dynamics in continuous time.

Between two frames the latent state moves by the mixture of K generators, with mode weights that
hold over the whole interval:

    dz = (F_t z + B_t u_t + b_t) dt + dW,    F_t = Σ_k alpha_{t+1}^(k) F^(k),  B_t, b_t alike

and W of the spectral density diag(q_t). What is mixed are the generators, and not their
exponentials: so the state is known at every time between the frames, and asking for it at one of
them changes nothing at the others. With equal intervals of 1 and one mode this is the discrete
model with A = e^F.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.layers.mode_mixture import ModeMixture
from kvae_tf.lgssm import LGSSM, continuous
from kvae_tf.lgssm.steps import batch_last, cast

_LEAST_FACTOR = 0.02  # of a state from step to step, as the start of a generator


@keras.saving.register_keras_serializable("kvae_tf")
class ContinuousMixture(ModeMixture):
    """K generators and the noises, and the LGSSM that mode weights and intervals make of them.

    Args:
      *args, **kwargs: those of ``ModeMixture``. ``transition`` is F, 0 at first; controls, offsets
        and ``transition_noise``, a spectral density, are per unit of time.
    """

    is_continuous = True

    @staticmethod
    def _first_transition(shape, dtype=None):
        return tf.zeros(shape, dtype or "float32")

    def assign(self, model: LGSSM, control=None) -> None:
        """Sets all modes to one linear model of steps that are 1 apart, and the noises to its own.

        Args:
          model: arrays without batch and time axes, with a diagonal transition; variances above the
            noise floor. A state whose factor is not above 0.02 gets that factor.
          control: ``[n, U]``, per unit of time; None: B stays as it is (default).
        """
        factor = np.maximum(np.diagonal(model.transition), _LEAST_FACTOR)
        rate = np.minimum(np.log(factor), -1e-6)
        # q = s ∫_0^1 e^{2 rate u} du
        density = np.asarray(model.transition_noise) * 2.0 * rate / np.expm1(2.0 * rate)
        start = model._replace(transition=np.diag(np.log(factor)), transition_noise=density)
        super().assign(start, control)

    def call(self, mode_weights, controls, intervals) -> continuous.Decorrelated:
        """The LGSSM that mode weights make, in coordinates in which its noise is diagonal.

        Args:
          mode_weights: ``[B, T + 1, K]``.
          controls: ``[B, T, U]``.
          intervals: ``[B, T]``, from each step to the next, units of time.
        """
        return self.state_space(mode_weights[:, :-1], mode_weights[:, 1:], controls, intervals)

    def state_space(self, emission_weights, mode_weights, controls, intervals):
        """As ``call``, with weights of the emissions apart from those of the transitions.

        Args:
          emission_weights: ``[B, T, K]``.
          mode_weights: ``[B, T, K]``, of the steps from t to t + 1.
          controls: ``[B, T, U]``.
          intervals: ``[B, T]``, units of time.
        """
        step = continuous.discretise(*self._generator(mode_weights, controls), intervals)
        model = LGSSM(
            transition=step.transition,
            transition_offset=step.offset,
            transition_noise=None,
            emission=self.mix(self.emission, emission_weights),
            emission_noise=self.emission_noise,
            initial_mean=tf.convert_to_tensor(self.initial_mean),
            initial_covariance=self.initial_covariance,
        )
        return continuous.decorrelated(model, step.noise)

    def step(self, mode_weights, controls, interval) -> continuous.Discretised:
        """One step of a loop, batch-last in float64.

        Args:
          mode_weights: ``[B, K]``.
          controls: ``[B, U]``.
          interval: ``[B]``, units of time.
        """
        generator = map(batch_last, self._generator(mode_weights, controls))
        return continuous.discretise_batch_last(*cast((*generator, interval), tf.float64))

    def _generator(self, mode_weights, controls):
        """F ``[..., n, n]``, the drift that does not depend on z ``[..., n]``, density alike."""
        drift = self.mix(self.transition, mode_weights)
        still = tf.zeros_like(drift[..., 0])
        offset = self.offset(mode_weights, controls) if self.has_offset else still
        return drift, offset, still + self.noise(mode_weights)
