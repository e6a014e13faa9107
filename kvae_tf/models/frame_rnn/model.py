r"""AE-RNN and VAE-RNN, the baselines of Fraccaro et al. (2017), section 5.1.

An auto-encoder of single frames is trained first; then an LSTM learns to continue its encodings:

    AE   a_t = encoder(x_t)            VAE   a_t ~ q(a_t | x_t), prior N(0, I) while it is trained
    RNN  a_t ~ N(f(h_{t-1}), σ²),      h_t = LSTM(h_{t-1}, [a_t, u_t]),      a_1 ~ N(μ_1, σ_1²)

Where a frame is missing, f(h_{t-1}) takes the place of a_t, which depends on earlier frames only:
there is no smoothing.

======  =============  ===================
letter  name           shape
======  =============  ===================
x       ``frames``     ``[B, T, H, W, C]``
u       ``controls``   ``[B, T, U]``
a       ``encodings``  ``[B, T, m]``
h       ``latents``    ``[B, T, units]``
======  =============  ===================
"""

from __future__ import annotations

import keras
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.layers import Encoding, FrameDecoder, FrameEncoder, frame_likelihood
from kvae_tf.models import inputs
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.contract import Bound, Frames, Scores
from kvae_tf.models.training_step import Phase
from kvae_tf.models.xla_gradient import compile_with_gradient

_INITIAL_LOG_STD = -1.0


@keras.saving.register_keras_serializable("kvae_tf")
class FrameRNN(SequenceModel):
    """An auto-encoder of frames and a recurrent network over its encodings.

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      control_size: number U of controls; 0: none (default).
      variational: a variational auto-encoder (VAE-RNN, default), else a plain one (AE-RNN).
      network: kind of encoder and decoder, ``"mlp"`` (default) or ``"cnn"``.
      units: widths of the dense layers, or filters of the convolutions, of the encoder; the decoder
        has them in reverse order.
      encoding_size: dimension m of an encoding, 2 by default.
      dynamics_units: width of the LSTM, 50 by default.
      likelihood: distribution of pixels, ``"bernoulli"`` (default) or ``"gaussian"``.
      per_pixel_std: Gaussian pixels: one learned standard deviation per pixel (default), else one
        for all pixels.
      variance_floor: Gaussian pixels: smallest variance, 1e-4 by default.
      precision: Keras' dtype policy of the inner layers of encoder and decoder: ``"float32"``
        (default), ``"mixed_bfloat16"`` or ``"mixed_float16"``.
      max_encoding_variance: variational auto-encoder: upper bound of the encoder's variance, 1 by
        default.
      pretraining_updates: number of first updates, which train the auto-encoder only; the updates
        after them train the LSTM only. 0: the auto-encoder is not trained (default).
      decoded_frames: number of seen frames of a sequence, drawn at each update, from which the
        auto-encoder learns; 0: all (default).
      jit_engine: compile the LSTM inside a training step that is itself not compiled; False by
        default.
      **training: arguments of ``TrainableModel``, for instance ``noise_seed``.

    Raises:
      UserError: ``network`` or ``likelihood`` is unknown.
    """

    imputation_methods = ("filter",)

    def __init__(
        self,
        frame_shape,
        control_size=0,
        variational=True,
        network="mlp",
        units=(128, 128),
        encoding_size=2,
        dynamics_units=50,
        likelihood="bernoulli",
        per_pixel_std=True,
        variance_floor=1e-4,
        precision="float32",
        max_encoding_variance=1.0,
        pretraining_updates=0,
        decoded_frames=0,
        jit_engine=False,
        **training,
    ):
        self.variational = variational
        super().__init__(**training)
        self.record_arguments(locals())
        self.frame_shape = tuple(frame_shape)
        self.control_size = control_size
        self.pretraining_updates = pretraining_updates
        self.decoded_frames = decoded_frames
        self.encoder = FrameEncoder(
            network, encoding_size, units, max_encoding_variance, precision, name="encoder"
        )
        self.decoder = FrameDecoder(network, frame_shape, units[::-1], precision, name="decoder")
        self.likelihood = frame_likelihood(likelihood, frame_shape, per_pixel_std, variance_floor)
        self.variance_floor = self.likelihood.variance_floor
        self.cell = keras.layers.LSTMCell(dynamics_units, name="cell")
        self.head = keras.layers.Dense(encoding_size, name="head")
        self._training_log_prior = (
            compile_with_gradient(self._log_prior, lambda: self.dynamics_variables)
            if jit_engine
            else self._log_prior
        )

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        del input_shape
        m = self.encoder.encoding_size
        self.encoder.build((None, *self.frame_shape))
        self.decoder.build((None, m))
        self.likelihood.build((None, *self.frame_shape))
        self.cell.build((None, m + self.control_size))
        self.head.build((None, self.cell.units))

        def weight(name, start):
            initializer = keras.initializers.Constant(start)
            return self.add_weight(shape=(m,), initializer=initializer, dtype="float32", name=name)

        self.start_mean = weight("start_mean", 0.0)
        self.start_log_std = weight("start_log_std", 0.0)
        self.log_std = weight("log_std", _INITIAL_LOG_STD)
        self.built = True

    @property
    def bound_name(self):
        """``"elbo"``; a plain auto-encoder has ``"joint_log_density"``, log p(x, a | u)."""
        return "elbo" if self.variational else "joint_log_density"

    @property
    def elbo_is_log_weight(self):
        """True for a variational auto-encoder; a plain one has no q."""
        return self.variational

    @property
    def term_names(self):
        return ("reconstruction", "regularisation" if self.variational else "prediction")

    # The bound.

    def elbo(self, batch, seed):
        """VAE-RNN: log p(x | a) - log q(a | x) + log p(a) at a ~ q, with the LSTM as the prior.

        AE-RNN: log p(x | a) + log p(a) at the encodings, which is no bound. Both in nats.
        """
        frames, observed, controls, *_ = inputs.of_batch(self, batch)
        seen = inputs.mask(observed, frames)
        a, log_q = self._sample(frames, lgssm.as_sampler(seed))
        log_p = self._log_prior(a, observed, controls)
        return self._bound(
            self._log_likelihood(a, frames, seen), log_p - tf.reduce_sum(seen * log_q, axis=1), seen
        )

    @property
    def phases(self):
        """First the auto-encoder is trained, then the LSTM over its encodings."""
        predictor = Phase(self.predictor_bound, self.dynamics_variables)
        if not self.pretraining_updates:
            return [predictor]
        frames = (self.encoder, self.decoder, self.likelihood)
        moved = [variable for layer in frames for variable in layer.trainable_variables]
        return [Phase(self.autoencoder_bound, moved, self.pretraining_updates), predictor]

    @property
    def dynamics_variables(self):
        own = [self.start_mean, self.start_log_std, self.log_std]
        return [*self.cell.trainable_variables, *self.head.trainable_variables, *own]

    def autoencoder_bound(self, batch, seed):
        """The bound of single frames: log p(x | a) - KL(q || N(0, I)).

        A plain auto-encoder has neither the KL divergence nor the noise in the end, but both at
        first: they fade while ``reconstruction_weight`` rises to 1. Otherwise it would start with a
        folded map from positions to encodings, and stay folded.
        """
        frames, observed, *_ = inputs.of_batch(self, batch)
        seen = inputs.mask(observed, frames)
        pick_sampler, noise_sampler = lgssm.as_sampler(seed).split(2)
        kept, scale, frames = inputs.subsample_observed(
            self.decoded_frames, pick_sampler, seen, frames
        )
        noisiness = 1.0 if self.variational else 1.0 - self._weight_risen()
        mean, std = self.encoder(frames)
        noise = noise_sampler.normal(tf.shape(mean))
        a = mean + noisiness * std * noise
        log_q = inputs.log_normal(noise, tf.math.log(std))
        other = noisiness * (inputs.log_normal(a, 0.0) - log_q)
        other = tf.reduce_sum(scale * kept * other, axis=1)
        return self._bound(self._log_likelihood(a, frames, scale * kept), other, seen)

    def predictor_bound(self, batch, seed):
        """log p(a | u), if variational minus log q(a | x), of encodings without gradients."""
        frames, observed, controls, *_ = inputs.of_batch(self, batch)
        seen = inputs.mask(observed, frames)
        drawn = self._sample(frames, lgssm.as_sampler(seed))
        a, log_q = tf.nest.map_structure(tf.stop_gradient, drawn)
        log_p = self._training_log_prior(a, observed, controls)
        return self._bound(tf.zeros_like(log_p), log_p - tf.reduce_sum(seen * log_q, axis=1), seen)

    def _bound(self, reconstruction, other, seen):
        name = self.term_names[1]
        num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
        terms = {"reconstruction": reconstruction, name: other}
        return Bound(reconstruction + other, terms, num_frames)

    def _sample(self, frames, sampler):
        """Encodings, drawn if variational, and their log q (else 0), ``[B, T]``."""
        mean, std = self._encode(frames)
        if not self.variational:
            return mean, tf.zeros_like(mean[..., 0])
        noise = sampler.normal(tf.shape(mean))
        return mean + std * noise, inputs.log_normal(noise, tf.math.log(std))

    def _log_likelihood(self, a, frames, seen):
        return tf.reduce_sum(seen * self.likelihood.log_prob(self.decoder(a), frames), axis=1)

    def _log_prior(self, a, observed, controls):
        """log p(a | u) of the encodings of the seen frames, ``[B]``, nats."""
        return tf.reduce_sum(self._step_log_priors(a, observed, controls), axis=1)

    def _step_log_priors(self, a, observed, controls):
        """log p(a_t | a_{1:t-1}, u) of each step, ``[B, T]`` nats; 0 where frames are missing."""
        a, predicted, _ = self._run(a, observed, controls)
        log_std = self._log_stds(tf.shape(a)[1])
        log_p = inputs.log_normal((a - predicted) / tf.exp(log_std), log_std)
        return log_p if observed is None else observed * log_p

    def _run(self, a, observed, controls):
        """The LSTM over a sequence.

        Returns:
          Encodings ``[B, T, m]``, predictions where frames are missing; the predictions of all
          steps ``[B, T, m]``; the LSTM's outputs ``[B, T, units]``.
        """
        seen = inputs.mask(observed, a)
        controls = controls[:, : tf.shape(a)[1]]

        def step(carry, inputs):
            predicted, *state = carry
            encoding, seen, control = inputs
            encoding = tf.where(seen[:, tf.newaxis] > 0, encoding, predicted)
            output, state = self._advance(encoding, control, state)
            return (self.head(output), *state), (encoding, predicted, output)

        m, units = self.encoder.encoding_size, self.cell.units
        batch = a.shape[0]
        _, outputs = lgssm.scan(
            step,
            self._start(tf.shape(a)[0]),
            (tf.transpose(a, [1, 0, 2]), tf.transpose(seen), tf.transpose(controls, [1, 0, 2])),
            [[batch, m], [batch, m], [batch, units]],
        )
        return tuple(tf.transpose(x, [1, 0, 2]) for x in outputs)

    def _log_stds(self, num_steps):
        """log σ_1, then log σ of all later steps, ``[T, m]``."""
        later = tf.repeat(self.log_std[tf.newaxis], num_steps - 1, axis=0)
        return tf.concat([self.start_log_std[tf.newaxis], later], axis=0)

    def _start(self, batch_size):
        """The first prediction and the LSTM's state."""
        zeros = tf.zeros([batch_size, self.cell.units])
        return tf.repeat(self.start_mean[tf.newaxis], batch_size, axis=0), zeros, zeros

    def _advance(self, encoding, control, state):
        return self.cell(tf.concat([encoding, control], axis=1), list(state))

    # Queries.

    def _encode(self, frames):
        """Means and standard deviations; the standard deviations of AE-RNN are 0."""
        mean, std = self.encoder(frames)
        return Encoding(mean, std if self.variational else tf.zeros_like(std))

    def _decode(self, encodings, num_objects=None):
        del num_objects
        return self.likelihood.mean(self.decoder(encodings))

    def _impute(self, given, method):
        """Reconstructions where frames were seen, else predictions; latents: LSTM outputs."""
        del method
        mean, std = self._encode(given.frames)
        a, _, h = self._run(mean, given.seen, given.controls)
        unsure = tf.exp(self._log_stds(tf.shape(a)[1]))
        stds = tf.where(given.seen[..., tf.newaxis] > 0, std, unsure)
        return Frames(self._decode(a), a, stds, h, tf.zeros_like(a[..., :0]))

    def _score(self, given):
        frames, observed, controls, *_ = given
        a = self._encode(frames).mean
        prior = self._step_log_priors(a, observed, controls)
        log_p = self.likelihood.log_prob(self.decoder(a), frames)
        reconstruction = log_p if observed is None else observed * log_p
        return Scores(prior + reconstruction, prior, reconstruction)

    def _forecast(self, given, num_steps):
        return inputs.forecast_by_imputation(self, given, num_steps)

    def _generate(self, controls, num_steps, sampler, num_objects):
        del num_objects
        num_sequences = tf.shape(controls)[0]
        m = self.encoder.encoding_size
        noise = sampler.normal([num_steps, num_sequences, m], axis=1)
        stds = tf.exp(self._log_stds(num_steps))

        def step(carry, inputs):
            predicted, *state = carry
            noise, control = inputs
            encoding = predicted + noise
            output, state = self._advance(encoding, control, state)
            return (self.head(output), *state), (encoding, output)

        _, drawn = lgssm.scan(
            step,
            self._start(num_sequences),
            (stds[:, tf.newaxis] * noise, tf.transpose(controls, [1, 0, 2])),
            [[None, m], [None, self.cell.units]],
        )
        a, h = (tf.transpose(x, [1, 0, 2]) for x in drawn)
        return Frames(self._decode(a), a, tf.zeros_like(a), h, tf.zeros_like(a[..., :0]))
