r"""The filter and the smoother as associative scans: depth log T instead of T.

Särkkä and García-Fernández (2021). Step t is the element (A, b, C, eta, J) that describes

    p(z_t | y_t, z_{t-1}) = N(z_t; A z_{t-1} + b, C)
    p(y_t | z_{t-1})      ∝ exp(etaᵀ z_{t-1} - ½ z_{t-1}ᵀ J z_{t-1})

and two neighbours join into one element of the same form. The prefix products hold the filtered
moments (b, C); the suffix products hold the information of later steps on z_t (eta, J):

    P_{t|T} = (I + P J)⁻¹ P,    x_{t|T} = (I + P J)⁻¹ (x + P eta)

so one operator serves both directions. Missing observations are rows of zeros in C_t with unit
noise. Everything is batch-first, ``[B, T, ...]``, and differentiated by TensorFlow.

All tensors are float64: joining long stretches of time cancels more digits than float32 has, and
products of float64 matrices are out of TensorFloat-32's reach.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from kvae_tf.lgssm.model import LGSSM
from kvae_tf.lgssm.results import FilterResult, SmoothResult


class Element(NamedTuple):
    """One step, or several joined: ``[..., n, n]`` A, C, J and ``[..., n]`` b, eta."""

    A: tf.Tensor
    b: tf.Tensor
    C: tf.Tensor
    eta: tf.Tensor
    J: tf.Tensor


def filter(model: LGSSM, observations: tf.Tensor, observed: tf.Tensor) -> FilterResult:
    """The Kalman filter by a prefix scan.

    Args:
      model: float64, broadcast to ``[B, T, ...]``.
      observations: ``[B, T, m]``, finite.
      observed: ``[B, T, m]``, 1 = seen.

    Returns:
      A ``FilterResult``.
    """
    result, _ = _filter(model, observations, observed)
    return result


def smooth(model: LGSSM, observations: tf.Tensor, observed: tf.Tensor) -> SmoothResult:
    """The Kalman smoother by a prefix and a suffix scan.

    Args:
      model: float64, broadcast to ``[B, T, ...]``.
      observations: ``[B, T, m]``, finite.
      observed: ``[B, T, m]``, 1 = seen.

    Returns:
      A ``SmoothResult``.
    """
    result, elements = _filter(model, observations, observed)
    # The information of y_{t+1:T} on z_t: the product of the elements after t.
    later = tf.nest.map_structure(lambda x: tf.reverse(x[:, 1:], axis=[1]), elements)
    suffix = _scan(lambda first, second: _join(second, first), later)
    eta, J = (
        tf.concat([tf.reverse(x, axis=[1]), tf.zeros_like(full[:, :1])], axis=1)
        for x, full in ((suffix.eta, elements.eta), (suffix.J, elements.J))
    )
    x, P = result.filtered_means, result.filtered_covariances
    shrink = _eye_like(P) + P @ J
    stacked = tf.linalg.solve(shrink, tf.concat([P, (x + _mv(P, eta))[..., tf.newaxis]], axis=-1))
    smoothed_covariances = _symmetrise(stacked[..., :-1])
    # cov(z_t, z_{t+1} | y_{1:t+1}) = P_t Aᵀ (I - K C)ᵀ, then shrunk by the future of z_{t+1}.
    C, r = _masked_emission(model, observed)
    keep = _update_gain(C, r, result.predicted_covariances)[1][:, 1:]
    cross = tf.matmul(P[:, :-1] @ _t(model.transition[:, :-1]), keep, transpose_b=True)
    cross = _t(tf.linalg.solve(shrink[:, 1:], _t(cross)))
    return SmoothResult(
        result.log_likelihood, stacked[..., -1], smoothed_covariances, cross, result
    )


def _filter(model, observations, observed):
    C, r = _masked_emission(model, observed)
    elements = _elements(model, observations, C, r)
    prefix = _scan(_join, elements)
    means, covariances = prefix.b, _symmetrise(prefix.C)
    A, b, q = (x[:, :-1] for x in model[:3])
    later_mean = _mv(A, means[:, :-1]) + b
    later_covariance = _symmetrise(A @ covariances[:, :-1] @ _t(A)) + tf.linalg.diag(q)
    predicted_means = tf.concat([model.initial_mean[:, tf.newaxis], later_mean], axis=1)
    predicted_covariances = tf.concat(
        [model.initial_covariance[:, tf.newaxis], later_covariance], axis=1
    )
    # log N of the innovations; a masked row adds log N(0; 0, 1), taken out with the constant.
    factor = tf.linalg.cholesky(C @ predicted_covariances @ _t(C) + tf.linalg.diag(r))
    innovation = observations - _mv(C, predicted_means)
    white = tf.linalg.triangular_solve(factor, innovation[..., tf.newaxis])[..., 0]
    log_det = 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)), axis=[1, 2])
    constant = math.log(2.0 * math.pi) * tf.reduce_sum(observed, axis=[1, 2])
    log_likelihood = -0.5 * (tf.reduce_sum(tf.square(white), axis=[1, 2]) + log_det + constant)
    result = FilterResult(
        log_likelihood, means, covariances, predicted_means, predicted_covariances
    )
    return result, elements


def _elements(model, observations, C, r):
    """The element of every step, ``[B, T, ...]``; the first holds the initial moments."""
    first = tf.concat([tf.ones_like(r[:, :1, :1]), tf.zeros_like(r[:, 1:, :1])], axis=1)
    shift = lambda x: tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], axis=1)  # noqa: E731
    A, b = shift(model.transition), shift(model.transition_offset)
    Q = tf.linalg.diag(shift(model.transition_noise))
    b = b + first * model.initial_mean[:, tf.newaxis]
    Q = Q + first[..., tf.newaxis] * _symmetrise(model.initial_covariance)[:, tf.newaxis]
    gain, keep, weighted = _update_gain(C, r, Q)  # K, I - K C, S⁻¹ C
    residual = observations - _mv(C, b)
    back = tf.matmul(weighted, A)  # S⁻¹ C A
    return Element(
        A=keep @ A,
        b=b + _mv(gain, residual),
        C=_symmetrise(keep @ Q),
        eta=_mv(_t(back), residual),
        J=_symmetrise(_t(C @ A) @ back),
    )


def _update_gain(C, r, P):
    """K = P Cᵀ S⁻¹, I - K C and S⁻¹ C with S = C P Cᵀ + diag(r)."""
    factor = tf.linalg.cholesky(C @ P @ _t(C) + tf.linalg.diag(r))
    weighted = tf.linalg.cholesky_solve(factor, C)
    gain = P @ _t(weighted)
    return gain, _eye_like(P) - gain @ C, weighted


def _join(first, second):
    """The element of two stretches of time, ``first`` before ``second``."""
    A1, b1, C1, eta1, J1 = first
    A2, b2, C2, eta2, J2 = second
    forward = _eye_like(C1) + C1 @ J2
    # (I + C1 J2)⁻¹ applied to what the first stretch leaves at the border.
    border = (b1 + _mv(C1, eta2))[..., tf.newaxis]
    solved = tf.linalg.solve(forward, tf.concat([A1, C1, border], axis=-1))
    n = A1.shape[-1]
    DA, DC, Db = solved[..., :n], solved[..., n : 2 * n], solved[..., -1]
    return Element(
        A=A2 @ DA,
        b=_mv(A2, Db) + b2,
        C=_symmetrise(A2 @ DC @ _t(A2)) + C2,
        # (I + J2 C1)⁻¹ = ((I + C1 J2)⁻¹)ᵀ, so A1ᵀ (I + J2 C1)⁻¹ = DAᵀ.
        eta=_mv(_t(DA), eta2 - _mv(J2, b1)) + eta1,
        J=_symmetrise(_t(DA) @ J2 @ A1) + J1,
    )


def _scan(join, elements):
    """All prefix products along the time axis."""
    if elements.b.shape[1] is not None:
        return tfp.math.scan_associative(join, elements, axis=1)
    # TFP's recursion needs the length; by doubling, the depth is the same at log T times the work.
    steps = tf.range(tf.shape(elements.b)[1])

    def double(distance, elements):
        source = tf.maximum(steps - distance, 0)
        earlier = tf.nest.map_structure(lambda x: tf.gather(x, source, axis=1), elements)
        joined = join(earlier, elements)

        def pick(new, old):
            reached = tf.reshape(steps >= distance, [1, -1] + [1] * (old.shape.rank - 2))
            return tf.ensure_shape(tf.where(reached, new, old), old.shape)

        return 2 * distance, tf.nest.map_structure(pick, joined, elements)

    _, elements = tf.while_loop(
        lambda distance, _: distance < tf.size(steps), double, (tf.constant(1), elements)
    )
    return elements


def _masked_emission(model, observed):
    emission = model.emission * observed[..., tf.newaxis]
    noise = tf.where(observed > 0, model.emission_noise, tf.ones_like(model.emission_noise))
    return emission, noise


def _mv(a, x):
    return tf.linalg.matvec(a, x)


def _t(a):
    return tf.linalg.matrix_transpose(a)


def _symmetrise(a):
    return 0.5 * (a + _t(a))


def _eye_like(a):
    return tf.eye(a.shape[-1], dtype=a.dtype)
