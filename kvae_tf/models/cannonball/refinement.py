r"""Readings made anew: the middle of the light near where an object is expected.

Attention reads all objects of a frame at once, and where there are several its readings are off by
more than those of one. The motion then knows better where to look. Each pixel p has a place g_p in
the plane of the motion, and an object at a lights up pixels around it, with covariance S. So the
light v_p of a frame is a mixture of one Gaussian for each object, and some rounds of expectation
maximisation for mixtures, which begin at the expected positions a⁰, say where objects are:

    w_p^n <- v_p N(g_p; a^n, S) / Σ_k N(g_p; a^k, S)
    a^n   <- (Σ_p w_p^n g_p + a⁰) / (Σ_p w_p^n + 1)

An object that others hide has little light of its own. Its reading has the variance

    R = exp(2 λ + κ max(1 - Σ_p w_p^n / M, 0))

where M is the light of an object that is seen whole.

======  =====================  ==================
letter  name                   shape
======  =====================  ==================
v       light                  ``[..., P]``
g       ``places``             ``[P, m]``
S       ``covariance``         ``[m, m]``
a       positions              ``[..., N, m]``
M       ``whole``              ``[]``
λ       ``log_std``            ``[m]``
κ       ``hidden_rate``        ``[]``
======  =====================  ==================

P = H · W is the number of pixels. The light of a pixel is its distance from the background, the
mean over channels. Places, covariance, background and M are fitted once, to frames of few objects
whose positions are known; λ and κ are learned.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.layers.frame_networks import Encoding

_STEPS = 3  # of expectation maximisation
_BACKGROUND = 0.03  # density of light that is no object's, of that in an object's middle
_FIRST_STD = 0.2  # of a reading, of the size of an object
_FIRST_RATE = 5.5  # a hidden object's standard deviation is exp(5.5 / 2) = 16 times as large
_BEND = 1.0  # weight of the places' second differences
_BACKGROUND_FRAMES = 2000
_THINNEST = 1e-3  # size along the shorter axis, of that along the longer one


@keras.saving.register_keras_serializable("kvae_tf")
class LightReadings(keras.layers.Layer):
    """The middle of the light near expected positions; until ``fit`` nothing is known of a pixel.

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      position_size: dimension m of a position, 2 by default.
    """

    def __init__(self, frame_shape, position_size=2, **kwargs):
        super().__init__(**kwargs)
        self.frame_shape = tuple(frame_shape)
        self.position_size = position_size

    def build(self, input_shape=None):
        """Creates the variables; their shapes are known."""
        del input_shape
        height, width, _ = self.frame_shape
        m = self.position_size

        def weight(name, shape, start="zeros", trainable=False):
            return self.add_weight(shape=shape, initializer=start, trainable=trainable, name=name)

        self.is_fitted = weight("is_fitted", ())
        self.background = weight("background", self.frame_shape)
        self.places = weight("places", (height * width, m))
        self.covariance = weight("covariance", (m, m), "identity")
        self.whole = weight("whole", (), "ones")
        self.log_std = weight("log_std", (m,), trainable=True)
        rate = keras.initializers.Constant(_FIRST_RATE)
        self.hidden_rate = weight("hidden_rate", (), rate, trainable=True)
        self.built = True

    def call(self, frames, expected, present):
        """An ``Encoding`` of readings and their standard deviations, ``[..., N, m]``.

        No gradient flows to the positions.

        Args:
          frames: ``[..., H, W, C]``.
          expected: positions, ``[..., N, m]``.
          present: ``[..., N]``, 1 = the object is present; others keep their positions.
        """
        shape = tf.shape(expected)
        count, m = expected.shape[-2:]
        start = tf.reshape(tf.stop_gradient(expected), [-1, count, m])
        present = tf.reshape(present, [-1, count, 1])
        light = tf.reshape(self.light(frames), [-1, 1, self.places.shape[0]])
        to_unit = tf.linalg.inv(tf.linalg.cholesky(self.covariance))
        places = tf.matmul(self.places, to_unit, transpose_b=True)
        lengths = tf.reduce_sum(tf.square(places), axis=-1)
        positions = start
        for _ in range(_STEPS):
            inside = tf.tensordot(positions, to_unit, [[-1], [-1]])
            log_density = (
                tf.tensordot(inside, places, [[-1], [-1]])
                - 0.5 * lengths
                - 0.5 * tf.reduce_sum(tf.square(inside), axis=-1, keepdims=True)
            )
            density = present * tf.exp(tf.minimum(log_density, 0.0))  # [B, N, P]
            share = density / (tf.reduce_sum(density, axis=1, keepdims=True) + _BACKGROUND)
            share *= light
            mass = tf.reduce_sum(share, axis=-1, keepdims=True)
            middle = (tf.tensordot(share, self.places, 1) + start) / (mass + 1.0)
            positions = tf.where(present > 0, middle, start)
        hidden = tf.stop_gradient(tf.maximum(1.0 - mass / self.whole, 0.0))
        std = tf.exp(self.log_std + 0.5 * self.hidden_rate * hidden)
        return Encoding(*(tf.reshape(x, shape) for x in (tf.stop_gradient(positions), std)))

    def light(self, frames):
        """``[..., H, W, C] -> [..., H · W]``."""
        away = tf.reduce_mean(tf.abs(frames - self.background), axis=-1)
        return tf.reshape(away, tf.concat([tf.shape(away)[:-2], [self.places.shape[0]]], axis=0))

    def fit(self, frames: np.ndarray, positions: np.ndarray) -> None:
        """Fits all variables to frames whose objects are known, in closed form.

        The places are those for which the middles of the light are nearest to the positions' means,
        with small second differences between neighbours, so that pixels which are never lit have a
        place as well. Light is scattered around positions; so that this does not draw places
        together, the best affine map from positions to middles is taken back.

        Args:
          frames: ``[L, H, W, C]`` float32 in [0, 1].
          positions: where the objects are, ``[L, N, m]``.

        Raises:
          UserError: half of the frames show nothing but the background, or objects do not move in
            all directions.
        """
        every = max(len(frames) // _BACKGROUND_FRAMES, 1)
        self.background.assign(np.median(frames[::every], axis=0))
        light = self.light(frames).numpy()
        mass = light.sum(axis=-1)
        if not np.median(mass) > 0:
            raise UserError(
                "half of the frames show nothing but the background, expected an object in each "
                "frame with --refinements"
            )
        is_lit = mass > 0.5 * np.median(mass)
        shares = light[is_lit] / mass[is_lit, np.newaxis]
        positions = positions[is_lit].astype(np.float64)
        centre = positions.mean(axis=(0, 1))
        positions -= centre
        means = positions.mean(axis=1)
        extent = np.linalg.svd(means, compute_uv=False)
        if extent[-1] < _THINNEST * extent[0]:
            raise UserError("objects do not move in all directions, as --refinements expects")
        square = (shares.T @ shares).astype(np.float64)
        square += _BEND * np.trace(square) / len(square) * _bending(*self.frame_shape[:2])
        right = shares.T @ means.astype(np.float32)
        places = np.linalg.solve(square, right.astype(np.float64))
        extended = np.concatenate([np.ones((len(means), 1)), means], axis=1)
        affine = np.linalg.lstsq(extended, shares @ places, rcond=None)[0]
        places = (places - affine[0]) @ np.linalg.inv(affine[1:])
        covariance = np.einsum("p,pi,pj->ij", shares.mean(axis=0), places, places)
        covariance -= np.einsum("lni,lnj->ij", positions, positions) / positions[..., 0].size
        self.places.assign(places + centre)
        sizes, axes = np.linalg.eigh(covariance)
        covariance = (axes * np.maximum(sizes, _THINNEST * sizes.max())) @ axes.T
        self.covariance.assign(covariance)
        self.whole.assign(np.median(mass[is_lit]) / positions.shape[1])
        self.log_std.assign(np.log(_FIRST_STD) + 0.5 * np.log(np.diagonal(covariance)))
        self.is_fitted.assign(1.0)

    def get_config(self):
        return super().get_config() | {
            "frame_shape": self.frame_shape,
            "position_size": self.position_size,
        }


def _bending(height, width):
    """The quadratic form of second differences along rows and columns, ``[P, P]``."""
    down, across = (np.diff(np.eye(size), 2, axis=0) for size in (height, width))
    columns = np.kron(down.T @ down, np.eye(width))
    return columns + np.kron(np.eye(height), across.T @ across)
