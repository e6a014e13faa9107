r"""Initialisations of a KVAE from data: the mean frame; dynamics of constant velocity.

What moves in a video mostly goes on as before. So the latent state starts as the encodings and
their change from step to step, z = (a, v), and every mode as

    a_{t+1} = a_t + v_t,    v_{t+1} = v_t

In continuous time that is the generator with a' = v and v' = 0, and a step is one unit of time.
With n < 2 m the first n - m encodings have a velocity. The noises are those that an auto-encoder's
encodings show: Var[a_{t+1} - 2 a_t + a_{t-1}], the variance of the second differences, is that of a
change of velocity, plus 6 times that of the emission noise.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData, pixel_moments
from kvae_tf.data.sequence_data import as_unit
from kvae_tf.models.kvae.by_sequence import by_sequence, mean_encodings
from kvae_tf.models.linear_features import newtonian_features, second_differences

_SEQUENCES = 1000  # more change the moments little
_NUMBERS = 100_000_000  # in the frames that linear features are found from
_FRAMES = 5000  # of which distortions are computed at once
_SPREAD = 0.01  # standard deviation by which the modes differ at first
_LEAST = 1e-4  # variance of an encoding
_LEAST_SPREAD = 0.2  # of a pixel, as a share of the moving pixels'
_LEAST_WEIGHT = 0.02  # of a pixel
_LEAST_DIRECTION = 1e-3  # variance of the frames' directions that linear features use, a share
# Balls that bounce are straightest by these: fewer directions, differences over two frames.
_OF_BOUNCES = {"least": 3e-3, "lag": 2, "bounces": True}
_TINY = 1e-6


def initialise_frames(model, train: SequenceData, bounces: bool = False) -> None:
    """Sets what encoder, decoder and constraint take from the training frames.

    The constraint weights a pixel by the share of its variance that is change within sequences.
    What only differs between sequences, a background for instance, then does not hide what moves.

    Args:
      model: a built KVAE; if it is ``standardised``, centre and spread of encoder and decoder are
        changed, and weights and scale of its constraint, if it has one.
      train: training sequences.
      bounces: linear features are those of objects that bounce; False by default.
    """
    if model.encoder.linear:
        _read_linearly(model.encoder, train, bounces)
    standardised = model.encoder.standardised
    if not standardised and not model.constraint:
        return
    mean, variance, within = pixel_moments(train)
    centre = model.likelihood.inverse_mean(tf.constant(mean, tf.float32))
    if standardised:
        # Pixels that hardly change are not blown up.
        moving = np.sqrt(np.average(variance, weights=variance + _TINY))
        spread = np.maximum(np.sqrt(variance), _LEAST_SPREAD * moving + _TINY)
        model.encoder.centre.assign(mean)
        model.encoder.spread.assign(spread)
        model.decoder.centre.assign(centre)
        if model.variance_floor is not None:  # the decoder gives means, no logits
            model.decoder.spread.assign(spread)
    if model.constraint:
        weights = np.clip(within / (variance + _TINY), _LEAST_WEIGHT, 1.0)
        model.constraint.pixel_weights.assign(weights)
        frames = train.frames[train.observed > 0]
        parts = map(as_unit, np.array_split(frames, -(-len(frames) // _FRAMES)))
        shares = [model.constraint.share(model.likelihood, centre, x) for x in parts]
        model.constraint.scale.assign(max(np.mean(np.concatenate(shares)), _TINY))


def _read_linearly(encoder, train, bounces):
    """Where frames vary in too few directions, the other encodings start at random."""
    sequences = _NUMBERS // (train.num_steps * math.prod(train.frame_shape))
    part = train.select(slice(0, min(max(sequences, 1), _SEQUENCES)))
    how = _OF_BOUNCES if bounces else {"least": _LEAST_DIRECTION}
    count = encoder.encoding_size
    features = newtonian_features(part, count, "--linear_encoder", or_fewer=True, **how)
    encoder.read_linearly(features.matrix, features.offset)


class DynamicsInitialisation(keras.callbacks.Callback):
    """Calls ``initialise_dynamics`` before the first epoch that trains the dynamics.

    Adds the constraint's ``multiplier`` to the epochs' logs.

    Args:
      train: training sequences.
      epoch: number of epochs before it; 0: dynamics and constraint are those of a trained model.
      tolerance: how much larger than the auto-encoder's the distortion may become.
      seed: seed of the differences between the modes, an int.
    """

    def __init__(self, train: SequenceData, epoch: int, tolerance: float, seed: int):
        super().__init__()
        self.train = train
        self.epoch = epoch
        self.tolerance = tolerance
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        if self.epoch and epoch == self.epoch:  # not where the dynamics are there already
            initialise_dynamics(self.model, self.train, self.tolerance, self.seed)

    def on_epoch_end(self, epoch, logs=None):
        if self.model.constraint:
            logs["multiplier"] = float(self.model.constraint.multiplier)


def initialise_dynamics(model, train: SequenceData, tolerance: float, seed: int) -> None:
    """Dynamics of constant velocity and the constraint's target, from an auto-encoder.

    Args:
      model: a built KVAE with a trained auto-encoder; mixture, and constraint if it has one, are
        changed.
      train: training sequences.
      tolerance: the target, as a multiple of the auto-encoder's distortion.
      seed: seed of the differences between the modes, an int.
    """
    train = train.select(slice(0, _SEQUENCES))
    if model.constraint:
        encodings, share = _encoded(model, train)
        model.constraint.target.assign(min(tolerance * share, 1.0))
    else:
        encodings = mean_encodings(model, train)
    times = train.elapsed / model.time_unit if model.reads_times and train.has_times else None
    start_at_constant_velocity(model.mixture, encodings, train.observed > 0, seed, times)
    if model.network.reads_latents:
        start = tf.linalg.diag_part(model.mixture.initial_covariance)
        model.network.input_scale.assign(tf.sqrt(start))


def start_at_constant_velocity(mixture, encodings, seen, seed: int, times=None) -> None:
    """Dynamics of constant velocity, scaled to encodings.

    Args:
      mixture: a built ``ModeMixture``; it is changed.
      encodings: ``[N, T, m]``.
      seen: bool ``[N, T]``.
      seed: seed of the differences between the modes, an int.
      times: ``[N, T]``, units of time; None: steps are 1 apart (default).
    """
    s = mixture.settings
    K, n, m = s["num_modes"], s["latent_size"], s["encoding_size"]
    held, moving = min(m, n), min(m, max(n - m, 0))
    still = np.zeros((n, n)) if mixture.is_continuous else np.eye(n)
    transition = np.tile(still, (K, 1, 1))
    transition[:, range(moving), range(m, m + moving)] = 1.0
    rng = np.random.default_rng(seed)
    mixture.transition.assign(transition + _SPREAD * rng.normal(size=transition.shape))
    mixture.emission.assign(np.tile(np.eye(m, n), (mixture.emission.shape[0], 1, 1)))
    values = encodings[seen]
    variance = values.var(axis=0) + _LEAST
    once, twice = (_variance_of_differences(encodings, seen, order, times) for order in (1, 2))
    q, start = np.full(n, _LEAST), np.ones(n)
    q[:held] = _LEAST * variance[:held]
    start[:held] = variance[:held]
    q[m : m + moving] = twice[:moving] / 3.0
    start[m : m + moving] = once[:moving]
    noise = mixture.log_transition_noise
    noise.assign(np.broadcast_to(np.log(q), noise.shape))
    mixture.log_emission_noise.assign(np.log(twice / 10.0))
    mean = np.zeros(n)
    mean[:held] = values.mean(axis=0)[:held]
    mixture.initial_mean.assign(mean)
    mixture.initial_log_scale.assign(np.log(start) / 2.0)


def _variance_of_differences(encodings, seen, order, times):
    """Variances of the differences of an order between steps that are all seen, ``[m]``.

    With times, of velocities, and of their changes from one to the next.
    """
    steps = seen.shape[1] - order
    whole = np.all([seen[:, k : k + steps] for k in range(order + 1)], axis=0)
    if steps < 1 or not whole.any():
        return np.full(encodings.shape[-1], _LEAST)
    if times is None:
        return np.diff(encodings, order, axis=1)[whole].var(axis=0) + _LEAST
    if order == 2:
        return second_differences(encodings, seen, times)[0].var(axis=0) + _LEAST
    velocities = np.diff(encodings, axis=1) / np.diff(times, axis=1)[..., np.newaxis]
    return velocities[whole].var(axis=0) + _LEAST


def _encoded(model, train):
    """Means of the encodings ``[N, T, m]``; and the share of the frames they do not explain."""

    def encode(frames):
        a = model.encoder(frames).mean
        return a, model.constraint.share(model.likelihood, model.decoder(a), frames)

    encodings, shares = by_sequence(encode, train)
    return encodings, float(np.mean(shares[train.observed > 0], dtype=np.float64))
