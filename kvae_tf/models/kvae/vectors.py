r"""A KVAE of vectors in which a partly seen row counts partly.

The encoder of a KVAE says a_t of a row alone; where most entries of the row are missing it cannot
know it, but the rows before and after do. Here it gives a potential, as in structured variational
auto-encoders (Johnson et al. 2016, section 3), whose variance grows with what is missing:

    q(a, z) ∝ p(a, z | u) Π_t psi_t(a_t),    psi_t(a) = N(a; mu_t, sigma_t²)

so that mu_t is an observation of C_t z_t with the noise R + sigma_t², and with the moments of z_t
given all of them (``lgssm.smooth``)

    k = R / (R + sigma²),    E[a] = C E[z] + k (mu - C E[z])
    Cov[a] = (1 - k) C Cov[z] Cᵀ (1 - k) + diag(k sigma²)

The bound is Σ_t E_q[log p(x_t | a_t) - log psi_t(a_t)] + log Z, where log Z is the log-likelihood
of the mu_t. In training a share of the seen entries, uniform between 0 and one half for each row,
is hidden from the encoder, not from p(x_t | a_t): it learns what a missing entry means, and the
bound stays a bound. Mode weights are those of the mu_t before; in gaps of whole rows predictions
take their place.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError
from kvae_tf.layers import Encoding
from kvae_tf.lgssm.steps import psd_factor
from kvae_tf.models import inputs
from kvae_tf.models.contract import Bound, Frames, Scores
from kvae_tf.models.kvae.dynamics import Dynamics
from kvae_tf.models.kvae.model import KVAE
from kvae_tf.models.xla_gradient import compile_with_gradient

_WIDEST = 100.0  # variance of a potential, in units of standardised encodings
_HIDDEN = 0.5  # largest share of entries that are hidden from the encoder
_DRAWS = 32  # decoded encodings, for the standard deviations of entries


@keras.saving.register_keras_serializable("kvae_tf")
class VectorKVAE(KVAE):
    """A KVAE of vectors whose encoder gives potentials.

    Args:
      **arguments: those of ``KVAE``. ``standardise`` is needed, ``objective`` is ``"collapsed"``;
        ``max_encoding_variance`` is the initial variance of a potential, and ``decoded_frames``
        does nothing.

    Raises:
      UserError: the frames are no vectors, ``objective`` is another, or a size or variance is out
        of its range.
    """

    def __init__(self, *args, **arguments):
        super().__init__(*args, **arguments)
        if not self.is_vector:
            raise UserError("standardise is None, expected the moments of vectors")
        if self.objective != "collapsed":
            raise UserError(f"objective is {self.objective!r}, expected 'collapsed'")
        self._training_posterior = (
            compile_with_gradient(self._posterior, lambda: self.dynamics_variables)
            if self._jit_engine
            else self._posterior
        )

    def _create_frame_layers(self, *, max_encoding_variance, **options):
        super()._create_frame_layers(max_encoding_variance=_WIDEST, **options)
        self._first_variance = min(max_encoding_variance, 0.99 * _WIDEST)

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        super().build(input_shape)
        share = self._first_variance / _WIDEST
        bias = np.zeros(2 * self.encoding_size, np.float32)
        bias[self.encoding_size :] = math.log(share / (1.0 - share))
        self.encoder.head.bias.assign(bias)

    # The bound.

    def elbo(self, batch, seed):
        """The bound, see the module's docstring; nothing is hidden from the encoder.

        Args:
          batch: ``frames [B, T, 1, D, 1]`` float32, NaN where an entry is missing, and optionally
            ``observed [B, T]`` (1 = seen) and ``controls [B, T, U]``.
          seed: an int, a stateless pair, or a ``Sampler`` where the batch is part of another.

        Returns:
          A ``Bound``.
        """
        return self._bound(batch, seed)

    def _bound(self, batch, seed, training=False, frozen_encoder=False, **of_frames):
        del of_frames  # how phases of frames differ
        given = inputs.of_batch(self, batch)
        draw_sampler, rate_sampler, hide_sampler = lgssm.as_sampler(seed).split(3)
        frames, seen = given.frames, given.seen
        encoded = frames
        if training:
            rate = _HIDDEN * rate_sampler.uniform(tf.shape(seen))[..., None, None, None]
            hidden = hide_sampler.uniform(tf.shape(frames)) < rate
            encoded = tf.where(hidden, np.float32(np.nan), frames)
        psi = self._encode(encoded)
        if frozen_encoder:
            psi = Encoding(*map(tf.stop_gradient, psi))
        posterior = self._training_posterior if training else self._posterior
        packed = posterior(tf.concat(psi, axis=-1), seen, given.controls, given.times)
        log_z, mean, factor = self._unpacked(packed)
        a = mean + tf.linalg.matvec(factor, draw_sampler.normal(tf.shape(mean)))
        variance = tf.reduce_sum(tf.square(factor), axis=-1)
        log_psi = inputs.log_normal((mean - psi.mean) / psi.std, tf.math.log(psi.std))
        log_psi -= 0.5 * tf.reduce_sum(variance / tf.square(psi.std), axis=-1)
        log_p = self.likelihood.log_prob(self.decoder(a), frames)
        terms = {
            "reconstruction": tf.reduce_sum(seen * log_p, axis=1),
            "regularisation": log_z - tf.reduce_sum(seen * log_psi, axis=1),
        }
        num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
        return Bound(terms["reconstruction"] + terms["regularisation"], terms, num_frames)

    def _posterior(self, psi, observed, controls, times=None):
        """log Z and the moments of a, as one tensor ``[B, T, 1 + m + m²]`` for one gradient."""
        psi = Encoding(*tf.split(psi, 2, axis=-1))
        dynamics = self._potential_dynamics(psi, observed, controls, times)
        result = lgssm.smooth(*dynamics[:3])
        # In the model's own coordinates: encodings are the same in all.
        own = dynamics.model.emission, result.smoothed_means, result.smoothed_covariances
        q, covariance = self._encoding_moments(psi, observed, *map(dynamics.at_steps, own))
        factor = psd_factor(covariance)
        log_z = tf.repeat(result.log_likelihood[:, tf.newaxis], tf.shape(psi.mean)[1], axis=1)
        shape = tf.concat([tf.shape(psi.mean)[:2], [self.encoding_size**2]], axis=0)
        return tf.concat([log_z[..., tf.newaxis], q.mean, tf.reshape(factor, shape)], axis=-1)

    def _unpacked(self, packed):
        m = self.encoding_size
        log_z, mean, factor = tf.split(packed, [1, m, m * m], axis=-1)
        shape = tf.concat([tf.shape(mean), [m]], axis=0)
        return log_z[:, 0, 0], mean, tf.reshape(factor, shape)

    def _potential_dynamics(self, psi, observed, controls, times) -> Dynamics:
        """The state-space model of a batch with the potentials' noise, observing their means."""
        steps = self.steps(psi.mean, observed, controls, times, self._variances(psi))
        return self._dynamics(steps)

    def _weighted(self, steps):
        is_constant = self.network.kind == "constant"
        return super()._weighted(steps._replace(observed=None) if is_constant else steps)

    def _variances(self, q):
        return tf.square(q.std)

    def _encoding_moments(self, psi, seen, emission, z, P):
        """Moments of a given z ~ N(z, P) and the potential: ``Encoding``, covariance."""
        R, variance = self.mixture.emission_noise, tf.square(psi.std)
        gain = seen[..., tf.newaxis] * R / (R + variance)
        rest = tf.where(seen[..., tf.newaxis] > 0, gain * variance, R)
        expected = tf.linalg.matvec(emission, z)
        spread = (1.0 - gain)[..., tf.newaxis] * emission
        covariance = tf.matmul(spread @ P, spread, transpose_b=True) + tf.linalg.diag(rest)
        std = tf.sqrt(tf.maximum(tf.linalg.diag_part(covariance), 0.0))
        return Encoding(expected + gain * (psi.mean - expected), std), covariance

    # Queries.

    def _frames(self, dynamics, q, seen, frames, method):
        z, P = dynamics.moments(method)
        emission = dynamics.at_steps(dynamics.emission)
        q, covariance = self._encoding_moments(q, seen, emission, z, P)
        frames, stds = self._entries_of(frames, seen, q.mean, covariance)
        weights = dynamics.at_steps(dynamics.mode_weights)
        return Frames(frames, q.mean, q.std, z, weights, stds)

    def _entries_of(self, frames, seen, mean, covariance):
        """Vectors, seen entries as given, and stds: of draws of a, and of p(x | a)."""
        there = ~tf.math.is_nan(frames) & (seen[..., None, None, None] > 0)
        # The same draws for all rows, so that a row's answer depends on its moments alone.
        noise = tf.random.stateless_normal([_DRAWS, self.encoding_size], [0, 0])
        noise = tf.concat([noise, -noise], axis=0)
        factor = psd_factor(covariance)
        draws = mean[..., tf.newaxis, :] + tf.einsum("...ij,sj->...si", factor, noise)
        decoded = self.likelihood.mean(self.decoder(draws))
        variance = tf.math.reduce_variance(decoded, axis=-4)
        variance += self.likelihood.entry_variance
        means = tf.where(there, frames, tf.reduce_mean(decoded, axis=-4))
        return means, tf.where(there, 0.0, tf.sqrt(variance))

    def _score(self, given):
        dynamics, _, seen = self._infer(given)
        prior = dynamics.at_steps(lgssm.filter(*dynamics[:3]).step_log_likelihoods)
        return self._scores(prior, self._encode(given.frames), seen, given.frames)

    def _scores(self, prior, psi, seen, frames):
        """``Scores`` at a = mu: log p(mu_t | before) - log psi(mu_t), and log p(x_t | mu_t)."""
        prior -= seen * inputs.log_normal(tf.zeros_like(psi.std), tf.math.log(psi.std))
        log_p = seen * self.likelihood.log_prob(self.decoder(psi.mean), frames)
        return Scores(prior + log_p, prior, log_p)

    def _filter_step(self, state, given):
        frames = given.frames
        seen = inputs.mask(given.observed, frames, axes=1)
        psi = self._encode(frames)
        state, step = self._filter_on(state, psi.mean, seen, given, tf.square(psi.std))
        q, covariance = self._encoding_moments(psi, seen, step.emission, step.mean, step.covariance)
        scores = self._scores(step.log_likelihood, psi, seen, frames)
        return state, {
            "frames": self._entries_of(frames, seen, q.mean, covariance)[0],
            "encodings": q.mean,
            "encoding_stds": q.std,
            "latents": step.mean,
            "latent_covariances": step.covariance,
            **scores._asdict(),
        }
