"""Other beginnings for the motion of objects, once it is settled where they are.

Two parts of a Newtonian mixture get stuck when all is learned together by gradients. The mixed
start, whose components compete before positions mean anything: one takes all, and that balls come
from two sides is lost. And the noise of the positions, which has to be small at first, so that
frames can be drawn along smooth paths only, and then stays so, or vanishes, along one axis or both:
readings are not made to be sharp then, nor are a few of them weighed as they should be. So in the
last epochs both are fitted to what attention reads, before each epoch, by expectation maximisation,
while all else goes on learning by gradients. With y and R the readings and their variances, and h
given all y, a round is

    Σ_A <- mean of G² ((y - B E[h])² + B Cov[h] Bᵀ) + G R        G = Σ_A / (Σ_A + R)

along each axis; then the start is fitted to draws of h_1.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData, evaluation_batches
from kvae_tf.models.cannonball.gaussian_mixture import fit_gaussian_mixture
from kvae_tf.models.cannonball.model import Cannonball

_ROUNDS = 50
_BATCH = 100  # sequences


class MotionEM(keras.callbacks.Callback):
    """Calls ``refit`` before each of the last epochs.

    Args:
      train: training sequences.
      epoch: epochs done before the first of them.
      seed: of the draws.
    """

    def __init__(self, train: SequenceData, epoch: int, seed: int):
        super().__init__()
        self.train = train
        self.epoch = epoch
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        if epoch >= self.epoch:
            refit(self.model, self.train, self.seed)


def refit(model: Cannonball, train: SequenceData, seed: int = 0) -> None:
    """Fits Σ_A and the start of ``model.motion`` to what attention reads in training sequences.

    Args:
      model: whose motion begins anew.
      train: complete sequences, with their numbers of objects. Those with the fewest are looked at,
        since objects that are taken for each other are far off their paths.
      seed: of the draws of h_1.
    """
    motion, (readings, variances) = model.motion, read(model, train.of_fewest_objects())
    smooth = tf.function(lambda: motion.smooth(readings, variances))
    # From above: near zero a round changes little.
    noise = np.var(readings, axis=(0, 1))
    for _ in range(_ROUNDS):
        motion.set_emission_noise(noise)
        noise = noise_of_positions(noise, readings, variances, *smooth())
    motion.set_emission_noise(noise)
    means, covariances = (x.numpy()[:, 0].astype(float) for x in smooth())
    roots = np.linalg.cholesky(covariances)
    draws = np.random.default_rng(seed).normal(size=means.shape)
    states = means + np.einsum("lij,lj->li", roots, draws)
    motion.set_start(fit_gaussian_mixture(states, motion.num_components, seed))


def noise_of_positions(noise, readings, variances, means, covariances) -> np.ndarray:
    """One round for Σ_A, ``[m]``; see the module.

    Args:
      noise: Σ_A so far, ``[m]``.
      readings: y, ``[L, T, m]``.
      variances: R, ``[L, T, m]``; 0 where positions are read without error.
      means: of h given all readings, ``[L, T, 2m]``.
      covariances: ``[L, T, 2m, 2m]``.
    """
    m = len(noise)
    uncertainty = np.diagonal(covariances, axis1=-2, axis2=-1)[..., :m]
    gain = noise / (noise + variances)
    square = np.square(readings - np.asarray(means)[..., :m]) + uncertainty
    return np.mean(np.square(gain) * square + gain * variances, axis=(0, 1), dtype=np.float64)


def read(model: Cannonball, data: SequenceData) -> tuple[np.ndarray, np.ndarray]:
    """Readings of all objects and their variances, ``[L, T, m]``.

    With the paper's posterior they are positions themselves: the variances are 0.
    """
    locate, found = tf.function(model.locate), []
    for batch in evaluation_batches(data, min(_BATCH, len(data))):
        q = locate(batch["frames"], num_objects=batch.get("num_objects"))
        counts = np.where(batch["weight"] > 0, batch["num_objects"], 0)  # padding has no objects
        there = np.arange(model.max_objects) < counts[:, np.newaxis]
        found.append([np.swapaxes(x.numpy(), 1, 2)[there] for x in q])
    readings, stds = map(np.concatenate, zip(*found, strict=True))
    return readings, np.square(stds) if model.posterior == "smoothed" else np.zeros_like(stds)
