"""Encoders and decoders of single frames.

An encoder maps frames ``[..., H, W, C]`` to the mean and standard deviation of q(a | x); a decoder
maps encodings ``[..., m]`` to the parameters (logits or means) of p(x | a), ``[..., H, W, C]``.
Leading axes are free. Fraccaro et al. (2017), section 3.1 and appendix A.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.layers import fourier

KINDS = ("mlp", "cnn")
_FIRST_STD = 0.03  # of encodings by linear features, whose own spread is 1


class Encoding(NamedTuple):
    """q(a | x) of each frame: ``mean`` and ``std``, both ``[..., m]``."""

    mean: tf.Tensor
    std: tf.Tensor


@keras.saving.register_keras_serializable("kvae_tf")
class FrameEncoder(keras.layers.Layer):
    """q(a | x): a trunk over frames, then a mean and a bounded standard deviation.

    The variance is ``max_variance * sigmoid(.)`` (the released code's form), so that it can
    neither explode early nor leave the scale of the emission noise.

    Args:
      kind: ``"mlp"`` (dense layers) or ``"cnn"`` (3x3 convolutions of stride 2).
      encoding_size: dimension m of an encoding.
      units: widths of the dense layers, or filters of the convolutions.
      max_variance: upper bound of the encoding's variance, 1 by default.
      precision: Keras' dtype policy of the trunk, for instance ``"mixed_bfloat16"``; ``"float32"``
        by default. Encodings are always float32.
      standardise: for vectors ``[..., 1, D, 1]``, D means and D standard deviations of the entries.
        Entries may be missing (NaN): the trunk reads 0 there, and a mask as a second channel. None:
        frames are images (default).
      standardised: read (frame - ``centre``) / ``spread``, which are fixed, 0 and 1 until they are
        assigned; False by default.
      linear: add linear features of the frame to the mean, 0 until ``read_linearly``; False by
        default.

    Raises:
      UserError: ``kind`` is unknown.
    """

    def __init__(
        self,
        kind,
        encoding_size,
        units,
        max_variance=1.0,
        precision="float32",
        standardise=None,
        standardised=False,
        linear=False,
        **kwargs,
    ):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.standardise = standardise
        self.standardised = standardised
        self.kind = kind
        self.encoding_size = encoding_size
        self.units = tuple(units)
        self.max_variance = max_variance
        self.precision = precision
        self.trunk = _layers(kind, units, precision, strides=2)
        self.head = keras.layers.Dense(2 * encoding_size, dtype="float32", name="head")
        self.linear = (
            keras.layers.Dense(
                encoding_size, kernel_initializer="zeros", dtype="float32", name="linear"
            )
            if linear
            else None
        )

    def build(self, input_shape):
        *size, channels = input_shape[-3:]
        if self.linear:
            self.linear.build((None, math.prod(input_shape[-3:])))
        if self.standardised:
            self.centre, self.spread = _moments(self, input_shape[-3:])
        _build_trunk(self, (*size, channels if self.standardise is None else 2 * channels))
        self.built = True

    def call(self, frames):
        given = frames
        if self.standardise is not None:
            frames = _with_mask(frames, self.standardise)
        if self.standardised:
            frames = (frames - self.centre) / self.spread
        x = _split_lead(self.head(_run_trunk(self, frames)), frames, 3)
        mean, raw = tf.split(x, 2, axis=-1)
        if self.linear:
            mean += _split_lead(self.linear(_flatten(_merge(given, 3))), frames, 3)
        return Encoding(mean, tf.sqrt(self.max_variance * tf.sigmoid(raw) + 1e-10))

    def read_linearly(self, matrix: np.ndarray, offset: np.ndarray) -> None:
        """Makes the mean frame · ``matrix`` + ``offset``, and the standard deviation a small one.

        Args:
          matrix: ``[H · W · C, k]``, k <= m; the other m - k encodings stay as they are.
          offset: ``[k]``.
        """
        count, m = len(offset), self.encoding_size
        kernel, bias = self.head.kernel.numpy(), self.head.bias.numpy()
        share = min(_FIRST_STD**2 / self.max_variance, 0.5)
        for first, value in ((0, 0.0), (m, np.log(share / (1.0 - share)))):
            kernel[:, first : first + count] = 0.0
            bias[first : first + count] = value
        self.head.kernel.assign(kernel)
        self.head.bias.assign(bias)
        linear, shift = self.linear.kernel.numpy(), self.linear.bias.numpy()
        linear[:, :count], shift[:count] = matrix, offset
        self.linear.kernel.assign(linear)
        self.linear.bias.assign(shift)

    def get_config(self):
        return super().get_config() | {
            "kind": self.kind,
            "encoding_size": self.encoding_size,
            "units": self.units,
            "max_variance": self.max_variance,
            "precision": self.precision,
            "standardise": self.standardise,
            "standardised": self.standardised,
            "linear": self.linear is not None,
        }


@keras.saving.register_keras_serializable("kvae_tf")
class FrameFeatures(keras.layers.Layer):
    """Features of single frames, ``[..., H, W, C] -> [..., F]``, as input of other networks.

    Dense layers, or convolutions of stride 2, with ReLU; the last dense layer is linear, so that
    its output can be added to a projection of something else before the next non-linearity.

    Args:
      kind: ``"mlp"`` (dense layers) or ``"cnn"`` (3x3 convolutions of stride 2).
      units: widths of the dense layers, the last of which is F; or filters of the convolutions.
      size: number F of features, for ``"cnn"`` only; 128 by default.
      precision: Keras' dtype policy of the trunk, for instance ``"mixed_bfloat16"``; ``"float32"``
        by default. Features are always float32.

    Raises:
      UserError: ``kind`` is unknown.
    """

    def __init__(self, kind, units, size=128, precision="float32", **kwargs):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.kind = kind
        self.units = tuple(units)
        self.size = self.units[-1] if kind == "mlp" else size
        self.precision = precision
        self.trunk = _layers(kind, units[:-1] if kind == "mlp" else units, precision, strides=2)
        self.head = keras.layers.Dense(self.size, dtype="float32", name="head")

    def build(self, input_shape):
        _build_trunk(self, input_shape[-3:])
        self.built = True

    def call(self, frames):
        return _split_lead(self.head(_run_trunk(self, frames)), frames, 3)

    def get_config(self):
        return super().get_config() | {
            "kind": self.kind,
            "units": self.units,
            "size": self.size,
            "precision": self.precision,
        }


@keras.saving.register_keras_serializable("kvae_tf")
class FrameDecoder(keras.layers.Layer):
    """The network of p(x | a).

    ``"cnn"`` is the paper's: a dense layer to the smallest grid; for each upsampling a 3x3
    convolution to 4 times the filters, rearranged to twice the height and width (Shi et al. 2016);
    then a 1x1 convolution.

    Args:
      kind: ``"mlp"`` (dense layers) or ``"cnn"`` (convolutions and upsampling).
      frame_shape: ``(H, W, C)`` of a frame.
      units: widths of the dense layers, or filters of each upsampling.
      precision: Keras' dtype policy of the trunk, for instance ``"mixed_bfloat16"``; ``"float32"``
        by default. Inputs and outputs are always float32.
      standardised: give ``centre`` + ``spread`` · the network's output; both are fixed, 0 and 1
        until they are assigned, and what never changes need not be learned. False by default.
      features: number F of Fourier features, sin(Ω a) and cos(Ω a) with fixed random Ω, that are
        read beside the encoding a; 0: none (default). With them edges can be sharp, so that a small
        shift of a moves an object by a pixel (Tancik et al. 2020).

    Raises:
      UserError: ``kind`` is unknown.
    """

    def __init__(
        self,
        kind,
        frame_shape,
        units,
        precision="float32",
        standardised=False,
        features=0,
        **kwargs,
    ):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.features = features
        self.standardised = standardised
        self.kind = kind
        self.frame_shape = tuple(frame_shape)
        self.units = tuple(units)
        self.precision = precision
        height, width, channels = self.frame_shape
        if kind == "mlp":
            self.trunk = _layers(kind, units, precision)
            size = math.prod(self.frame_shape)
            self.head = keras.layers.Dense(size, dtype="float32", name="head")
        else:
            scale = 2 ** len(self.units)
            # Grids are rounded up and the picture is cropped, so any size fits.
            self.grid = (-(-height // scale), -(-width // scale), self.units[0])
            size = math.prod(self.grid)
            self.stem = keras.layers.Dense(size, dtype="float32", name="stem")
            self.trunk = _layers(kind, [4 * filters for filters in self.units], precision)
            self.head = keras.layers.Conv2D(channels, 1, dtype="float32", name="head")

    def build(self, input_shape):
        shape = (None, input_shape[-1] + 2 * self.features)
        if self.standardised:
            self.centre, self.spread = _moments(self, self.frame_shape)
        if self.features:
            self.frequencies = self.add_weight(
                shape=(input_shape[-1], self.features), trainable=False, name="frequencies"
            )
            # Encodings have a spread of about 1: four of them span the larger side of the frame.
            highest = 0.25 * np.pi * max(self.frame_shape[:2])
            self.frequencies.assign(fourier.frequencies(*self.frequencies.shape, highest))
        if self.kind == "cnn":
            self.stem.build(shape)
            shape = (None, *self.grid)
        for layer in self.trunk:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
            if self.kind == "cnn":
                shape = (None, 2 * shape[1], 2 * shape[2], shape[3] // 4)
        self.head.build(shape)
        self.built = True

    def call(self, encodings):
        x = _merge(encodings, 1)
        if self.features:
            x = fourier.with_waves(x, self.frequencies)
        if self.kind == "cnn":
            x = tf.reshape(tf.nn.relu(self.stem(x)), [-1, *self.grid])
        for layer in self.trunk:
            x = layer(x)
            if self.kind == "cnn":
                x = tf.nn.depth_to_space(x, 2)
        x = self.head(x)
        height, width, channels = self.frame_shape
        if self.kind == "cnn":
            x = x[:, :height, :width]
        lead = tf.shape(encodings)[:-1]
        x = tf.reshape(x, tf.concat([lead, self.frame_shape], axis=0))
        if self.standardised:
            x = self.centre + self.spread * x
        return tf.ensure_shape(x, [*encodings.shape[:-1], *self.frame_shape])

    def get_config(self):
        return super().get_config() | {
            "kind": self.kind,
            "frame_shape": self.frame_shape,
            "units": self.units,
            "precision": self.precision,
            "standardised": self.standardised,
            "features": self.features,
        }


def _moments(layer, shape):
    """The fixed weights ``centre`` and ``spread``, ``[H, W, C]``."""
    kinds = {"centre": "zeros", "spread": "ones"}
    return [
        layer.add_weight(shape=shape, initializer=kind, trainable=False, name=name)
        for name, kind in kinds.items()
    ]


def _with_mask(vectors, standardise):
    """Standardised entries, 0 where missing, and as a second channel which ones are there."""
    offset, scale = (np.reshape(np.asarray(x, np.float32), (1, -1, 1)) for x in standardise)
    known = tf.math.logical_not(tf.math.is_nan(vectors))
    x = tf.where(known, (vectors - offset) / scale, 0.0)
    return tf.concat([x, tf.cast(known, x.dtype)], axis=-1)


def _layers(kind, units, precision, strides=1):
    """Dense or convolutional layers of the given widths, ReLU."""
    if kind not in KINDS:
        raise UserError(f"network kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if kind == "mlp":
        return [
            keras.layers.Dense(width, activation="relu", dtype=precision, name=f"dense_{i}")
            for i, width in enumerate(units)
        ]
    return [
        keras.layers.Conv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            activation="relu",
            dtype=precision,
            name=f"conv_{i}",
        )
        for i, filters in enumerate(units)
    ]


def _build_trunk(network, frame_shape):
    """Builds the trunk and the head of a network that reads frames."""
    shape = (None, math.prod(frame_shape)) if network.kind == "mlp" else (None, *frame_shape)
    for layer in network.trunk:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
    network.head.build((None, math.prod(shape[1:])))


def _run_trunk(network, frames):
    """The trunk's output ``[N, k]`` for frames ``[..., H, W, C]``."""
    x = _merge(frames, 3)
    if network.kind == "mlp":
        x = _flatten(x)
    for layer in network.trunk:
        x = layer(x)
    return _flatten(x)


def _merge(x, rank):
    """All leading axes as one: ``[..., *last rank axes] -> [N, ...]``."""
    return tf.reshape(x, [-1, *x.shape[-rank:]])


def _flatten(x):
    return tf.reshape(x, [-1, math.prod(x.shape[1:])])


def _split_lead(x, like, rank):
    """The leading axes of ``like`` (all but its last ``rank``) put back on ``[N, k]``."""
    lead = tf.shape(like)[: like.shape.rank - rank]
    x_split = tf.reshape(x, tf.concat([lead, [x.shape[-1]]], axis=0))
    return tf.ensure_shape(x_split, [*like.shape[:-rank], x.shape[-1]])
