r"""A map that straightens positions: along it objects move as Newton's laws say.

Attention and renderer agree on positions up to any smooth map of the plane. One that bends it makes
parabolas into other curves, which the motion then takes for noise. ``straighten`` finds the
polynomial map under which the paths of single objects are bent alike, in closed form: among all
polynomials p of the readings y it takes those that minimise

    Var[p(y_{t+k}) - 2 p(y_t) + p(y_{t-k})] / Var[p(y_t)]

(``linear_features`` does the same with pixels), and of these the combination that is nearest to the
readings. Noise of the readings would count as bends, so y are averages: along each path, the
polynomial of time of degree 6 that is nearest to what was read. What attention reads then goes
through this map, and what the renderer is given through a polynomial that is fitted as its inverse,
so that frames are drawn as before.
"""

from __future__ import annotations

import itertools

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.models.linear_features import second_differences, smoothest

_TIME_DEGREE = 6  # of the polynomials that paths are averaged by
_SHARE = 1e-3  # of the points at either end of a coordinate, which may lie beyond the box
_LEAST = 1e-9  # variance of the monomials' directions that count, as a share of the largest


@keras.saving.register_keras_serializable("kvae_tf")
class PolynomialMap(keras.layers.Layer):
    """A polynomial of all coordinates within a box; beyond it, it goes on with slope 1.

    It starts as the identity. ``fit`` sets it; gradients do not learn it.

    Args:
      size: number m of coordinates.
      degree: largest degree of a monomial, at least 1.
    """

    def __init__(self, size, degree, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.degree = degree
        powers = itertools.product(range(degree + 1), repeat=size)
        self._powers = np.array(sorted((p for p in powers if sum(p) <= degree), key=sum))  # [P, m]

    def build(self, input_shape=None):
        """Creates the weights; the number of coordinates is known."""
        del input_shape
        m = self.size
        start = np.zeros((len(self._powers), m), np.float32)
        for power, row in zip(self._powers, start, strict=True):
            row[:] = power if power.sum() == 1 else 0.0

        def weight(name, value):
            return self.add_weight(
                shape=value.shape, initializer=_constant(value), trainable=False, name=name
            )

        self.centre = weight("centre", np.zeros(m, np.float32))
        self.half_width = weight("half_width", np.ones(m, np.float32))
        self.coefficients = weight("coefficients", start)
        self.built = True

    def call(self, x):
        """``[..., m] -> [..., m]``."""
        inside, beyond = self._split(x)
        return tf.tensordot(self._monomials(inside), self.coefficients, 1) + beyond

    def image_std(self, x, std):
        """Standard deviations of the image of independent coordinates, to first order.

        Args:
          x: means, ``[..., m]``.
          std: standard deviations, ``[..., m]``.
        """
        inside, _ = self._split(x)
        square = 0.0
        for i, factor in enumerate(self._powers.T):
            lower = np.maximum(self._powers - np.eye(self.size, dtype=int)[i], 0)
            slope = self._monomials(inside, lower) * factor.astype(np.float32)
            slope = tf.tensordot(slope, self.coefficients, 1) / self.half_width[i]
            square += tf.square(slope * std[..., i : i + 1])
        return tf.sqrt(square)

    def monomials(self, points: np.ndarray) -> np.ndarray:
        """Sets the box to that of points, and takes their monomials: ``[N, m] -> [N, P]``.

        Args:
          points: the points that the map is for, ``[N, m]``.
        """
        low, high = np.quantile(points, [_SHARE, 1.0 - _SHARE], axis=0)
        self.centre.assign((low + high) / 2.0)
        self.half_width.assign(np.maximum((high - low) / 2.0, 1e-6))
        centre, half_width = (np.asarray(x, np.float64) for x in (self.centre, self.half_width))
        inside = np.clip((points - centre) / half_width, -1.0, 1.0)
        return np.prod(inside[..., np.newaxis, :] ** self._powers, axis=-1)

    def _split(self, x):
        """Points in the box, in half widths from its centre; and what is beyond it."""
        scaled = (x - self.centre) / self.half_width
        inside = tf.clip_by_value(scaled, -1.0, 1.0)
        return inside, (scaled - inside) * self.half_width

    def _monomials(self, inside, powers=None):
        powers = self._powers if powers is None else powers
        columns = [[tf.ones_like(inside[..., 0])] for _ in range(self.size)]
        for i, column in enumerate(columns):
            for _ in range(self.degree):
                column.append(column[-1] * inside[..., i])
        products = [
            tf.reduce_prod(tf.stack([columns[i][p] for i, p in enumerate(row)], -1), -1)
            for row in powers
        ]
        return tf.stack(products, axis=-1)

    def get_config(self):
        return super().get_config() | {"size": self.size, "degree": self.degree}


def straighten(there: PolynomialMap, back: PolynomialMap, readings: np.ndarray) -> np.ndarray:
    """Sets both maps from paths of single objects.

    Args:
      there: from readings to positions; is changed.
      back: from positions to readings; is changed.
      readings: y, ``[L, T, m]``, of at least three steps.

    Returns:
      The acceleration along the straightened paths, ``[m]``, per step and step.
    """
    readings = _averaged(np.asarray(readings, np.float64))
    L, T, m = readings.shape
    lag = max(1, T // 3)
    rows = readings.reshape(-1, m)
    features = there.monomials(rows)[:, 1:]  # without the constant
    seen = np.ones((L, T), bool)
    bends, _ = second_differences(features.reshape(L, T, -1), seen, lag=lag)
    matrix, _ = smoothest(features, bends, m, _LEAST, "--map_degree")
    extended = _with_constant(features @ matrix)
    nearest = np.linalg.lstsq(extended, rows, rcond=None)[0]
    there.coefficients.assign(np.concatenate([nearest[:1], matrix @ nearest[1:]]))
    positions = extended @ nearest
    _fit(back, positions, rows)
    bends, _ = second_differences(positions.reshape(L, T, m), seen, lag=lag)
    return bends.mean(axis=0) / lag**2


def straighten_to(
    there: PolynomialMap, back: PolynomialMap, readings: np.ndarray, features: np.ndarray
) -> None:
    """Sets both maps such that readings become features that are straight already.

    Paths that bounce are bent at single steps, and the noise of readings hides by how much. So the
    plane is that of linear features of the frames themselves, which have no noise.

    Args:
      there: from readings to positions; is changed.
      back: from positions to readings; is changed.
      readings: y, ``[N, m]``.
      features: of the same frames, ``[N, m]``; of all their affine images the nearest to the
        readings counts.
    """
    rows, extended = np.asarray(readings, np.float64), _with_constant(features)
    straight = extended @ np.linalg.lstsq(extended, rows, rcond=None)[0]
    _fit(back, _fit(there, rows, straight), rows)


def _fit(layer, points, images):
    """Sets a map by least squares, and returns where it takes the points; all ``[N, m]``."""
    monomials = layer.monomials(points)
    coefficients = np.linalg.lstsq(monomials, images, rcond=None)[0]
    layer.coefficients.assign(coefficients)
    return monomials @ coefficients


def _averaged(paths):
    """Each coordinate of ``[L, T, m]`` as the nearest polynomial of time."""
    times = np.linspace(-1.0, 1.0, paths.shape[1])
    powers = np.polynomial.legendre.legvander(times, min(_TIME_DEGREE, len(times) - 1))
    basis = np.linalg.qr(powers)[0]
    return np.einsum("ik,jk,ljm->lim", basis, basis, paths, optimize=True)


def _with_constant(features):
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def _constant(value):
    return lambda shape, dtype=None: tf.constant(value, dtype or tf.float32)
