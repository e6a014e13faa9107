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
objective takes it from the filter, the sampled one (equation 7) draws z and evaluates both. The
constrained objective maximises the collapsed bound of the dynamics subject to a good
reconstruction, see ``constraint``.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError
from kvae_tf.layers import (
    ContinuousMixture,
    DynamicsParameterNetwork,
    Encoding,
    FrameDecoder,
    FrameEncoder,
    ModeMixture,
    continuous_filter,
    filter_start,
    filter_step,
    frame_likelihood,
    joint_filter,
    rollout,
)
from kvae_tf.lgssm.steps import batch_first, cast, psd_factor
from kvae_tf.models import inputs
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.contract import Bound, Frames, Latents, Rollout, Scores
from kvae_tf.models.inputs import Inputs
from kvae_tf.models.kvae import paths as path_mean
from kvae_tf.models.kvae.constraint import ReconstructionConstraint
from kvae_tf.models.kvae.dynamics import Dynamics, Steps, intervals, merge
from kvae_tf.models.kvae.moments import completed
from kvae_tf.models.training_step import Phase
from kvae_tf.models.xla_gradient import compile_with_gradient

OBJECTIVES = ("collapsed", "sampled", "constrained")
TIMES = ("discrete", "continuous")
_CLIP = 8  # frames of a sequence that an update of the auto-encoder sees
# Weights in the auto-encoder's loss, in shares of the mean frame's distortion.
_KL_WEIGHT = 1e-4
_BEND_WEIGHT = 1e-3
_LOSS_SCALE = 100.0  # gradients of about the size that the constrained objective begins with


@keras.saving.register_keras_serializable("kvae_tf")
class KVAE(SequenceModel):
    """The Kalman variational auto-encoder.

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      control_size: number U of controls; 0: none (default).
      network: kind of encoder and decoder, ``"mlp"`` (default) or ``"cnn"``.
      units: widths of the dense layers, or filters of the convolutions, of the encoder; the decoder
        has them in reverse order.
      encoding_size: dimension m of an encoding, 2 by default.
      latent_size: dimension n of a latent state, 4 by default.
      num_modes: number K of linear modes, 3 by default.
      dynamics_network: kind of the dynamics parameter network: ``"lstm"`` (default), ``"gru"``,
        ``"mlp"``, ``"fifo"``, ``"state"`` or ``"constant"``, see ``DynamicsParameterNetwork``.
      dynamics_units: width of the dynamics parameter network, 50 by default.
      dynamics_window: number of last encodings that ``"fifo"`` reads, 5 by default.
      dynamics_features: number of Fourier features of the latent state that ``"state"`` reads; 0:
        none (default).
      learn_controls: the dynamics parameter network also emits a control of size n; False by
        default.
      likelihood: distribution of pixels, ``"bernoulli"`` or ``"gaussian"``; Bernoulli by default.
      per_pixel_std: Gaussian pixels: one learned standard deviation per pixel (default), else one
        for all pixels.
      variance_floor: Gaussian pixels: smallest variance, 1e-4 by default.
      precision: Keras' dtype policy of the inner layers of encoder and decoder: ``"float32"``
        (default), ``"mixed_bfloat16"`` or ``"mixed_float16"``.
      max_encoding_variance: upper bound of the encoder's variance, 0.03 by default.
      transition_noise: variance Q of the transition noise, initial value if learned; 0.08 by
        default.
      emission_noise: variance R of the emission noise, initial value if learned; 0.03 by default.
      initial_variance: variance Σ_1 of z_1, initial value if learned; 20 by default.
      learn_noise: learn Q and R; False by default.
      learn_initial: learn mean and covariance of z_1; False by default.
      objective: form of the bound: ``"collapsed"`` (default), latent states integrated out;
        ``"sampled"``, latent states drawn; or ``"constrained"``, the collapsed bound of the
        dynamics subject to a good reconstruction.
      pretraining_updates: number of first updates, which train the auto-encoder only, or with
        ``linear_encoder`` and without a constraint the decoder only; 0 by default. After them
        ``initialise_dynamics`` sets dynamics and constraint.
      standardised: encode and decode frames as differences from a mean frame, in standard
        deviations, which ``initialise_frames`` sets; False by default.
      linear_encoder: the encoder adds linear features of the frame, which ``initialise_frames``
        sets; False by default.
      decoder_features: number of Fourier features that the decoder reads; 0: none (default).
      affine_modes: each mode has an offset; False by default.
      mode_noise: each mode has a Q of its own; False by default.
      shared_emission: one C for all modes; False by default.
      paths: number of paths that ``impute`` follows, with the mode weights of latent states drawn
        along each; they are weighted by the likelihood of the frames that were seen. All other
        queries follow the filtered mean. Only for ``dynamics_network="state"``; 1: the mean only
        (default).
      training_paths: number of paths, as for ``paths``, of which the dynamics' part of the bound is
        the mean once nothing is frozen any more (``finishing_start``); 1: the filtered mean only
        (default).
      decoded_paths: number of paths, drawn by their weights, of whose frames an imputation is the
        mean; it costs as many decoders. 0: the frame of the mean encoding (default).
      finishing_start: number of updates after which nothing is frozen any more, and the whole bound
        is maximised; 0: never (default).
      imputation_factors: standard deviations of the encodings of hidden frames are multiplied by a
        factor each for smoothing and filtering, 1 until a calibration sets it; False by default.
      decoded_frames: number of seen frames of a sequence, drawn at each update, from which training
        estimates the reconstruction term without bias; saves time, since the decoder costs most. 0:
        all frames are decoded (default).
      jit_engine: compile the dynamics inside a training step that is itself not compiled, and
        encode the seen frames only; False by default. In a compiled step it has to be off: XLA
        would compile the inner function at every call, and needs a fixed number of frames.
      frozen_updates: number of first updates in which the dynamics parameter network is frozen; 0:
        none (default).
      settling_start: number of updates after which the encoder is frozen, while dynamics and
        decoder go on learning from its encodings; 0: never (default).
      time: ``"discrete"`` (default), modes are steps from frame to frame; or ``"continuous"``, they
        are generators, frames may come at any ``times``, and ``impute`` may be asked ``at`` others.
        There is no ``rollout`` then.
      time_parts: continuous time: number of equal parts of the interval between two frames, at each
        of which the modes are weighted anew; 1 by default.
      time_unit: seconds in which generators are expressed, and between frames without ``times``; 1
        by default.
      standardise: for vectors, whose "frames" are ``(1, D, 1)``: D means and D standard deviations
        of the entries, which may be missing (NaN); None: frames are images (default).
      seed: seed of the initial mode matrices, an int, 0 by default.
      **training: arguments of ``TrainableModel``, for instance ``noise_seed``.

    Raises:
      UserError: ``objective``, ``network``, ``dynamics_network`` or ``likelihood`` is unknown, or a
        size or variance is out of its range.
    """

    elbo_is_log_weight = True  # of a if the objective is collapsed, of a and z if it is sampled

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
        dynamics_features=0,
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
        pretraining_updates=0,
        standardised=False,
        linear_encoder=False,
        decoder_features=0,
        affine_modes=False,
        mode_noise=False,
        shared_emission=False,
        paths=1,
        training_paths=1,
        decoded_paths=0,
        finishing_start=0,
        imputation_factors=False,
        decoded_frames=0,
        jit_engine=False,
        frozen_updates=0,
        settling_start=0,
        time="discrete",
        time_parts=1,
        time_unit=1.0,
        standardise=None,
        seed=0,
        **training,
    ):
        super().__init__(**training)
        self.record_arguments(locals())
        if time not in TIMES:
            raise UserError(f"time is {time!r}, expected one of {', '.join(TIMES)}")
        if not time_unit > 0.0:
            raise UserError(f"time_unit is {time_unit}, expected positive seconds")
        if time_parts < 1 or (time_parts > 1 and time == "discrete"):
            raise UserError(
                f"time_parts is {time_parts}, expected 1, or more with time 'continuous'"
            )
        self.reads_times = time == "continuous"
        self.time_parts = time_parts
        self.time_unit = float(time_unit)
        if objective not in OBJECTIVES:
            raise UserError(f"objective is {objective!r}, expected one of {', '.join(OBJECTIVES)}")
        self.frame_shape = tuple(frame_shape)
        self.control_size = control_size
        self.objective = objective
        self.pretraining_updates = pretraining_updates
        self.constraint = (
            ReconstructionConstraint(name="constraint") if objective == "constrained" else None
        )
        self.decoded_frames = decoded_frames
        self._jit_engine = jit_engine
        self.frozen_updates = frozen_updates
        self.settling_start = settling_start
        self.finishing_start = finishing_start
        self.has_imputation_factors = imputation_factors
        self.paths = paths
        self.training_paths = training_paths
        self.decoded_paths = decoded_paths
        if decoded_paths and paths == 1:
            raise UserError(f"decoded_paths is {decoded_paths}, expected 0 with one path")
        for name, number in (("paths", paths), ("training_paths", training_paths)):
            if number > 1 and dynamics_network != "state":
                raise UserError(
                    f"{name} is {number}, expected 1 with the dynamics network {dynamics_network}, "
                    "which reads no latent states"
                )
            if number > 1 and standardise is not None:
                raise UserError(f"{name} is {number}, expected 1 for vectors")
        if imputation_factors and standardise is not None:
            raise UserError("imputation_factors is True, expected False for vectors")

        def compiled(log_prior):
            if not jit_engine:
                return log_prior
            return compile_with_gradient(log_prior, lambda: self.dynamics_variables)

        self._training_log_prior = compiled(self.encodings_log_prob)
        self._finishing_log_prior = compiled(self.paths_log_prob)
        self._create_frame_layers(
            network=network,
            encoding_size=encoding_size,
            units=units,
            max_encoding_variance=max_encoding_variance,
            precision=precision,
            likelihood=likelihood,
            per_pixel_std=per_pixel_std,
            variance_floor=variance_floor,
            standardise=standardise,
            standardised=standardised,
            linear_encoder=linear_encoder,
            decoder_features=decoder_features,
        )
        self.is_vector = standardise is not None
        learned_controls = latent_size if learn_controls else 0
        self.network = DynamicsParameterNetwork(
            num_modes,
            dynamics_units,
            dynamics_network,
            dynamics_window,
            learned_controls,
            dynamics_features,
            self.reads_times,
            name="network",
        )
        self.mixture = (ContinuousMixture if self.reads_times else ModeMixture)(
            num_modes,
            latent_size,
            encoding_size,
            control_size + learned_controls,
            transition_noise,
            emission_noise,
            initial_variance,
            learn_noise,
            learn_initial,
            affine_modes,
            mode_noise,
            shared_emission,
            seed=seed,
            name="mixture",
        )

    def _create_frame_layers(
        self,
        network,
        encoding_size,
        units,
        max_encoding_variance,
        precision,
        likelihood,
        per_pixel_std,
        variance_floor,
        standardise,
        standardised,
        linear_encoder,
        decoder_features,
    ):
        """The layers between frames and encodings."""
        self.encoder = FrameEncoder(
            network,
            encoding_size,
            units,
            max_encoding_variance,
            precision,
            standardise,
            standardised,
            linear_encoder,
            name="encoder",
        )
        self.decoder = FrameDecoder(
            network,
            self.frame_shape,
            units[::-1],
            precision,
            standardised,
            decoder_features,
            name="decoder",
        )
        self.likelihood = frame_likelihood(
            likelihood, self.frame_shape, per_pixel_std, variance_floor, standardise
        )
        self.variance_floor = self.likelihood.variance_floor

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        del input_shape
        m = self.encoder.encoding_size
        self.encoder.build((None, *self.frame_shape))
        self.decoder.build((None, m))
        self.likelihood.build((None, *self.frame_shape))
        n = self.mixture.settings["latent_size"]
        self.network.build((None, None, n if self.network.reads_latents else m))
        self.mixture.build()
        if self.constraint:
            self.constraint.build(self.frame_shape)
        if self.has_imputation_factors:
            self._imputation_factors = self.add_weight(
                shape=(2,), initializer="ones", trainable=False, name="imputation_factors"
            )
        self.built = True

    @property
    def term_names(self):
        return ("reconstruction", "regularisation")

    @property
    def phases(self):
        """The phases that are asked for, out of five.

        Auto-encoder only; dynamics network frozen; nothing frozen; encoder frozen; the whole bound.
        """
        frozen = {id(variable) for variable in self.network.trainable_variables}
        everything = self.trainable_variables
        others = [variable for variable in everything if id(variable) not in frozen]
        frames = [*self.decoder.trainable_variables, *self.likelihood.trainable_variables]
        end = self.settling_start or self.finishing_start
        whole = end - self.frozen_updates - self.pretraining_updates
        phases = [Phase(self.training_bound, everything, whole)]
        if self.frozen_updates:
            phases.insert(0, Phase(self.training_bound, others, self.frozen_updates))
        if self.pretraining_updates:
            # Linear features are a straight map already, that gradients of the pixels would bend. A
            # constraint's target needs the whole encoder.
            rests = self.encoder.linear and not self.constraint
            encoder = [] if rests else self.encoder.trainable_variables
            bound = self.auto_encoder_bound if self.constraint else self.training_bound
            phases.insert(0, Phase(bound, [*encoder, *frames], self.pretraining_updates))
        if self.settling_start:
            settled = [*frames, *self.dynamics_variables]
            updates = self.finishing_start - self.settling_start
            phases.append(Phase(self.settled_bound, settled, updates))
        if self.finishing_start:
            phases.append(Phase(self.finishing_bound, everything))
        return phases

    @property
    def dynamics_variables(self):
        return [*self.network.trainable_variables, *self.mixture.trainable_variables]

    @property
    def log_emission_noise(self):
        """The variable ``[m]`` that a calibration changes: logarithms of R's diagonal."""
        return self.mixture.log_emission_noise

    @property
    def imputation_factors(self):
        """The variable ``[2]`` that a calibration sets; None if the model has none.

        They are factors of the standard deviations of hidden encodings, in the order of
        ``imputation_methods``.
        """
        return self._imputation_factors if self.has_imputation_factors else None

    @property
    def averages_frames(self):
        return self.decoded_paths > 0

    @property
    def supports(self):
        # A rollout would have to be told the times of its steps.
        return super().supports - ({"rollout"} if self.reads_times else set())

    # The bound.

    def elbo(self, batch, seed):
        """The bound, its terms ``reconstruction`` and ``regularisation`` (minus the KL divergence).

        Args:
          batch: ``frames [B, T, H, W, C]`` float32 in [0, 1], and optionally ``observed [B, T]``
            (1 = seen), ``controls [B, T, U]`` and, in continuous time, ``times [B, T]``.
          seed: an int, a stateless pair, or a ``Sampler`` where the batch is part of another.

        Returns:
          A ``Bound``.
        """
        return self._bound(batch, seed)

    def training_bound(self, batch, seed):
        """``elbo``, its reconstruction estimated from ``decoded_frames`` frames a sequence."""
        return self._with_loss(self._bound(batch, seed, training=True))

    def settled_bound(self, batch, seed):
        """``training_bound`` without gradients for the encoder."""
        bound = self._bound(batch, seed, training=True, frozen_encoder=True, constrained=False)
        return self._with_loss(bound)

    def finishing_bound(self, batch, seed):
        """``training_bound`` of the collapsed objective, with the reconstruction at weight 1."""
        bound = self._bound(batch, seed, training=True, constrained=False, finishing=True)
        missing = 0.0 if self.weight_updates else 1.0 - self.reconstruction_weight
        return bound._replace(annealed=bound.elbo + missing * bound.terms["reconstruction"])

    def _bound(
        self, batch, seed, training=False, frozen_encoder=False, constrained=True, finishing=False
    ):
        frames, observed, controls, _, times = inputs.of_batch(self, batch)
        sampler = lgssm.as_sampler(seed)
        encoding_sampler, latent_sampler = sampler.split(2)
        seen = inputs.mask(observed, frames)
        log_prior = self._training_log_prior if training else self.encodings_log_prob
        if finishing and self.training_paths > 1:
            log_prior = self._finishing_log_prior
        # Not where XLA compiles the step: it needs a fixed number of frames.
        if training and self._jit_engine and observed is not None:
            q = Encoding(*inputs.encode_observed(self.encoder, frames, seen))
        else:
            q = self._encode(frames)
        a, log_q = self._sample(q, encoding_sampler)
        if frozen_encoder:
            a, log_q = tf.stop_gradient(a), tf.stop_gradient(log_q)
        log_p = log_prior(a, observed, controls, latent_sampler, times)
        decoded_frames = self.decoded_frames if training else 0
        constrained = constrained and training and self.constraint is not None
        reconstruction, share = self._reconstruction(
            a, frames, seen, decoded_frames, sampler, constrained
        )
        regularisation = log_p - tf.reduce_sum(seen * log_q, axis=1)
        penalty = self.constraint.penalty(share) if constrained else None
        return _bound(reconstruction, regularisation, seen, penalty)

    def _with_loss(self, bound):
        """A bound with ``annealed``, if that of another phase of the training has it."""
        has_loss = self.constraint is not None or self.finishing_start > 0
        return bound._replace(annealed=bound.elbo) if has_loss and bound.annealed is None else bound

    def auto_encoder_bound(self, batch, seed):
        """The bound of single frames under a_t ~ N(0, I), from a few frames in a row.

        Its gradient is that of the share of the frames that is not explained, plus small weights of
        the Kullback-Leibler divergence, which bounds the encodings, and of their second
        differences, which keeps them smooth in time.
        """
        frames, observed, *_ = inputs.of_batch(self, batch)
        clip_sampler, encoding_sampler = lgssm.as_sampler(seed).split(2)
        seen = inputs.mask(observed, frames)
        frames, seen = inputs.random_clip(_CLIP, clip_sampler, frames, seen)
        q = self._encode(frames)
        a, log_q = self._sample(q, encoding_sampler)
        log_p = inputs.log_normal(a, tf.zeros_like(a))
        num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
        reconstruction, share = self._reconstruction(a, frames, seen, 0, None, True)
        kl = tf.square(q.mean) + tf.square(q.std) - 2.0 * tf.math.log(q.std) - 1.0
        kl = tf.reduce_sum(seen * 0.5 * tf.reduce_sum(kl, axis=-1), axis=1) / num_frames
        loss = share + _KL_WEIGHT * kl + _BEND_WEIGHT * _bend(q.mean, seen)
        loss *= _LOSS_SCALE
        regularisation = tf.stop_gradient(tf.reduce_sum(seen * (log_p - log_q), axis=1))
        return _bound(reconstruction, regularisation, seen, loss)

    def _sample(self, q, sampler):
        """A draw of the encodings and its log q, ``[B, T]``."""
        noise = sampler.normal(tf.shape(q.mean))
        return q.mean + q.std * noise, inputs.log_normal(noise, tf.math.log(q.std))

    def _reconstruction(self, a, frames, seen, decoded_frames, sampler, constrained):
        """Σ_t log p(x_t | a_t) over the seen frames ``[B]``, or its estimate from a few of them.

        Where it is constrained, only the likelihood's own variables learn from it; the second value
        is then the distortion of a frame as a share of the mean frame's, ``[B]``.
        """
        kept, scale, a, frames = inputs.subsample_observed(decoded_frames, sampler, seen, a, frames)
        weight = scale * kept
        decoded = self.decoder(a)
        if not constrained:
            return tf.reduce_sum(weight * self.likelihood.log_prob(decoded, frames), axis=1), None
        log_p = self.likelihood.log_prob(tf.stop_gradient(decoded), frames)
        # It fits the pixels' standard deviation only: its gradient must not dwarf all others.
        fit = (log_p - tf.stop_gradient(log_p)) / math.prod(self.frame_shape)
        log_p = tf.stop_gradient(log_p) + fit
        share = self.constraint.share(self.likelihood, decoded, frames)
        num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
        share = tf.reduce_sum(weight * share, axis=1) / num_frames
        return tf.reduce_sum(weight * log_p, axis=1), share

    def encodings_log_prob(self, a, observed, controls, sampler, times=None):
        """log p(a | u) of the encodings of the seen frames, ``[B]``, nats.

        Args:
          a: ``[B, T, m]``.
          observed: ``[B, T]``, 1 = seen, or None.
          controls: ``[B, T, U]``.
          sampler: of the latent states, where the objective draws them.
          times: ``[B, T]``, seconds, in continuous time; None: equally spaced (default).
        """
        steps = self.steps(a, observed, controls, times)
        if self.network.reads_latents and self.objective != "sampled":
            result = self._joint_filter(steps)
            return tf.reduce_sum(result.step_log_likelihoods, axis=1)
        model, a, observed = self._dynamics(steps)[:3]
        if self.objective != "sampled":
            return lgssm.log_likelihood(model, a, observed)
        result = lgssm.filter(model, a, observed)
        z = lgssm.posterior_sample(model, a, observed, sampler)[0]
        return lgssm.joint_log_prob(model, z, a, observed) - lgssm.posterior_log_prob(
            model, result, z
        )

    def paths_log_prob(self, a, observed, controls, sampler, times=None):
        """A lower bound of log p(a | u) from ``training_paths`` paths, ``[B]``, nats.

        Args:
          a: ``[B, T, m]``.
          observed: ``[B, T]``, 1 = seen, or None.
          controls: ``[B, T, U]``.
          sampler: of the draws along the paths.
          times: ``[B, T]``, seconds, in continuous time; None: equally spaced (default).
        """
        steps = self.steps(a, observed, controls, times)
        return path_mean.log_prob(self, steps, self.training_paths, sampler)

    def steps(self, a, observed, controls, times=None, variances=None) -> Steps:
        """The steps of the dynamics: those of the frames, or parts of the intervals between them.

        Args:
          a: ``[B, T, m]``.
          observed: ``[B, T]`` or ``[B, T, m]``, 1 = seen, or None.
          controls: ``[B, T, U]``.
          times: ``[B, T]``, seconds, in continuous time; None: equally spaced (default).
          variances: ``[B, T, m]``, of errors with which a is read; None: 0 (default).
        """
        if not self.reads_times:
            return Steps(a, observed, controls, None, variances)
        between = intervals(times, a, self.time_unit)
        return Steps(a, observed, controls, between, variances).divided(self.time_parts)

    def _dynamics(self, steps: Steps) -> Dynamics:
        """The state-space model of a batch, with predictions in gaps of the encodings."""
        a, parameters = self._weighted(steps)
        return self.state_space(parameters, steps._replace(encodings=a))

    def _weighted(self, steps: Steps):
        """Encodings with predictions in gaps, and ``Parameters`` of all steps."""
        if steps.observed is None and not self.network.reads_latents:
            return steps.encodings, self.network(steps.encodings, steps.intervals)
        result = self._joint_filter(steps)
        return result.encodings, result.parameters

    def _joint_filter(self, steps):
        a, observed, controls, between, variances = steps
        seen = inputs.mask(observed, a)
        return joint_filter(
            self.network, self.mixture, a, seen, controls, variances, intervals=between
        )

    def state_space(self, parameters, steps: Steps) -> Dynamics:
        """The state-space model of a batch.

        Args:
          parameters: mode weights ``[B, T + 1, K]`` and learned controls of the dynamics network.
          steps: its T steps.
        """
        weights, learned = parameters
        controls = tf.concat([steps.controls, learned[:, 1:]], axis=-1)
        if not self.reads_times:
            model = _read_with(self.mixture(weights, controls), steps.variances)
            return Dynamics(model, *steps[:2], weights[:, :-1], model.emission)
        model, basis = self.mixture(weights, controls, steps.intervals)
        model = _read_with(model, steps.variances)
        emission = self.mixture.mix(self.mixture.emission, weights[:, :-1])
        found = Dynamics(model, *steps[:2], weights[:, :-1], emission, basis)
        if self.time_parts == 1:
            return found
        B, T = tf.unstack(tf.shape(weights)[:2])
        of_frames = tf.range(0, T - 1, self.time_parts)
        return found._replace(steps=tf.repeat(of_frames[tf.newaxis], B, axis=0))

    # Queries.

    def _encode(self, frames):
        return Encoding(*self.encoder(frames))

    def _decode(self, encodings, num_objects=None):
        del num_objects
        return self.likelihood.mean(self.decoder(encodings))

    def _filter(self, given):
        return self._infer(given)[0].moments("filter")

    def _smooth(self, given):
        return self._infer(given)[0].moments("smooth")

    def _impute(self, given, method, paths=None):
        paths = self.paths if paths is None else paths
        if paths > 1:
            return path_mean.impute(self, given, method, paths)
        dynamics, q, seen = self._infer(given)
        return self._frames(dynamics, q, seen, given.frames, method)

    def _impute_at(self, given, at, method):
        # The mean of several paths would need all of them at all times.
        given = inputs.extended_to(self, given, at)
        times = inputs.times_of(self, given)
        q, seen = self._read(given)
        steps = self.steps(q.mean, seen, given.controls, times, self._variances(q))
        a, (weights, learned) = self._weighted(steps)
        parts = tf.range(self.time_parts, dtype=tf.float32) / self.time_parts
        between = intervals(times, seen, self.time_unit)[..., tf.newaxis]
        moments = tf.reshape(
            times[..., tf.newaxis] / self.time_unit + parts * between, tf.shape(steps.intervals)
        )
        merged = merge(moments, at / self.time_unit)

        def of_steps(x):
            return tf.gather(x, merged.order % tf.shape(x)[1], axis=1, batch_dims=1)

        def pick(x, index):
            return tf.gather(x, index, axis=1, batch_dims=1)

        is_step = tf.cast(merged.is_step, tf.float32)
        observed = of_steps(steps.observed)
        observed *= tf.reshape(
            is_step, tf.concat([tf.shape(is_step), [1] * (len(observed.shape) - 2)], axis=0)
        )
        acting = pick(steps.controls, tf.maximum(merged.weight_index - 1, 0))
        acting = tf.concat([acting, pick(learned, merged.weight_index)], axis=-1)
        emission_weights = pick(weights, merged.emission_index)
        model, basis = self.mixture.state_space(
            emission_weights, pick(weights, merged.weight_index), acting, merged.intervals
        )
        emission = self.mixture.mix(self.mixture.emission, emission_weights)
        dynamics = Dynamics(
            _read_with(model, None if steps.variances is None else of_steps(steps.variances)),
            of_steps(a),
            observed,
            emission_weights,
            emission,
            basis,
            merged.places,
        )
        # A time that is a frame's own gets the answer about that frame.
        same = at[:, :, tf.newaxis] == times[:, tf.newaxis]
        index = tf.argmax(same, axis=2, output_type=tf.int32)
        is_frame = tf.cast(tf.reduce_any(same, axis=2), tf.float32)
        own_seen = pick(seen, index)
        own_seen *= is_frame if len(own_seen.shape) == 2 else is_frame[..., tf.newaxis]
        own = Encoding(pick(q.mean, index), pick(q.std, index))
        return self._frames(dynamics, own, own_seen, pick(given.frames, index), method)

    def _frames(self, dynamics: Dynamics, q, seen, frames, method):
        """``Frames`` from what is known of each one alone, and from all others."""
        del frames  # they are what q says
        z = dynamics.moments(method)
        emission = dynamics.at_steps(dynamics.emission)
        q = completed(q, seen, emission, self.mixture.emission_noise, z)
        q = self.scaled(q, seen, method)
        weights = dynamics.at_steps(dynamics.mode_weights)
        return Frames(self._decode(q.mean), q.mean, q.std, z.means, weights)

    def _forecast(self, given, num_steps):
        # Along one path: the mean of several fades to the middle, where nothing ever is.
        options = {"paths": 1} if self.paths > 1 else {}
        return inputs.forecast_by_imputation(self, given, num_steps, **options)

    def _generate(self, controls, num_steps, sampler, num_objects, times=None):
        del num_objects
        batch_size = tf.shape(controls)[0]
        between = intervals(times, controls, self.time_unit)
        mixture = self.mixture
        n, m = mixture.settings["latent_size"], mixture.settings["encoding_size"]
        start_sampler, z_sampler, a_sampler = sampler.split(3)
        start = start_sampler.normal([batch_size, n])
        z = mixture.initial_mean + tf.matmul(
            start, tf.linalg.cholesky(mixture.initial_covariance), transpose_b=True
        )
        w = z_sampler.normal([num_steps, batch_size, self.time_parts * n], axis=1)
        v = a_sampler.normal([num_steps, batch_size, m], axis=1)
        r_std = tf.sqrt(mixture.emission_noise)

        def step(carry, inputs):
            z, weights, *state = carry
            w, v, control, interval = inputs
            a = tf.linalg.matvec(mixture.mix(mixture.emission, weights), z) + r_std * v
            drawn = (z, a, weights)
            if self.reads_times:
                return self._drawn_on(z, a, state, w, control, interval), drawn
            read = z if self.network.reads_latents else a
            (weights, learned), state = self.network.step(read, tuple(state))
            q_std = tf.sqrt(mixture.noise(weights))
            z = tf.linalg.matvec(mixture.mix(mixture.transition, weights), z) + q_std * w
            if mixture.has_offset:
                z += mixture.offset(weights, tf.concat([control, learned], axis=1))
            return (z, weights, *state), drawn

        first, state = self.network.start(batch_size)
        _, drawn = lgssm.scan(
            step,
            (z, first.mode_weights, *state),
            (w, v, tf.transpose(controls, [1, 0, 2]), tf.transpose(between)),
            [[None, n], [None, m], [None, self.network.num_modes]],
        )
        z, a, weights = (tf.transpose(x, [1, 0, 2]) for x in drawn)
        return Frames(self._decode(a), a, tf.zeros_like(a), z, weights)

    def _drawn_on(self, z, a, state, noise, control, interval):
        """The next latent state, mode weights and state of the network, continuous time."""
        mixture, parts = self.mixture, self.time_parts
        n = mixture.settings["latent_size"]
        for part in range(parts):
            read = z if self.network.reads_latents else a
            (weights, learned), state = self.network.step(read, tuple(state), interval / parts)
            moved = mixture.step(weights, tf.concat([control, learned], axis=1), interval / parts)
            A, offset, Q = map(batch_first, moved)
            A, offset, factor = cast((A, offset, psd_factor(Q)), z.dtype)
            own = noise[:, part * n : (part + 1) * n]
            z = tf.linalg.matvec(A, z) + offset + tf.linalg.matvec(factor, own)
            a = tf.linalg.matvec(mixture.mix(mixture.emission, weights), z)
        return (z, weights, *state)

    def _score(self, given):
        frames, observed, controls, _, times = given
        encodings = self._encode(frames).mean
        dynamics = self._dynamics(self.steps(encodings, observed, controls, times))
        prior = lgssm.filter(*dynamics[:3])
        prior = dynamics.at_steps(prior.step_log_likelihoods)
        log_p = self.likelihood.log_prob(self.decoder(encodings), frames)
        reconstruction = log_p if observed is None else observed * log_p
        return Scores(prior + reconstruction, prior, reconstruction)

    # Filtering frame by frame.

    def _filter_start(self, batch_size):
        if self.reads_times:
            sizes = batch_size, self.control_size
            return continuous_filter.filter_start(self.network, self.mixture, *sizes)
        return filter_start(self.network, self.mixture, batch_size)

    def _filter_on(self, state, encodings, seen, given, variances=None):
        """The next state and the ``FilterStep`` of encodings ``[B, m]``."""
        layers = self.network, self.mixture
        if not self.reads_times:
            return filter_step(*layers, state, encodings, seen, given.controls, variances)
        interval = tf.ones(tf.shape(encodings)[:1])
        if given.times is not None:
            interval = given.times / self.time_unit
        return continuous_filter.filter_step(
            *layers, state, encodings, seen, given.controls, interval, self.time_parts, variances
        )

    def _filter_step(self, state, given):
        frames = given.frames
        seen = inputs.mask(given.observed, frames, axes=1)
        q = self._encode(frames)
        state, step = self._filter_on(state, q.mean, seen, given)
        z = Latents(step.mean, step.covariance)
        q = completed(q, seen, step.emission, self.mixture.emission_noise, z)
        q = self.scaled(q, seen, "filter")
        decoded = self.decoder(q.mean)
        reconstruction = seen * self.likelihood.log_prob(decoded, frames)
        return state, {
            "frames": self.likelihood.mean(decoded),
            "encodings": q.mean,
            "encoding_stds": q.std,
            "latents": step.mean,
            "latent_covariances": step.covariance,
            **Scores(
                step.log_likelihood + reconstruction, step.log_likelihood, reconstruction
            )._asdict(),
        }

    def _rollout(self, state, given, controls):
        state, _ = self._filter_step(state, given)
        return Rollout(*rollout(self.network, self.mixture, state, controls))

    # Helpers.

    def _infer(self, given: Inputs):
        """``Dynamics`` of a batch of inputs; ``Encoding`` of its frames, with predictions in gaps,
        and their mask.
        """
        q, seen = self._read(given)
        steps = self.steps(q.mean, seen, given.controls, given.times, self._variances(q))
        dynamics = self._dynamics(steps)
        return dynamics, Encoding(dynamics.at_steps(dynamics.encodings), q.std), seen

    def _read(self, given: Inputs):
        """``Encoding`` of each frame, and the mask."""
        return self._encode(given.frames), given.seen

    def scaled(self, q: Encoding, seen, method: str) -> Encoding:
        """Moments of encodings, with the method's factor in hidden frames.

        Args:
          q: moments ``[..., m]``.
          seen: ``[...]``, 1 = seen.
          method: one of ``imputation_methods``.
        """
        if not self.has_imputation_factors:
            return q
        factor = self._imputation_factors[self.imputation_methods.index(method)]
        return q._replace(std=tf.where(seen[..., tf.newaxis] > 0, q.std, factor * q.std))

    def _variances(self, q):
        """Variances of errors with which encodings are read, beside the emission noise; or None."""
        del q


def _bound(reconstruction, regularisation, seen, loss=None):
    """The ``Bound`` of its two terms.

    Where there is a ``loss [B]``, nats per frame, it takes the place of the reconstruction in the
    gradient of what training maximises; the value stays that of the bound.
    """
    terms = {"reconstruction": reconstruction, "regularisation": regularisation}
    num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
    elbo = reconstruction + regularisation
    if loss is None:
        return Bound(elbo, terms, num_frames)
    return Bound(elbo, terms, num_frames, elbo - num_frames * (loss - tf.stop_gradient(loss)))


def _read_with(model, variances):
    """An LGSSM whose observations have further errors."""
    if variances is None:
        return model
    return model._replace(emission_noise=model.emission_noise + variances)


def _bend(a, seen):
    """Mean square of the second differences between frames that are all seen, ``[B]``."""
    whole = seen[:, 2:] * seen[:, 1:-1] * seen[:, :-2]
    bend = tf.reduce_sum(tf.square(a[:, 2:] - 2.0 * a[:, 1:-1] + a[:, :-2]), axis=-1)
    return tf.reduce_sum(whole * bend, axis=1) / tf.maximum(tf.reduce_sum(whole, axis=1), 1.0)
