r"""What non-linear state-space models with learned inference share: DVBF and DKF.

    z_1 is drawn        z_{t+1} follows from z_t, u_t and a draw        p(x_t | z_t)  frame decoder

Inference draws the states of a sequence one after another, given features of the frames. A model
implements how it reads the frames (``_read``), how it draws the first state (``_infer_initial``,
from the prior ``_sample_initial``) and how it draws the next one (``_advance``, from the prior
``_advance_freely``); the bound and the queries are here.

======  ==============  ====================
letter  name            shape
======  ==============  ====================
x       ``frames``      ``[B, T, H, W, C]``
u       ``controls``    ``[B, T, U]``
z       ``latents``     ``[B, T, n]``
======  ==============  ====================

The encodings of the contract are the latent states themselves: the decoder reads z.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError
from kvae_tf.layers import FrameDecoder, FrameFeatures, frame_likelihood
from kvae_tf.models import inputs
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.contract import Bound, Frames, Latents

NUM_DRAWS = 16  # draws of each sequence's states, for the moments of filter and smooth
LEAST_LOG_STD, MOST_LOG_STD = -7.0, 3.0


class Reading(NamedTuple):
    """What inference reads off the frames.

    Attributes:
      first: ``[B, F]`` or ``[B, T, F]``, features for the first state.
      later: ``[B, T, F]``, features for the state of each step.
      active: ``[B, T]``, 0 where the state is known from the transition only, else 1.
    """

    first: tf.Tensor
    later: tf.Tensor
    active: tf.Tensor


class Condition(NamedTuple):
    """What states are drawn from.

    Attributes:
      reading: features of the frames.
      controls: ``[B, T, U]``.
    """

    reading: Reading
    controls: tf.Tensor


class Start(NamedTuple):
    """First states that training puts in place of inferred ones.

    Attributes:
      replaced: ``[B, 1]``, 1 where the first state is replaced.
      states: ``[B, n]``.
      grace: number of first frames whose reconstruction does not count after such a start.
    """

    replaced: tf.Tensor
    states: tf.Tensor
    grace: int


class Draw(NamedTuple):
    """A draw from q, with expectations under q in closed form.

    Attributes:
      value: ``[B, n]``, the drawn value.
      prior: ``[B]``, E_q[ln p], nats.
      entropy: ``[B]``, -E_q[ln q], nats.
    """

    value: tf.Tensor
    prior: tf.Tensor
    entropy: tf.Tensor


class NonlinearSSM(SequenceModel):
    """Base of DVBF and DKF.

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      control_size: number U of controls; 0: none (default).
      network: kind of encoder and decoder, ``"mlp"`` (default) or ``"cnn"``.
      units: widths of the dense layers, or filters of the convolutions, of the encoder; the decoder
        has them in reverse order.
      latent_size: dimension n of a latent state, 3 by default.
      emission_size: number of first entries of a state that the decoder reads; 0: all (default).
      feature_size: width of the features that convolutions take from a frame, 128 by default.
      likelihood: distribution of pixels, ``"bernoulli"`` or ``"gaussian"``; Gaussian by default.
      per_pixel_std: Gaussian pixels: one learned standard deviation per pixel (default), else one
        for all pixels.
      variance_floor: Gaussian pixels: smallest variance, 1e-4 by default.
      initial_variance_floor: Gaussian pixels: initial floor of the variance in training, 0.01 by
        default.
      floor_updates: number of updates over which ``initial_variance_floor`` falls geometrically to
        ``variance_floor``; 0: training has ``variance_floor`` from the start (default).
      precision: Keras' dtype policy of the inner layers of encoder and decoder: ``"float32"``
        (default), ``"mixed_bfloat16"`` or ``"mixed_float16"``.
      annealing_updates: number T_A of updates over which an inverse temperature rises to 1; 0: it
        is 1 from the start (default).
      annealing_start: initial value of the inverse temperature, 0.01 by default.
      annealing_every: number of updates between two steps of the inverse temperature, 1 by default.
      **training: arguments of ``TrainableModel``, for instance ``noise_seed``.

    Raises:
      UserError: ``emission_size`` is above ``latent_size``, or ``floor_updates`` is not 0 for
        Bernoulli pixels.
    """

    def __init__(
        self,
        frame_shape,
        control_size=0,
        network="mlp",
        units=(128,),
        latent_size=3,
        emission_size=0,
        feature_size=128,
        likelihood="gaussian",
        per_pixel_std=True,
        variance_floor=1e-4,
        initial_variance_floor=0.01,
        floor_updates=0,
        precision="float32",
        annealing_updates=0,
        annealing_start=0.01,
        annealing_every=1,
        **training,
    ):
        super().__init__(**training)
        self.record_arguments(locals())
        if floor_updates and likelihood != "gaussian":
            raise UserError(f"likelihood is {likelihood!r}, expected gaussian where a floor falls")
        if emission_size > latent_size:
            raise UserError(
                f"emission_size is {emission_size}, expected at most latent_size, {latent_size}"
            )
        self.frame_shape = tuple(frame_shape)
        self.control_size = control_size
        self.latent_size = latent_size
        self.emission_size = emission_size or latent_size
        self.initial_variance_floor = initial_variance_floor
        self.floor_updates = floor_updates
        self.annealing_updates = annealing_updates
        self.annealing_start = annealing_start
        self.annealing_every = annealing_every
        self.features = FrameFeatures(network, units, feature_size, precision, name="features")
        self.decoder = FrameDecoder(network, frame_shape, units[::-1], precision, name="decoder")
        self.likelihood = frame_likelihood(likelihood, frame_shape, per_pixel_std, variance_floor)
        self.variance_floor = self.likelihood.variance_floor

    def build(self, input_shape=None):
        """Creates the variables of the frame networks; a model adds its own."""
        del input_shape
        self.features.build((None, *self.frame_shape))
        self.decoder.build((None, self.emission_size))
        self.likelihood.build((None, *self.frame_shape))
        self.built = True

    @property
    def term_names(self):
        return ("reconstruction", "regularisation")

    @property
    def encoding_size(self):
        return self.latent_size

    # What a model implements.

    def _read(self, frames, seen, controls, smooth):
        """A ``Reading``: of all frames if ``smooth``, else for each state of frames up to it."""
        raise NotImplementedError

    def _read_for_bound(self, frames, seen, controls, sampler):
        """A ``Reading`` of all frames that the model can use."""
        del sampler
        return self._read(frames, seen, controls, "smooth" in self.supports)

    def _read_in_training(self, frames, seen, controls, sampler):
        """The ``Reading`` in a training step."""
        return self._read_for_bound(frames, seen, controls, sampler)

    def _parameters(self, sampler):
        """Parameters of the transition, drawn; without a sampler their mean."""
        del sampler
        return ()

    def _resting(self, v):
        """v, of which only what multiplies the noise learns."""
        return v

    def _parameter_cost(self):
        """KL divergence of the parameters from their prior, nats per sequence."""
        return 0.0

    def _infer_initial(self, first, active, noise):
        """z_1 given the frames, and the ``Draw`` behind it."""
        raise NotImplementedError

    def _sample_initial(self, noise):
        """z_1 from the prior."""
        raise NotImplementedError

    def _advance(self, z, u, reading, active, noise, v):
        """z_{t+1} given the frames, and the ``Draw`` behind it."""
        raise NotImplementedError

    def _advance_freely(self, z, u, noise, v):
        """z_{t+1} from the prior, by the transition alone."""
        raise NotImplementedError

    # The bound.

    def elbo(self, batch, seed):
        """log p(x | z) minus KL(q || p), equation 11, nats; the subclass lists its terms."""
        return self._bound(batch, seed)

    def training_bound(self, batch, seed):
        """``elbo``, and the annealed bound that training maximises (equation 10').

        c_i ln p(x | z) - ln q + c_i ln p, where c_i = min(1, start + i / T_A) at update i is the
        inverse temperature.
        """
        return self._bound(batch, seed, training=True)

    def _inverse_temperature(self):
        if not self.annealing_updates:
            return 1.0
        done = tf.cast(self.optimizer.iterations, tf.float32)
        done = tf.floor(done / self.annealing_every) * self.annealing_every
        return tf.minimum(1.0, self.annealing_start + done / self.annealing_updates)

    def _variance_floor(self):
        """The variance floor of a training step.

        While the floor is high, sharp frames gain little: a state that predicts the next frames
        then gains more nats than one that only draws the present frame sharply.
        """
        floor = self.likelihood.variance_floor
        done = tf.cast(self.optimizer.iterations, tf.float32) / self.floor_updates
        return floor * tf.pow(self.initial_variance_floor / floor, tf.maximum(1.0 - done, 0.0))

    def _bound(self, batch, seed, training=False, start=None):
        frames, observed, controls, *_ = inputs.of_batch(self, batch)
        seen = inputs.mask(observed, frames)
        read = self._read_in_training if training else self._read_for_bound
        sampler = lgssm.as_sampler(seed)
        reading = read(frames, seen, controls, sampler)
        z, prior, entropy = self._walk(reading, controls, sampler, start)
        if start is not None:
            early = tf.cast(tf.range(tf.shape(seen)[1]) < start.grace, tf.float32)
            seen *= 1.0 - start.replaced * early
        falling = training and self.floor_updates
        options = {"variance_floor": self._variance_floor()} if falling else {}
        log_p = self.likelihood.log_prob(self.decoder(self._emitting(z)), frames, **options)
        reconstruction = tf.reduce_sum(seen * log_p, axis=1)
        terms = {"reconstruction": reconstruction, "regularisation": prior + entropy}
        cost = self._parameter_cost() if start is None else tf.stop_gradient(self._parameter_cost())
        if "parameters" in self.term_names:
            terms["parameters"] = -cost * tf.ones_like(prior)
        inverse_temperature = self._inverse_temperature() if training else 1.0
        annealed = inverse_temperature * (reconstruction + prior) + entropy - cost
        num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
        return Bound(sum(terms.values()), terms, num_frames, annealed)

    def _walk(self, reading, controls, sampler, start=None):
        """States ``[B, T, n]`` of a sequence, E_q[ln p] and the entropy of q, both ``[B]``.

        Without a sampler every draw is its mean. Of first states that ``start`` replaces, q is the
        prior.
        """
        batch, n = tf.shape(controls)[0], self.latent_size
        length = controls.shape[1] or tf.shape(controls)[1]
        if sampler is None:
            v, noise = self._parameters(None), tf.zeros([length, batch, n])
        else:
            parameter_sampler, noise_sampler = sampler.split(2)
            v = self._parameters(parameter_sampler)
            noise = noise_sampler.normal([length, batch, n], axis=1)
        later, u, active = (
            tf.transpose(x, [1, 0, 2])
            for x in (reading.later, controls, reading.active[..., tf.newaxis])
        )
        z, first = self._infer_initial(reading.first, active[0], noise[0])
        if start is not None:
            v = self._resting(v)
            z += start.replaced * (start.states - z)
            kept = 1.0 - start.replaced[:, 0]
            first = first._replace(prior=kept * first.prior, entropy=kept * first.entropy)

        def step(carry, now):
            z, draw = self._advance(carry[0], *now, v)
            return (z,), (z, draw.prior, draw.entropy)

        # Reading and noise of a step go with the control that leads there.
        inputs = (u[:-1], later[1:], active[1:], noise[1:])
        shapes = [[controls.shape[0], n], [controls.shape[0]], [controls.shape[0]]]
        states, prior, entropy = _scan(step, (z,), inputs, shapes)
        states = tf.transpose(tf.concat([z[tf.newaxis], states], axis=0), [1, 0, 2])
        return (
            states,
            first.prior + tf.reduce_sum(prior, axis=0),
            first.entropy + tf.reduce_sum(entropy, axis=0),
        )

    def _walk_freely(self, z, controls, noise, v):
        """States ``[B, S, n]`` after z from the prior; ``controls [B, S, U]``."""

        def step(carry, now):
            z = self._advance_freely(carry[0], *now, v)
            return (z,), (z,)

        inputs = (tf.transpose(controls, [1, 0, 2]), noise)
        shapes = [[controls.shape[0], self.latent_size]]
        (states,) = _scan(step, (z,), inputs, shapes)
        return tf.transpose(states, [1, 0, 2])

    # Queries.

    def _decode(self, encodings, num_objects=None):
        del num_objects
        return self.likelihood.mean(self.decoder(self._emitting(encodings)))

    def _filter(self, given):
        """Moments over draws from q."""
        return self._moments(self._condition(given, smooth=False))

    def _smooth(self, given):
        """Moments over draws from q."""
        return self._moments(self._condition(given, smooth=True))

    def _impute(self, given, method):
        """States in which every draw is its mean; their spread is that of draws."""
        condition = self._condition(given, smooth=method == "smooth")
        spread = tf.sqrt(tf.linalg.diag_part(self._moments(condition).covariances))
        return self._frames(self._states(condition, sampler=None), spread)

    def _forecast(self, given, num_steps):
        length = tf.shape(given.frames)[1]
        # At the context's last step all that is known lies in the past.
        context = given._replace(controls=given.controls[:, :length])
        condition = self._condition(context, "smooth" in self.supports)
        future = given.controls[:, length - 1 : length - 1 + num_steps]

        def states(condition, future, sampler=None, later=None):
            start = self._states(condition, sampler)[:, -1]
            shape = [num_steps, tf.shape(start)[0], self.latent_size]
            if later is None:
                return self._walk_freely(start, future, tf.zeros(shape), self._parameters(None))
            parameter_sampler, noise_sampler = later.split(2)
            noise = noise_sampler.normal(shape, axis=1)
            return self._walk_freely(start, future, noise, self._parameters(parameter_sampler))

        samplers = lgssm.as_sampler(0), lgssm.as_sampler((1, 1))
        many = states(_repeat(condition), _repeat(future), *samplers)
        spread = tf.sqrt(tf.linalg.diag_part(_moments(many).covariances))
        return self._frames(states(condition, future), spread)

    def _generate(self, controls, num_steps, sampler, num_objects):
        del num_objects
        num_sequences = tf.shape(controls)[0]
        parameter_sampler, noise_sampler = sampler.split(2)
        noise = noise_sampler.normal([num_steps, num_sequences, self.latent_size], axis=1)
        start = self._sample_initial(noise[0])
        later = self._walk_freely(
            start, controls[:, :-1], noise[1:], self._parameters(parameter_sampler)
        )
        z = tf.concat([start[:, tf.newaxis], later], axis=1)
        return self._frames(z, tf.zeros_like(z))

    def _condition(self, given, smooth):
        """What states are drawn from; a nest of tensors with a batch axis."""
        reading = self._read(given.frames, given.seen, given.controls, smooth)
        return Condition(reading, given.controls)

    def _states(self, condition, sampler):
        """States ``[B, T, n]``, drawn; without a sampler each draw is its mean."""
        return self._walk(*condition, sampler)[0]

    def _moments(self, condition):
        return _moments(self._states(_repeat(condition), lgssm.as_sampler(0)))

    def _emitting(self, z):
        return z[..., : self.emission_size]

    def _frames(self, z, spread):
        return Frames(self._decode(z), z, spread, z, tf.zeros_like(z[..., :0]))


def _scan(step, start, inputs, shapes):
    """The outputs of ``lgssm.scan``, also over no steps where a graph does not know their number.

    TensorFlow does not stack nothing: there one step more is made, and dropped.
    """
    if inputs[0].shape[0] is not None:
        return lgssm.scan(step, start, inputs, shapes)[1]
    longer = [tf.pad(x, [[0, 1]] + [[0, 0]] * (x.shape.rank - 1)) for x in inputs]
    return [x[:-1] for x in lgssm.scan(step, start, tuple(longer), shapes)[1]]


def gaussian_draw(mean, log_std, noise, prior_mean=0.0, prior_log_std=0.0) -> Draw:
    """A draw from N(mean, std²), and what a Gaussian prior expects of it (appendix A.1).

    Args:
      mean: ``[B, n]``.
      log_std: ``[B, n]``, log standard deviations.
      noise: ``[B, n]``, standard normal.
      prior_mean: mean of the prior, ``[B, n]`` or a number, 0 by default.
      prior_log_std: log standard deviations of the prior, ``[B, n]`` or a number, 0 by default.
    """
    std, constant = tf.exp(log_std), math.log(2.0 * math.pi)
    prior_log_std = tf.zeros_like(mean) + prior_log_std
    distance = tf.square(std) + tf.square(mean - prior_mean)
    prior = -0.5 * (distance * tf.exp(-2.0 * prior_log_std) + 2.0 * prior_log_std + constant)
    entropy = 0.5 * (1.0 + constant) + log_std
    return Draw(mean + std * noise, tf.reduce_sum(prior, axis=-1), tf.reduce_sum(entropy, axis=-1))


def split_moments(raw):
    """Mean and bounded log standard deviation out of a network's output ``[..., 2n]``."""
    mean, log_std = tf.split(raw, 2, axis=-1)
    return mean, tf.clip_by_value(log_std, LEAST_LOG_STD, MOST_LOG_STD)


def _repeat(tensors):
    """Tensors whose every row is repeated ``NUM_DRAWS`` times."""
    return tf.nest.map_structure(lambda x: tf.repeat(x, NUM_DRAWS, axis=0), tensors)


def _moments(draws) -> Latents:
    """Moments over the draws of each row, ``[B * NUM_DRAWS, T, n]``."""
    shape = tf.shape(draws)
    draws = tf.reshape(draws, [-1, NUM_DRAWS, shape[1], draws.shape[-1]])
    means = tf.reduce_mean(draws, axis=1)
    deviations = draws - means[:, tf.newaxis]
    covariances = tf.einsum("bstn,bstm->btnm", deviations, deviations) / (NUM_DRAWS - 1)
    return Latents(means, covariances)
