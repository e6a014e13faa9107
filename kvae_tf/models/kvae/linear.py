r"""A linear Gaussian state-space model of vectors: a KVAE without encoder and decoder.

    z_{t+1} = A_t z_t + B_t u_t + w_t,    x_t = s * (C_t z_t + v_t) + o

with the entries' means o and standard deviations s. The encodings a_t are the standardised entries
themselves, so m = D and q(a | x) is a point. Each entry may be missing on its own. The bound is the
exact log-likelihood log p(x | u); with more than one mode, that of the model in which the mode
weights depend on the entries so far, where predictions take the place of missing ones (Fraccaro et
al. 2017, equations 11 and 12).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError
from kvae_tf.layers import Encoding, StandardisedEntries
from kvae_tf.models import inputs
from kvae_tf.models.contract import Bound, Frames, Scores
from kvae_tf.models.inputs import Inputs
from kvae_tf.models.kvae.model import KVAE
from kvae_tf.models.training_step import Phase


@keras.saving.register_keras_serializable("kvae_tf")
class LinearKVAE(KVAE):
    """A linear Gaussian state-space model of vectors, by the calls of a KVAE.

    Args:
      **arguments: those of ``KVAE``. ``standardise`` is needed, ``encoding_size`` is D and
        ``objective`` ``"collapsed"``. Those of encoder, decoder, likelihood and of the encoder's
        frozen phase do nothing.

    Raises:
      UserError: the frames are no vectors, ``encoding_size`` is not D, or a size or variance is out
        of its range.
    """

    def _create_frame_layers(self, *, encoding_size, standardise, **options):
        del options
        if standardise is None:
            raise UserError(
                f"frame_shape is {self.frame_shape} and standardise None, expected vectors and "
                "their moments: the linear network is for vectors"
            )
        self.encoder = StandardisedEntries(standardise, name="encoder")
        if encoding_size != self.encoder.encoding_size:
            raise UserError(
                f"encoding_size is {encoding_size}, expected {self.encoder.encoding_size}, the "
                "number of entries of a vector"
            )
        if self.objective != "collapsed":
            raise UserError(f"objective is {self.objective!r}, expected 'collapsed'")
        self.variance_floor = None

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        del input_shape
        self.encoder.build()
        self.network.build((None, None, self.encoder.encoding_size))
        self.mixture.build()
        self.built = True

    @property
    def phases(self):
        """Phases: dynamics parameter network frozen, if it is at all; nothing frozen."""
        phases = [Phase(self.training_bound, self.trainable_variables)]
        if self.frozen_updates:
            others = self.mixture.trainable_variables
            phases.insert(0, Phase(self.training_bound, others, self.frozen_updates))
        return phases

    # The bound.

    def elbo(self, batch, seed):
        """The log-likelihood of the entries in their own units.

        Args:
          batch: ``frames [B, T, 1, D, 1]`` float32, NaN where an entry is missing, and optionally
            ``observed [B, T]`` (1 = seen) and ``controls [B, T, U]``.
          seed: not used; nothing is drawn.

        Returns:
          A ``Bound``. ``regularisation`` is log p of the standardised entries, ``reconstruction``
          the logarithm of the Jacobian that leads to the entries' own units, which is constant:
          minus the sum of log s over the entries that are there.
        """
        return self._bound(batch, seed)

    def _bound(self, batch, seed, training=False, **of_frames):
        del of_frames  # how phases of frames differ
        given = inputs.of_batch(self, batch)
        entries, there = self._entries(given.frames, given.seen)
        log_prior = self._training_log_prior if training else self.encodings_log_prob
        terms = {
            "reconstruction": tf.reduce_sum(self.encoder.log_density_scale(there), axis=1),
            "regularisation": log_prior(
                entries, there, given.controls, lgssm.as_sampler(seed), given.times
            ),
        }
        num_frames = tf.maximum(tf.reduce_sum(given.seen, axis=1), 1.0)
        return Bound(terms["reconstruction"] + terms["regularisation"], terms, num_frames)

    def _weighted(self, steps):
        # Constant weights do not depend on what takes the place of missing entries.
        is_constant = self.network.kind == "constant"
        return super()._weighted(steps._replace(observed=None) if is_constant else steps)

    # Queries.

    def _decode(self, encodings, num_objects=None):
        del num_objects
        return self.encoder.restore(encodings)

    def _frames(self, dynamics, q, seen, frames, method):
        z, P = dynamics.moments(method)
        q = self._filled_in(q.mean, seen, dynamics.at_steps(dynamics.emission), z, P)
        frames, stds = self._restored(frames, seen, q)
        weights = dynamics.at_steps(dynamics.mode_weights)
        return Frames(frames, q.mean, q.std, z, weights, stds)

    def _score(self, given):
        dynamics, _, there = self._infer(given)
        prior = lgssm.filter(*dynamics[:3]).step_log_likelihoods
        prior = dynamics.at_steps(prior)
        units = self.encoder.log_density_scale(there)
        return Scores(prior + units, prior, units)

    def _filter_step(self, state, given):
        frames = given.frames
        seen = inputs.mask(given.observed, frames, axes=1)
        entries, there = self._entries(frames, seen)
        state, step = self._filter_on(state, entries, there, given)
        q = self._filled_in(entries, there, step.emission, step.mean, step.covariance)
        units = self.encoder.log_density_scale(there)
        return state, {
            "frames": self._restored(frames, there, q)[0],
            "encodings": q.mean,
            "encoding_stds": q.std,
            "latents": step.mean,
            "latent_covariances": step.covariance,
            **Scores(step.log_likelihood + units, step.log_likelihood, units)._asdict(),
        }

    # Helpers.

    def _entries(self, frames, seen):
        """Standardised entries, 0 where missing, and which ones are there, both ``[..., D]``."""
        there = self.encoder.there(frames) * seen[..., tf.newaxis]
        return tf.where(there > 0, self.encoder(frames).mean, 0.0), there

    def _read(self, given: Inputs):
        entries, there = self._entries(given.frames, given.seen)
        return Encoding(entries, 1.0 - there), there

    def _filled_in(self, entries, there, emission, z, P):
        """Entries that are there, with std 0; elsewhere moments of C z + noise, z ~ N(z, P)."""
        variance = tf.reduce_sum((emission @ P) * emission, axis=-1)  # diagonal of C P Cᵀ
        std = tf.sqrt(tf.maximum(variance, 0.0) + self.mixture.emission_noise)
        mean = tf.where(there > 0, entries, tf.linalg.matvec(emission, z))
        return Encoding(mean, tf.where(there > 0, 0.0, std))

    def _restored(self, frames, there, q):
        """Vectors, seen entries exactly as given, and their stds, both ``[..., 1, D, 1]``."""
        given = there[..., tf.newaxis, :, tf.newaxis] > 0
        frames = tf.where(given, frames, self.encoder.restore(q.mean))
        return frames, self.encoder.restore_stds(q.std)
