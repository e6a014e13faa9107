r"""Linear Gaussian dynamics in continuous time, discretised exactly.

    dz = (F z + b) dt + dW,    W of spectral density diag(s): cov(W_{t+Δ} - W_t) = diag(s) Δ

Between two times that lie Δ apart, with F, b and s constant, this is a step of an LGSSM
(Särkkä and Solin 2019, section 6.2):

    A = e^{FΔ},    offset = ∫_0^Δ e^{Fu} b du,    Q = ∫_0^Δ e^{Fu} diag(s) e^{Fᵀu} du

A and the offset are blocks of the exponential of [[F, b], [0, 0]] Δ, and Q follows from that of
van Loan's (1978) matrix [[F, diag(s)], [0, -Fᵀ]] Δ. Both are computed by scaling and squaring, here
block by block: a Taylor series over Δ / 2^k, then k times

    A <- A A,    offset <- A offset + offset,    Q <- A Q Aᵀ + Q

so that the exponential of -F is never formed, which overflows where a stable system runs for long,
and Q is a sum of positive terms. Instead of A it is E = A - I that is squared, E <- 2 E + E², which
keeps its digits for a short time. All of it is in float64, as in the rest of the package.

Q is a full matrix, but the engine takes diagonal noise. ``decorrelated`` changes coordinates: with
Q_t = U_t D_t U_tᵀ, U_t upper triangular with a diagonal of ones, the states U_t⁻¹ z_{t+1} have the
noise D_t. Likelihoods stay as they are, as U_t has the determinant 1.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kvae_tf.lgssm import steps
from kvae_tf.lgssm.model import LGSSM

# The series is exact to float64 for |F| Δ up to 15,000, and to 1e-6 for LARGEST.
_SQUARINGS = 18
_TERMS = 8
LARGEST = 60_000.0  # largest |F| Δ, the sum of a row


class Discretised(NamedTuple):
    """One step of the dynamics, for each of several times.

    Attributes:
      transition: A, ``[..., n, n]``.
      offset: ``[..., n]``.
      noise: Q, ``[..., n, n]``, full covariances.
    """

    transition: tf.Tensor
    offset: tf.Tensor
    noise: tf.Tensor


def discretise(drift, offset, density, interval) -> Discretised:
    """The steps of continuous dynamics over given times, batch-first.

    >>> step = discretise([[0.0, 1.0], [0.0, 0.0]], [0.0, 0.0], [0.0, 3.0], 2.0)
    >>> step.transition.numpy().tolist(), step.noise.numpy().round(6).tolist()
    ([[1.0, 2.0], [0.0, 1.0]], [[8.0, 6.0], [6.0, 6.0]])

    Args:
      drift: F, ``[..., n, n]``, per unit of time.
      offset: b, ``[..., n]``, per unit of time; controls held over the step are part of it.
      density: s, ``[..., n]``, variances per unit of time.
      interval: Δ, ``[...]``, not negative. All four are broadcast against each other.

    Returns:
      ``Discretised``, float64; NaN where Δ is negative, or the largest sum |F| of a row's absolute
      values, times Δ, is beyond ``LARGEST``.
    """
    drift, offset, density, interval = (
        tf.cast(tf.convert_to_tensor(x), tf.float64) for x in (drift, offset, density, interval)
    )
    n = drift.shape[-1]
    lead = tf.zeros_like(drift[..., 0, 0] + offset[..., 0] + density[..., 0] + interval)
    leading = [steps.length(lead, axis) for axis in range(lead.shape.rank)]

    def flat(x, *size):
        x += lead[(..., *[tf.newaxis] * len(size))]
        return steps.batch_last(tf.reshape(x, [-1, *size]))

    found = discretise_batch_last(
        flat(drift, n, n), flat(offset, n), flat(density, n), flat(interval)
    )
    return Discretised(*(
        tf.reshape(steps.batch_first(x), [*leading, *x.shape[:-1]]) for x in found
    ))  # fmt: skip


def discretise_batch_last(drift, offset, density, interval) -> Discretised:
    """``discretise`` in the batch-last layout of ``steps``.

    Args:
      drift: ``[n, n, B]`` float64.
      offset: ``[n, B]``.
      density: ``[n, B]``.
      interval: ``[B]``.

    Returns:
      ``Discretised``: ``[n, n, B]``, ``[n, B]`` and ``[n, n, B]``.
    """
    size = tf.reduce_max(tf.reduce_sum(tf.abs(drift), axis=1), axis=0) * interval
    is_right = (interval >= 0.0) & (size <= LARGEST)
    h = tf.where(is_right, interval, float("nan")) / 2.0**_SQUARINGS
    x = drift * h
    zeros = tf.zeros_like(x)
    one = steps.add_diagonal(zeros, tf.ones_like(zeros[0]))
    series, moved = one, offset
    for j in range(_TERMS, 1, -1):
        series = one + steps.matmul(x, series) / j
        moved = offset + steps.matvec(x, moved) / j
    change, moved = steps.matmul(x, series), h * moved
    term = steps.add_diagonal(zeros, h * density)
    noise = term
    for j in range(2, _TERMS + 1):
        half = steps.matmul(x, term)
        term = (half + steps.transpose(half)) / j
        noise += term
    for _ in range(_SQUARINGS):
        moved += moved + steps.matvec(change, moved)
        noise += steps.congruence(one + change, noise)
        change += change + steps.matmul(change, change)
    return Discretised(one + change, moved, noise)


class Decorrelated(NamedTuple):
    """A model in coordinates in which its transition noise is diagonal.

    Attributes:
      model: the ``LGSSM`` of the states w_t.
      basis: ``[B, T, n, n]``, the states are z_t = basis_t w_t; triangular, ones on the diagonal.
    """

    model: LGSSM
    basis: tf.Tensor


def decorrelated(model: LGSSM, noise: tf.Tensor) -> Decorrelated:
    """A model with full covariances of the transition noise, as one with diagonal ones.

    Args:
      model: with ``transition [B, T, n, n]``, ``transition_offset [B, T, n]`` and
        ``emission [B, T, m, n]``; its ``transition_noise`` is not read.
      noise: Q, ``[B, T, n, n]``, symmetric and positive semidefinite.

    Returns:
      ``Decorrelated``, of the dtype of ``model.emission``.
    """
    dtype = model.emission.dtype
    factor, variances = upper_factor(tf.cast(noise, tf.float64))
    first = tf.linalg.eye(factor.shape[-1], batch_shape=tf.shape(factor)[:1], dtype=tf.float64)
    basis = tf.concat([first[:, tf.newaxis], factor[:, :-1]], axis=1)
    back = _inverse(factor)
    transition = _product(_product(back, tf.cast(model.transition, tf.float64)), basis)
    offset = tf.cast(model.transition_offset, tf.float64)
    offset = tf.reduce_sum(back * offset[..., tf.newaxis, :], axis=-1)
    emission = _product(tf.cast(model.emission, tf.float64), basis)
    fields = steps.cast((transition, offset, variances, emission, basis), dtype)
    transition, offset, variances, emission, basis = fields
    model = model._replace(
        transition=transition,
        transition_offset=offset,
        transition_noise=variances,
        emission=emission,
    )
    return Decorrelated(model, basis)


def upper_factor(covariance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """U and d with U diag(d) Uᵀ = covariance, U upper triangular with ones on the diagonal.

    Args:
      covariance: ``[..., n, n]``, symmetric and positive semidefinite; zeros are allowed.

    Returns:
      U ``[..., n, n]`` and d ``[..., n]``, not negative.
    """
    n, rest = covariance.shape[-1], covariance
    columns, variances = [], []
    for j in reversed(range(n)):
        pivot = tf.maximum(rest[..., j, j], 0.0)
        above = tf.constant([float(i < j) for i in range(n)], rest.dtype)
        unit = tf.one_hot(j, n, dtype=rest.dtype)
        safe = tf.where(pivot > 0.0, pivot, 1.0)[..., tf.newaxis]
        column = tf.where(pivot[..., tf.newaxis] > 0.0, above * rest[..., j] / safe, 0.0) + unit
        rest -= pivot[..., tf.newaxis, tf.newaxis] * (
            column[..., :, tf.newaxis] * column[..., tf.newaxis, :]
        )
        columns.insert(0, column)
        variances.insert(0, pivot)
    return tf.stack(columns, axis=-1), tf.stack(variances, axis=-1)


def _inverse(factor):
    """The inverse of an upper triangular matrix with ones on the diagonal, ``[..., n, n]``."""
    n = factor.shape[-1]
    rows = [None] * n
    for i in reversed(range(n)):
        row = tf.one_hot(i, n, dtype=factor.dtype) + 0.0 * factor[..., i, :]
        for j in range(i + 1, n):
            row -= factor[..., i, j, tf.newaxis] * rows[j]
        rows[i] = row
    return tf.stack(rows, axis=-2)


def _product(a, b):
    return tf.reduce_sum(a[..., :, :, tf.newaxis] * b[..., tf.newaxis, :, :], axis=-2)
