"""The standardised entries of vectors: an encoder and a decoder with nothing to learn."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.layers.frame_networks import Encoding


@keras.saving.register_keras_serializable("kvae_tf")
class StandardisedEntries(keras.layers.Layer):
    """Vectors ``[..., 1, D, 1]`` to their standardised entries ``[..., D]``, and back.

    Args:
      standardise: D means and D standard deviations of the entries.
    """

    def __init__(self, standardise, **kwargs):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.standardise = standardise
        self._offset, self._scale = (np.asarray(x, np.float32) for x in standardise)
        self.encoding_size = len(self._scale)

    def build(self, input_shape=None):
        del input_shape
        self.built = True

    def call(self, vectors):
        """Standardised entries with standard deviation 0; missing ones (NaN) have mean 0, std 1."""
        x = tf.squeeze(vectors, [-3, -1])
        there = self.there(vectors)
        return Encoding(tf.where(there > 0, (x - self._offset) / self._scale, 0.0), 1.0 - there)

    def there(self, vectors: tf.Tensor) -> tf.Tensor:
        """1 for the entries that are not missing (NaN), ``[..., 1, D, 1] -> [..., D]``."""
        return 1.0 - tf.cast(tf.math.is_nan(tf.squeeze(vectors, [-3, -1])), tf.float32)

    def restore(self, entries: tf.Tensor) -> tf.Tensor:
        """Vectors in their own units, ``[..., D] -> [..., 1, D, 1]``."""
        return (entries * self._scale + self._offset)[..., tf.newaxis, :, tf.newaxis]

    def restore_stds(self, stds: tf.Tensor) -> tf.Tensor:
        """Standard deviations in the entries' own units, ``[..., D] -> [..., 1, D, 1]``."""
        return (stds * self._scale)[..., tf.newaxis, :, tf.newaxis]

    def log_density_scale(self, there: tf.Tensor) -> tf.Tensor:
        """What turns log densities of standardised entries into those of entries, ``[...]`` nats.

        It is minus the sum of the logarithms of the scales of the entries that are there.

        Args:
          there: ``[..., D]``, 1 = not missing.
        """
        return -tf.reduce_sum(there * np.array([math.log(x) for x in self._scale], "f4"), axis=-1)

    def get_config(self):
        return super().get_config() | {"standardise": self.standardise}
