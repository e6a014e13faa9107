"""Updates of a KVAE's dynamics alone, from stored encodings.

While the encoder rests, its encodings of the training frames stay as they are. An update of the
dynamics from them costs a tenth of one that encodes and decodes frames, and dynamics that bounce
need many.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.data import SequenceData
from kvae_tf.models.kvae.by_sequence import mean_encodings

_ROWS = 64  # sequences of an update; half of them along several paths
_RATE = 3e-3  # at first; it falls to 0 along a cosine
_CLIP = 10.0  # norm of the gradient


class DynamicsTraining(keras.callbacks.Callback):
    """Maximises log p(a | u) of stored encodings before each of some epochs.

    The rate falls over all of them; Adam's moments start anew in each epoch, so that a resumed
    training needs nothing but the weights.

    Args:
      train: training sequences.
      start: number of epochs before the first of these epochs.
      stop: number of epochs before the first one after them.
      updates: number of updates before each epoch.
      seed: seed of the order of the sequences and of the draws, an int.
      along_paths: maximise the bound of log p(a | u) from the model's ``training_paths``; False by
        default.
    """

    def __init__(
        self,
        train: SequenceData,
        start: int,
        stop: int,
        updates: int,
        seed: int,
        along_paths: bool = False,
    ):
        super().__init__()
        self.train = train
        self.start = start
        self.stop = stop
        self.updates = updates
        self.seed = seed
        self.along_paths = along_paths
        self._data = None
        self._step = None

    def on_epoch_begin(self, epoch, logs=None):
        if not self.start <= epoch < self.stop:
            return
        if self._step is None:
            self._step, self._optimizer = _step(self.model, self.along_paths)
        for variable in self._optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        rng = np.random.default_rng([self.seed, epoch])
        arrays = self._encoded()
        count = self.updates * (self.stop - self.start)
        for update in range(self.updates):
            done = (self.updates * (epoch - self.start) + update) / count
            self._optimizer.learning_rate = _RATE * 0.5 * (1.0 + np.cos(np.pi * done))
            rows = rng.integers(0, len(arrays[0]), _ROWS // 2 if self.along_paths else _ROWS)
            seed = tf.constant([self.seed, self.updates * epoch + update])
            self._step(seed, *(None if x is None else tf.constant(x[rows]) for x in arrays))

    def _encoded(self):
        """Encodings, mask, controls, times; the encoder rests, unless paths are followed."""
        if self._data is None or self.along_paths:
            a = mean_encodings(self.model, self.train)
            times = self.train.elapsed if self.model.reads_times else None
            self._data = a, self.train.observed, self.train.controls, times
        return self._data


def _step(model, along_paths):
    """A compiled update of the dynamics, and its optimiser."""
    variables = model.dynamics_variables
    optimizer = keras.optimizers.Adam(_RATE, global_clipnorm=_CLIP)
    optimizer.build(variables)

    @tf.function(jit_compile=True, autograph=False)
    def step(seed, a, observed, controls, times):
        log_prob = model.paths_log_prob if along_paths else model.encodings_log_prob
        with tf.GradientTape() as tape:
            log_p = log_prob(a, observed, controls, lgssm.as_sampler(seed), times)
            loss = -tf.reduce_mean(log_p) / a.shape[1]
        optimizer.apply(tape.gradient(loss, variables), variables)

    return step, optimizer
