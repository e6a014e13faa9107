"""Expectation maximisation (EM) for the motion of the cannonball model.

Gradients get stuck for two parts of ``NewtonianMixture``:

- the mixture of initial states: its components compete before positions mean anything, one of them
  takes all objects, and the model never learns that balls come from two sides;
- the emission noise Σ_A: it has to be small at first, so that frames are rendered along smooth
  paths only; later it stays small or vanishes along an axis, and readings do not become precise.

So before each of the last epochs both are fitted to attention's readings of the training sequences,
while all other parameters go on learning by gradients. With readings y of variances R, and the
moments of h given all y, one round of EM is

    Σ_A <- mean of G² ((y - B E[h])² + B Cov[h] Bᵀ) + G R        G = Σ_A / (Σ_A + R)

along each axis. Afterwards the mixture of initial states is fitted to draws of h_1.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData
from kvae_tf.models.cannonball import together
from kvae_tf.models.cannonball.collision_fit import Ascent, fit_collisions, read_together
from kvae_tf.models.cannonball.collisions import Law
from kvae_tf.models.cannonball.features import smooth_features
from kvae_tf.models.cannonball.gaussian_mixture import fit_gaussian_mixture
from kvae_tf.models.cannonball.model import Cannonball
from kvae_tf.models.cannonball.straightening import straighten, straighten_to
from kvae_tf.models.linear_features import LinearFeatures

_ROUNDS = 50
_STRAIGHTENED = 2000  # sequences of objects that bounce
_LAG = 3  # frames, between bounces
_LIT = 1000  # sequences that say where the light of an object is


class MotionEM(keras.callbacks.Callback):
    """Fits plane, collisions, noise and start before each of the last epochs.

    Args:
      train: training sequences.
      epoch: number of epochs before the first call.
      seed: seed of the draws of h_1, and of batches, an int.
      collision_updates: number of updates of ``fit_collisions``, for a model of objects that meet;
        1,000 by default.
    """

    def __init__(self, train: SequenceData, epoch: int, seed: int, collision_updates: int = 1000):
        super().__init__()
        self.train = train
        self.epoch = epoch
        self.seed = seed
        self.collision_updates = collision_updates
        self._ascent = None
        self._features = None

    def on_epoch_begin(self, epoch, logs=None):
        if epoch < self.epoch:
            return
        light = self.model.light_readings
        if light is None or not light.is_fitted.numpy():  # it knows pixels in the plane of then
            self._features = straighten_plane(self.model, self.train, self._features)
            if light is not None:
                fit_light(self.model, self.train)
        if self.model.motion.collisions is not None:
            self._ascent = self._ascent or Ascent(self.model.motion)  # compiled once
            left = 1.0 - (epoch - self.epoch) / max(self.params["epochs"] - self.epoch, 1)
            seed = self.seed + epoch  # other batches in each epoch
            fit_collisions(self.model, self.train, self.collision_updates, seed, left, self._ascent)
        fit_motion(self.model, self.train, self.seed)


def straighten_plane(
    model: Cannonball, train: SequenceData, features: LinearFeatures | None = None
) -> LinearFeatures | None:
    """Fits the maps between the planes of attention and motion, and the force.

    Where objects meet, the plane becomes that of linear features of the frames of single objects,
    and the force is left to ``fit_collisions``; without such frames the maps stay as they are.

    Args:
      model: a built model; without such maps it stays as it is.
      train: complete sequences with ``num_objects``. Only the sequences with the fewest objects are
        used.
      features: what an earlier call returned; None: they are computed (default).

    Returns:
      The linear features, which hang on the sequences alone; None where the plane is not theirs.
    """
    if model.to_motion is None:
        return None
    single = train.of_fewest_objects()
    if model.motion.collisions is None:
        readings, _ = read(model, single, model.attention)
        acceleration = straighten(model.to_motion, model.from_motion, readings)
        model.motion.set_acceleration(acceleration)
        return None
    single = single.select(slice(0, _STRAIGHTENED))
    readings, _ = read(model, single, model.attention)
    if len(readings) != len(single):
        return None
    features = features or smooth_features(model, single, _LAG)
    frames = single.unit_frames.reshape(readings.shape[0] * readings.shape[1], -1)
    straighten_to(
        model.to_motion,
        model.from_motion,
        readings.reshape(len(frames), -1),
        frames @ features.matrix + features.offset,
    )
    return features


def fit_light(model: Cannonball, train: SequenceData) -> None:
    """Fits ``model.light_readings`` to the smoothed paths of attention's readings.

    Args:
      model: a built model with ``refinements``.
      train: complete sequences with ``num_objects``. Only the sequences with the fewest objects are
        used, and of them the first 1,000.
    """
    few = train.of_fewest_objects().select(slice(0, _LIT))
    count = model.max_objects if few.num_objects is None else int(few.num_objects[0])
    readings, variances = read(model, few)
    law = None
    if model.motion.collisions is not None:
        law = _law_of_single_objects(model.motion, readings, variances)
    paths, _ = tf.function(model.motion.smooth, autograph=False)(readings, variances, law)
    paths = paths.numpy()[..., : model.motion.position_size]
    paths = np.swapaxes(paths.reshape(len(few), count, *paths.shape[1:]), 1, 2)
    frames = few.unit_frames
    model.light_readings.fit(
        frames.reshape(-1, *frames.shape[2:]), paths.reshape(-1, *paths.shape[2:])
    )


def fit_motion(model: Cannonball, train: SequenceData, seed: int = 0) -> None:
    """Fits Σ_A and the mixture of initial states of ``model.motion`` to attention's readings.

    Args:
      model: a built model; its motion is changed.
      train: complete sequences with ``num_objects``. Only the sequences with the fewest objects are
        used, since objects that are mistaken for each other are far off their paths.
      seed: seed of the draws of h_1, an int, 0 by default.
    """
    motion, (readings, variances) = model.motion, read(model, train.of_fewest_objects())
    law = None
    if motion.collisions is not None:
        law = _law_of_single_objects(motion, readings, variances)
    smooth = tf.function(lambda: motion.smooth(readings, variances, law), autograph=False)
    if motion.collisions is None:  # else the noise is fitted with the collisions
        _fit_noise(motion, readings, variances, smooth)
    means, covariances = (x.numpy()[:, 0].astype(float) for x in smooth())
    roots = np.linalg.cholesky(covariances)
    draws = np.random.default_rng(seed).normal(size=means.shape)
    states = means + np.einsum("lij,lj->li", roots, draws)
    motion.set_start(fit_gaussian_mixture(states, motion.num_components, seed))


def _law_of_single_objects(motion, readings, variances):
    """The law along their paths, ``[L, T, ...]``."""
    seen = np.ones(readings.shape[:2], np.float32)
    each = tf.function(together.follow, autograph=False)(
        motion, readings[:, :, None], variances[:, :, None], seen, seen[:, :1]
    ).law
    return Law(*(x[:, :, 0] for x in each))


def _fit_noise(motion, readings, variances, smooth):
    # Starts from a large value, since near zero a round changes little.
    noise = np.var(readings, axis=(0, 1))
    for _ in range(_ROUNDS):
        motion.set_emission_noise(noise)
        noise = noise_of_positions(noise, readings, variances, *smooth())
    motion.set_emission_noise(noise)


def noise_of_positions(noise, readings, variances, means, covariances) -> np.ndarray:
    """Σ_A after one round of EM (equation in the module's docstring), ``[m]`` variances.

    Args:
      noise: Σ_A before the round, ``[m]`` variances.
      readings: y, ``[L, T, m]``.
      variances: R, ``[L, T, m]``; 0 where positions are read without error.
      means: means of h given all readings, ``[L, T, 2m]``.
      covariances: covariances of h given all readings, ``[L, T, 2m, 2m]``.
    """
    m = len(noise)
    uncertainty = np.diagonal(covariances, axis1=-2, axis2=-1)[..., :m]
    gain = noise / (noise + variances)
    square = np.square(readings - np.asarray(means)[..., :m]) + uncertainty
    return np.mean(np.square(gain) * square + gain * variances, axis=(0, 1), dtype=np.float64)


def read(
    model: Cannonball, data: SequenceData, query: Callable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Attention's readings of all objects and their variances, both ``[L, T, m]``.

    With ``posterior="attention"`` readings are the positions themselves: the variances are 0.

    Args:
      model: a built model.
      data: the sequences; L is the number of objects of all of them. Without ``num_objects`` each
        shows ``max_objects``.
      query: of frames and ``num_objects``; None: ``model.locate`` (default).
    """
    *moments, present = read_together(model, data, query)
    return tuple(np.swapaxes(x, 1, 2)[present > 0] for x in moments)
