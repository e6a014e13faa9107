"""A second beginning for the motion of objects, once it is settled where they are.

Two parts of a Newtonian mixture get stuck when all is learned together by gradients. The mixed
start, whose components compete before positions mean anything: one takes all, and that balls come
from two sides is lost. And the noise of the positions, which has to be small at first, so that
frames can be drawn along smooth paths only, and then stays so along one axis. Both begin anew when
attention rests: the start at its best for the present posterior, by expectation maximisation, the
noise at a value large enough to be seen in the frames.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData
from kvae_tf.evaluation.batches import masked_batches, objects_of
from kvae_tf.gaussian_mixture import fit_gaussian_mixture
from kvae_tf.models.cannonball import Cannonball


class Refit(keras.callbacks.Callback):
    """Calls ``refit`` before an epoch.

    Args:
      train: training sequences.
      epoch: epochs done until then.
      noise: Σ_A afterwards.
      seed: of the draws.
    """

    def __init__(self, train: SequenceData, epoch: int, noise: float, seed: int):
        super().__init__()
        self.train = train
        self.epoch = epoch
        self.noise = noise
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            refit(self.model, self.train, self.noise, self.seed)


def refit(model: Cannonball, train: SequenceData, noise: float, seed: int = 0) -> None:
    """Fits the mixed start to draws of h_1 given whole training sequences; Σ_A becomes ``noise``.

    Args:
      model: whose ``motion`` begins anew.
      train: training sequences.
      noise: a variance.
      seed: of the draws.
    """
    start = fit_gaussian_mixture(first_states(model, train, seed), model.motion.num_components)
    model.motion.begin_anew(start, noise)


def first_states(model: Cannonball, data: SequenceData, seed: int = 0) -> np.ndarray:
    """A draw of each object's h_1 given its sequence, ``[objects, 4]``."""

    @tf.function
    def smooth(frames, **objects):
        means, covariances = model.smooth(frames, **objects)
        return means[:, 0], covariances[:, 0]

    rng, found = np.random.default_rng(seed), []
    for batch, rows in masked_batches(data, data.observed):
        kept = slice(rows.stop - rows.start)
        objects = objects_of(model, batch)
        means, covariances = (x.numpy()[kept] for x in smooth(batch["frames"], **objects))
        roots = np.linalg.cholesky(covariances.astype(float) + 1e-9 * np.eye(means.shape[1]))
        noise = rng.normal(size=(*means.shape, 1))
        states = means + (roots @ noise)[..., 0]
        there = np.arange(model.max_objects) < data.num_objects[rows][:, np.newaxis]
        found.append(states.reshape(len(states), model.max_objects, -1)[there])
    return np.concatenate(found)
