r"""The Kalman variational auto-encoder (Fraccaro, Kamronn, Paquet and Winther 2017).

    q(a_t | x_t)     frame encoder                  p(x_t | a_t)    frame decoder and likelihood
    alpha_t(a_0 … a_{t-1})  dynamics parameter network, mixes K modes into A_t, B_t, C_t
    p(a, z | u)      linear Gaussian state-space model over z with a as its observations

======  ================  ====================
letter  name              shape
======  ================  ====================
x       ``frames``        ``[B, T, H, W, C]``
u       ``controls``      ``[B, T, U]``
a       ``encodings``     ``[B, T, m]``
z       ``latents``       ``[B, T, n]``
alpha   ``mode_weights``  ``[B, T, K]``
======  ================  ====================

The bound (equation 6) is log p(x | a) - log q(a | x) + log p(a | u) at a ~ q(a | x). As p(z | a, u)
is the exact posterior, log p(a | u) = log p(a, z | u) - log p(z | a, u) for every z: the collapsed
objective takes it from the filter, the sampled one (equation 7) draws z and evaluates both.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from kvae_tf import lgssm, replicas
from kvae_tf.compiled import compile_with_gradient
from kvae_tf.errors import UserError
from kvae_tf.layers import (
    DynamicsParameterNetwork,
    Encoding,
    FrameDecoder,
    FrameEncoder,
    ModeMixture,
    coupled_pass,
    filter_start,
    filter_step,
    frame_likelihood,
)
from kvae_tf.models import batches
from kvae_tf.models.base import Bound, Frames, Latents, Phase, SequenceModel

OBJECTIVES = ("collapsed", "sampled")


@keras.saving.register_keras_serializable("kvae_tf")
class KVAE(SequenceModel):
    """The Kalman variational auto-encoder.

    Args:
      frame_shape: ``(H, W, C)``.
      control_size: U, 0 for none.
      network: ``"mlp"`` or ``"cnn"`` halves.
      units: widths of the dense layers, or filters of the convolutions, of each half.
      encoding_size: m.
      latent_size: n.
      num_modes: K.
      dynamics_network: ``"lstm"``, ``"gru"``, ``"mlp"``, ``"fifo"`` or ``"constant"``: the dynamics
        parameter network.
      dynamics_units: its width.
      dynamics_window: encodings that ``"fifo"`` reads.
      learn_controls: it also emits a control of the latent state's size.
      likelihood: ``"bernoulli"`` or ``"gaussian"`` pixels.
      per_pixel_std: Gaussian pixels: one learned standard deviation per pixel, else one for all.
      variance_floor: Gaussian pixels: the smallest variance.
      precision: of the halves' inner layers: ``"float32"`` or ``"mixed_bfloat16"``.
      max_encoding_variance: upper bound of the encoder's variance.
      transition_noise: Q, or its start.
      emission_noise: R, or its start.
      initial_variance: Σ_1, or its start.
      learn_noise: learn Q and R.
      learn_initial: learn the moments of z_1.
      objective: ``"collapsed"`` or ``"sampled"``.
      decoded_frames: in a training step so many of a sequence's seen frames, drawn anew each time,
        stand for the reconstruction term of all (an unbiased estimate; the decoder is most of the
        cost); 0: all.
      jit_engine: compile the dynamics inside a training step that is itself not compiled, and
        encode there the seen frames only (in a compiled step leave it off: XLA would compile the
        inner function at every call, and wants to know how many frames there are).
      frozen_updates: for so many updates at first the dynamics parameter network rests.
      joint_updates: after so many updates the encoder rests, and the dynamics and the decoder
        settle on the encodings as they are; 0: never.
      standardise: of vectors, whose "frames" are ``(1, D, 1)``, the means and the standard
        deviations of their entries, which may be missing (NaN); None: frames are pictures.
      **training: ``reconstruction_weight``, ``noise_seed`` and the like of the base class.
    """

    elbo_is_log_weight = True  # of a under the collapsed objective, of a and z under the other

    def __init__(
        self,
        frame_shape,
        control_size=0,
        network="mlp",
        units=(128, 128),
        encoding_size=2,
        latent_size=4,
        num_modes=3,
        dynamics_network="lstm",
        dynamics_units=50,
        dynamics_window=5,
        learn_controls=False,
        likelihood="bernoulli",
        per_pixel_std=True,
        variance_floor=1e-4,
        precision="float32",
        max_encoding_variance=0.03,
        transition_noise=0.08,
        emission_noise=0.03,
        initial_variance=20.0,
        learn_noise=False,
        learn_initial=False,
        objective="collapsed",
        decoded_frames=0,
        jit_engine=False,
        frozen_updates=0,
        joint_updates=0,
        standardise=None,
        seed=0,
        **training,
    ):
        super().__init__(**training)
        if objective not in OBJECTIVES:
            raise UserError(f"objective is {objective!r}, expected one of {', '.join(OBJECTIVES)}")
        self.frame_shape = tuple(frame_shape)
        self.control_size = control_size
        self.objective = objective
        self.decoded_frames = decoded_frames
        self._jit_engine = jit_engine
        self.frozen_updates = frozen_updates
        self.joint_updates = joint_updates
        self._training_log_prior = (
            compile_with_gradient(self._log_prior, lambda: self.dynamics_variables)
            if jit_engine
            else self._log_prior
        )
        self.encoder = FrameEncoder(
            network,
            encoding_size,
            units,
            max_encoding_variance,
            precision,
            standardise,
            name="encoder",
        )
        self.decoder = FrameDecoder(network, frame_shape, units[::-1], precision, name="decoder")
        self.likelihood = frame_likelihood(
            likelihood, frame_shape, per_pixel_std, variance_floor, standardise
        )
        learned_controls = latent_size if learn_controls else 0
        self.network = DynamicsParameterNetwork(
            num_modes,
            dynamics_units,
            dynamics_network,
            dynamics_window,
            learned_controls,
            name="network",
        )
        self.mixture = ModeMixture(
            num_modes,
            latent_size,
            encoding_size,
            control_size + learned_controls,
            transition_noise,
            emission_noise,
            initial_variance,
            learn_noise,
            learn_initial,
            seed=seed,
            name="mixture",
        )

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        del input_shape
        m = self.encoder.encoding_size
        self.encoder.build((None, *self.frame_shape))
        self.decoder.build((None, m))
        self.likelihood.build((None, *self.frame_shape))
        self.network.build((None, None, m))
        self.mixture.build()
        self.built = True

    @property
    def term_names(self):
        return ("reconstruction", "regularisation")

    @property
    def phases(self):
        """All but the dynamics parameter network; everything; all but the encoder."""
        network = {id(variable) for variable in self.network.trainable_variables}
        everything = self.trainable_variables
        others = [variable for variable in everything if id(variable) not in network]
        found = [Phase(self.training_bound, everything, self.joint_updates - self.frozen_updates)]
        if self.frozen_updates:
            found.insert(0, Phase(self.training_bound, others, self.frozen_updates))
        if self.joint_updates:
            frames = (self.decoder, self.likelihood)
            settling = [variable for layer in frames for variable in layer.trainable_variables]
            found.append(Phase(self.settled_bound, [*settling, *self.dynamics_variables]))
        return found

    @property
    def dynamics_variables(self):
        return [*self.network.trainable_variables, *self.mixture.trainable_variables]

    # The bound.

    def elbo(self, batch, seed):
        """The bound, its terms ``reconstruction`` and ``regularisation`` (minus the KL divergence).

        Args:
          batch: ``frames``, and optionally ``observed`` and ``controls``.
          seed: a stateless pair.

        Returns:
          A ``Bound``.
        """
        return self._bound(batch, seed)

    def training_bound(self, batch, seed):
        """``elbo``, its reconstruction term from ``decoded_frames`` frames of each sequence."""
        return self._bound(batch, seed, training=True)

    def settled_bound(self, batch, seed):
        """``training_bound`` of encodings that rest."""
        return self._bound(batch, seed, training=True, rest=True)

    def _bound(self, batch, seed, training=False, rest=False):
        frames, observed, controls = batches.inputs(batch, self.control_size)
        encoding_seed, latent_seed = tf.unstack(tf.random.split(seed, 2))
        seen = tf.ones(tf.shape(frames)[:2]) if observed is None else observed
        log_prior = self._training_log_prior if training else self._log_prior
        # Only where XLA does not ask how many frames there are.
        if training and self._jit_engine and observed is not None:
            q = Encoding(*batches.of_seen(self.encoder, frames, seen))
        else:
            q = self.encode(frames)
        a, log_q = self._sample(q, encoding_seed)
        if rest:
            a, log_q = tf.stop_gradient(a), tf.stop_gradient(log_q)
        log_p = log_prior(a, observed, controls, latent_seed)
        decoded_frames = self.decoded_frames if training else 0
        terms = {
            "reconstruction": self._reconstruction(a, frames, seen, decoded_frames, seed),
            "regularisation": log_p - tf.reduce_sum(seen * log_q, axis=1),
        }
        num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
        return Bound(terms["reconstruction"] + terms["regularisation"], terms, num_frames)

    def _sample(self, q, seed):
        """A draw of the encodings and its log q, ``[B, T]``."""
        noise = replicas.normal(tf.shape(q.mean), seed)
        return q.mean + q.std * noise, batches.log_normal(noise, tf.math.log(q.std))

    def _reconstruction(self, a, frames, seen, decoded_frames, seed):
        """Σ_t log p(x_t | a_t) over the frames that were seen, ``[B]``, all or some of them."""
        kept, scale, a, frames = batches.some_seen(decoded_frames, seed, seen, a, frames)
        log_p = self.likelihood.log_prob(self.decoder(a), frames)
        return tf.reduce_sum(scale * kept * log_p, axis=1)

    def _log_prior(self, a, observed, controls, seed):
        """log p(a | u) of the encodings of the frames that were seen, ``[B]``."""
        model, a, _ = self._dynamics(a, observed, controls)
        if self.objective == "collapsed":
            return lgssm.log_likelihood(model, a, observed)
        result = lgssm.filter(model, a, observed)
        z = lgssm.posterior_sample(model, a, observed, seed)[0]
        return lgssm.joint_log_prob(model, z, a, observed) - lgssm.posterior_log_prob(
            model, result, z
        )

    def _dynamics(self, a, observed, controls):
        """The LGSSM of a sequence, the encodings it is to explain, and the mode weights."""
        if observed is None:
            parameters = self.network(a)
        else:
            a, parameters, _ = coupled_pass(self.network, self.mixture, a, observed, controls)
        weights, learned = parameters
        controls = tf.concat([controls, learned[:, 1:]], axis=-1)
        return self.mixture(weights, controls), a, weights

    # Queries.

    def encode(self, frames):
        """q(a | x): an ``Encoding`` of means and standard deviations, ``[..., m]``."""
        return Encoding(*self.encoder(frames))

    def decode(self, encodings):
        """Frame means in [0, 1], ``[..., H, W, C]``, of encodings ``[..., m]``."""
        return self.likelihood.mean(self.decoder(encodings))

    def filter(self, frames, observed=None, controls=None):
        """``Latents``: moments of z_t given the frames up to t."""
        model, a, observed, _, _ = self._infer(frames, observed, controls)
        result = lgssm.filter(model, a, observed)
        return Latents(result.filtered_means, result.filtered_covariances)

    def smooth(self, frames, observed=None, controls=None):
        """``Latents``: moments of z_t given all frames."""
        model, a, observed, _, _ = self._infer(frames, observed, controls)
        result = lgssm.smooth(model, a, observed)
        return Latents(result.smoothed_means, result.smoothed_covariances)

    def impute(self, frames, observed=None, controls=None, method="smooth"):
        """``Frames``: reconstructions where frames were seen, filled in where they are missing.

        Args:
          frames: ``[B, T, H, W, C]``; anything where unobserved.
          observed: ``[B, T]``, 1 = seen.
          controls: ``[B, T, U]``.
          method: ``"smooth"`` fills in from all frames, ``"filter"`` from the earlier ones only.

        Returns:
          ``Frames``.
        """
        batches.check_method(self, method)
        model, a, seen, std, weights = self._infer(frames, observed, controls)
        if method == "smooth":
            result = lgssm.smooth(model, a, seen)
            z, P = result.smoothed_means, result.smoothed_covariances
        else:
            result = lgssm.filter(model, a, seen)
            z, P = result.filtered_means, result.filtered_covariances
        q = self._completed(Encoding(a, std), seen, model.emission, z, P)
        return Frames(self.decode(q.mean), q.mean, q.std, z, weights[:, :-1])

    def forecast(self, frames, observed=None, controls=None, num_steps=1):
        """``Frames`` of the ``num_steps`` steps that follow the given ones.

        Args:
          frames: ``[B, T, H, W, C]``, the context.
          observed: ``[B, T]``.
          controls: ``[B, S, U]`` with T - 1 <= S; what lies beyond S is zero.
          num_steps: K.
        """
        return batches.forecast_by_imputation(self, frames, observed, controls, num_steps)

    def generate(self, num_sequences, num_steps, controls=None, seed=0):
        """``Frames`` drawn from the prior: z and a are sampled, frames are the decoder's means.

        Args:
          num_sequences: B.
          num_steps: T.
          controls: ``[B, T, U]``; zero if absent.
          seed: an int or a stateless pair.
        """
        controls = batches.pad_controls(controls, num_sequences, num_steps, self.control_size)
        return self._generate(num_sequences, num_steps, controls, batches.pair(seed))

    def _generate(self, batch_size, num_steps, controls, seed):
        mixture = self.mixture
        n, m = mixture.settings["latent_size"], mixture.settings["encoding_size"]
        start_seed, z_seed, a_seed = tf.unstack(tf.random.split(seed, 3))
        start = tf.random.stateless_normal([batch_size, n], start_seed)
        z = mixture.initial_mean + tf.matmul(
            start, tf.linalg.cholesky(mixture.initial_covariance), transpose_b=True
        )
        w = tf.random.stateless_normal([num_steps, batch_size, n], z_seed)
        v = tf.random.stateless_normal([num_steps, batch_size, m], a_seed)
        q_std, r_std = tf.sqrt(mixture.transition_noise), tf.sqrt(mixture.emission_noise)

        def step(carry, inputs):
            z, weights, *state = carry
            w, v, control = inputs
            a = tf.linalg.matvec(mixture.mix(mixture.emission, weights), z) + r_std * v
            drawn = (z, a, weights)
            (weights, learned), state = self.network.step(a, tuple(state))
            z = tf.linalg.matvec(mixture.mix(mixture.transition, weights), z) + q_std * w
            if mixture.settings["control_size"]:
                z += mixture.offset(weights, tf.concat([control, learned], axis=1))
            return (z, weights, *state), drawn

        first, state = self.network.start(batch_size)
        _, drawn = lgssm.scan(
            step,
            (z, first.mode_weights, *state),
            (w, v, tf.transpose(controls, [1, 0, 2])),
            [[None, n], [None, m], [None, self.network.num_modes]],
        )
        z, a, weights = (tf.transpose(x, [1, 0, 2]) for x in drawn)
        return Frames(self.decode(a), a, tf.zeros_like(a), z, weights)

    # Frames that come one by one.

    def filter_start(self, batch_size=1):
        """The ``FilterState`` before the first frame."""
        return filter_start(self.network, self.mixture, batch_size)

    def filter_step(self, state, frames, observed=None, controls=None):
        """What one more frame of each sequence says; a whole sequence of it is ``filter``.

        Args:
          state: of the frames before, a ``FilterState``.
          frames: ``[B, H, W, C]``; anything where unobserved.
          observed: ``[B]``, 1 = seen.
          controls: ``[B, U]``, acts from this frame to the next.

        Returns:
          The next state; and ``frames`` (of a missing one the expectation), ``encodings``,
          ``encoding_stds``, ``latents`` and ``latent_covariances``, filtered, without a time axis.
        """
        given = (None if x is None else x[:, tf.newaxis] for x in (frames, observed, controls))
        frames, seen, controls = batches.tensors(*given, self.control_size)
        seen = tf.ones(tf.shape(frames)[:1]) if seen is None else seen[:, 0]
        q = self.encode(frames[:, 0])
        state, found = filter_step(self.network, self.mixture, state, q.mean, seen, controls[:, 0])
        q = self._completed(q, seen, found.emission, found.mean, found.covariance)
        return state, {
            "frames": self.decode(q.mean),
            "encodings": q.mean,
            "encoding_stds": q.std,
            "latents": found.mean,
            "latent_covariances": found.covariance,
        }

    # Helpers.

    def _completed(self, q, seen, emission, z, P):
        """q where frames were seen; elsewhere a = C z + noise, of z with covariance P."""
        variance = tf.linalg.diag_part(tf.matmul(emission @ P, emission, transpose_b=True))
        std = tf.sqrt(tf.maximum(variance, 0.0) + self.mixture.emission_noise)
        known = seen[..., tf.newaxis] > 0
        filled = tf.linalg.matvec(emission, z)
        return Encoding(tf.where(known, q.mean, filled), tf.where(known, q.std, std))

    def _infer(self, frames, observed, controls):
        """LGSSM, encodings, mask, encoding stds and mode weights of a batch with missing frames."""
        frames, observed, controls = batches.tensors(frames, observed, controls, self.control_size)
        if observed is None:
            observed = tf.ones(tf.shape(frames)[:2])
        q = self.encode(frames)
        model, a, weights = self._dynamics(q.mean, observed, controls)
        return model, a, observed, q.std, weights
