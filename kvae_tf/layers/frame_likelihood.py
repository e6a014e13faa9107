"""p(x | a) of a frame, given the decoder's output.

``log_prob`` sums over the pixels of a frame: ``[..., H, W, C] -> [...]``, in nats. ``distortion``
does, too; it is 0 where the decoder's output is the frame itself, and does not depend on the
standard deviation that a layer learns.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError

KINDS = ("bernoulli", "gaussian")
_LEAST_MEAN = 1e-3  # of a Bernoulli pixel that was always 0


@keras.saving.register_keras_serializable("kvae_tf")
class BernoulliFrames(keras.layers.Layer):
    """Independent Bernoulli pixels; the decoder gives logits."""

    variance_floor = None

    def mean(self, decoded: tf.Tensor) -> tf.Tensor:
        """Frame means in [0, 1], of the shape of ``decoded``."""
        return tf.sigmoid(decoded)

    def log_prob(self, decoded: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """log p(x | a), ``[...]`` nats: minus the cross-entropy, also for grey values.

        Args:
          decoded: logits ``[..., H, W, C]``.
          frames: ``[..., H, W, C]`` in [0, 1].
        """
        terms = tf.nn.sigmoid_cross_entropy_with_logits(labels=frames, logits=decoded)
        return -tf.reduce_sum(terms, axis=[-3, -2, -1])

    def distortion(self, decoded: tf.Tensor, frames: tf.Tensor, weights=1.0) -> tf.Tensor:
        """Weighted sum of the pixels' Kullback-Leibler divergences from the frame, ``[...]`` nats.

        Args:
          decoded: logits ``[..., H, W, C]``, or ``[H, W, C]`` for all frames.
          frames: ``[..., H, W, C]`` in [0, 1].
          weights: of the pixels, ``[H, W, C]`` or a scalar; 1 by default.
        """
        decoded = tf.broadcast_to(
            decoded, tf.broadcast_dynamic_shape(tf.shape(decoded), tf.shape(frames))
        )
        terms = tf.nn.sigmoid_cross_entropy_with_logits(labels=frames, logits=decoded)
        terms += tf.math.xlogy(frames, frames) + tf.math.xlog1py(1.0 - frames, -frames)
        return tf.reduce_sum(weights * terms, axis=[-3, -2, -1])

    def inverse_mean(self, frames: tf.Tensor) -> tf.Tensor:
        """Logits whose ``mean`` is a frame, kept between 0.001 and 0.999, ``[..., H, W, C]``."""
        frames = tf.clip_by_value(frames, _LEAST_MEAN, 1.0 - _LEAST_MEAN)
        return tf.math.log(frames) - tf.math.log1p(-frames)

    def call(self, decoded):
        return self.mean(decoded)


@keras.saving.register_keras_serializable("kvae_tf")
class GaussianFrames(keras.layers.Layer):
    """Independent Gaussian pixels; the decoder gives means, the standard deviation is learned.

    The variance is ``max(std², variance_floor)``: with noiseless data the bound would grow without
    limit, so the floor is part of every reported number. With the floor 1e-4, a frame of D pixels
    scores at most D · ½ ln(1 / (2π · 1e-4)) nats.

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      per_pixel: one standard deviation per pixel (default), else one for all pixels.
      initial_std: initial standard deviation, 0.1 by default.
      variance_floor: smallest variance, 1e-4 by default.
    """

    def __init__(self, frame_shape, per_pixel=True, initial_std=0.1, variance_floor=1e-4, **kwargs):
        super().__init__(**kwargs)
        self.frame_shape = tuple(frame_shape)
        self.per_pixel = per_pixel
        self.initial_std = initial_std
        self.variance_floor = variance_floor

    def build(self, input_shape):
        del input_shape
        self.log_std = self.add_weight(
            shape=self.frame_shape if self.per_pixel else (1,),
            initializer=keras.initializers.Constant(math.log(self.initial_std)),
            dtype="float32",
            name="log_std",
        )
        self.built = True

    @property
    def variance(self) -> tf.Tensor:
        """Pixel variances, ``[H, W, C]`` or ``[1]``, the floor applied."""
        # Below the floor a pixel's std has no gradient: there it stays for pixels without noise.
        return tf.maximum(tf.exp(2.0 * self.log_std), self.variance_floor)

    def mean(self, decoded: tf.Tensor) -> tf.Tensor:
        """Frame means in [0, 1], of the shape of ``decoded``."""
        return tf.clip_by_value(decoded, 0.0, 1.0)

    def log_prob(self, decoded: tf.Tensor, frames: tf.Tensor, variance_floor=0.0) -> tf.Tensor:
        """log p(x | a), ``[...]`` nats.

        Args:
          decoded: means ``[..., H, W, C]``.
          frames: ``[..., H, W, C]`` in [0, 1].
          variance_floor: a floor above the layer's own, a number or a scalar; 0: the layer's own
            (default).
        """
        variance = tf.maximum(self.variance, variance_floor)
        constant = tf.math.log(2.0 * math.pi * variance)
        terms = tf.square(frames - decoded) / variance + constant
        return -0.5 * tf.reduce_sum(terms, axis=[-3, -2, -1])

    def distortion(self, decoded: tf.Tensor, frames: tf.Tensor, weights=1.0) -> tf.Tensor:
        """Weighted sum of the pixels' squared errors, ``[...]``.

        Args:
          decoded: means ``[..., H, W, C]``, or ``[H, W, C]`` for all frames.
          frames: ``[..., H, W, C]`` in [0, 1].
          weights: of the pixels, ``[H, W, C]`` or a scalar; 1 by default.
        """
        return tf.reduce_sum(weights * tf.square(frames - decoded), axis=[-3, -2, -1])

    def inverse_mean(self, frames: tf.Tensor) -> tf.Tensor:
        """Decoder output whose ``mean`` is a frame: the frame itself, ``[..., H, W, C]``."""
        return frames

    def call(self, decoded):
        return self.mean(decoded)

    def get_config(self):
        return super().get_config() | {
            "frame_shape": self.frame_shape,
            "per_pixel": self.per_pixel,
            "initial_std": self.initial_std,
            "variance_floor": self.variance_floor,
        }


@keras.saving.register_keras_serializable("kvae_tf")
class GaussianValues(GaussianFrames):
    """Independent Gaussian entries of a vector, any of which may be missing (NaN).

    The decoder's output and the standard deviations are those of standardised entries; ``mean`` and
    ``log_prob`` take and return entries in their own units.

    Args:
      frame_shape: ``(1, D, 1)``.
      standardise: D means and D standard deviations of the entries.
      initial_std: initial standard deviation of a standardised entry, 0.5 by default.
      **options: other arguments of ``GaussianFrames``.
    """

    def __init__(self, frame_shape, standardise, initial_std=0.5, **options):
        super().__init__(frame_shape, initial_std=initial_std, **options)
        self.standardise = standardise
        self._offset, self._scale = (
            np.reshape(np.asarray(x, np.float32), self.frame_shape) for x in standardise
        )

    def mean(self, decoded: tf.Tensor) -> tf.Tensor:
        """Means in the entries' units, of the shape of ``decoded``."""
        return decoded * self._scale + self._offset

    @property
    def entry_variance(self) -> tf.Tensor:
        """Variances of the entries given a, in their own units, ``[1, D, 1]`` or ``[1]``."""
        return self.variance * np.square(self._scale)

    def log_prob(self, decoded: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """log p(x | a) of the entries that are not missing, ``[...]`` nats."""
        known = tf.math.logical_not(tf.math.is_nan(frames))
        x = tf.where(known, (frames - self._offset) / self._scale, decoded)
        variance = self.variance
        constant = tf.math.log(2.0 * math.pi * variance) + 2.0 * np.log(self._scale)
        terms = tf.square(x - decoded) / variance + constant
        return -0.5 * tf.reduce_sum(tf.where(known, terms, 0.0), axis=[-3, -2, -1])

    def get_config(self):
        return super().get_config() | {"standardise": self.standardise}


def frame_likelihood(
    kind: str, frame_shape, per_pixel: bool, variance_floor: float, standardise=None
):
    """The likelihood layer named by a flag; for vectors always a Gaussian one.

    Args:
      kind: ``"bernoulli"`` or ``"gaussian"``.
      frame_shape: ``(H, W, C)`` of a frame.
      per_pixel: Gaussian pixels: one standard deviation per pixel, else one for all pixels.
      variance_floor: Gaussian pixels: smallest variance.
      standardise: for vectors, means and standard deviations of their D entries; None: frames are
        images (default).

    Raises:
      UserError: ``kind`` is neither ``"bernoulli"`` nor ``"gaussian"``.
    """
    if standardise is not None:
        return GaussianValues(
            frame_shape,
            standardise,
            per_pixel=per_pixel,
            variance_floor=variance_floor,
            name="likelihood",
        )
    if kind == "bernoulli":
        return BernoulliFrames(name="likelihood")
    if kind == "gaussian":
        return GaussianFrames(
            frame_shape, per_pixel=per_pixel, variance_floor=variance_floor, name="likelihood"
        )
    raise UserError(f"likelihood is {kind!r}, expected one of {', '.join(KINDS)}")
