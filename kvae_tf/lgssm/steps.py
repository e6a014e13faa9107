r"""The Kalman recursions for one time step, in the batch-last layout.

Small matrices of a large batch are fastest when the batch is the contiguous axis: ``P[n, n, B]``,
``A[n, n, B]``, ``x[n, B]``, ``y[m, B]``. A product of small matrices is then an elementwise product
and a sum, which XLA fuses and vectorises over the batch. Leading axes are free: the algebra below
takes ``[..., n, n, B]``, so what needs no recursion is done for all time steps at once.

Observation noise is diagonal, so a frame of m numbers is m scalar observations, each a rank-1
update without any factorisation. For row c of C, with g = 1/s where observed and 0 elsewhere:

    v = y_i - c·x            innovation
    s = c·P c + r_i          its variance
    k = P c g                gain
    x <- x + k v
    P <- P - (P c)(P c)ᵀ g

The products are sums of elementwise products and not ``tf.matmul``: they keep the accuracy of their
dtype whatever ``tf.config.experimental.enable_tensor_float_32_execution`` says. Float64 matrices of
more than 16 rows and columns, which it does not reach, are faster by ``tf.matmul``.

The downdate is computed as ``u uᵀ`` with ``u = P c √g``: symmetric to the bit however it is
compiled.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_MOST_SUMMED = 16  # rows or columns of products by sums


class Update(NamedTuple):
    """Results of observing one frame (batch-last).

    Attributes:
      mean: ``[n, B]`` filtered mean.
      covariance: ``[n, n, B]`` filtered covariance.
      gains: ``[m, n, B]``, the k of each scalar observation (0 where unobserved).
      innovations: ``[m, B]``, the v (0 where unobserved).
      variances: ``[m, B]``, the s (1 where unobserved).
    """

    mean: tf.Tensor
    covariance: tf.Tensor
    gains: tf.Tensor
    innovations: tf.Tensor
    variances: tf.Tensor


def cast(tensors, dtype: tf.DType):
    """Every tensor of a nested structure in ``dtype``; None stays None."""
    return tf.nest.map_structure(lambda x: None if x is None else tf.cast(x, dtype), tensors)


def length(x: tf.Tensor, axis: int) -> int | tf.Tensor:
    """The length of an axis: an int where it is known, or a scalar tensor."""
    return x.shape[axis] or tf.shape(x)[axis]


def batch_last(x: tf.Tensor) -> tf.Tensor:
    """``[B, ...] -> [..., B]``."""
    return tf.transpose(x, [*range(1, x.shape.rank), 0])


def batch_first(x: tf.Tensor) -> tf.Tensor:
    """``[..., B] -> [B, ...]``."""
    return tf.transpose(x, [x.shape.rank - 1, *range(x.shape.rank - 1)])


def matmul(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a b: ``[..., i, k, B], [..., k, j, B] -> [..., i, j, B]``."""
    if _is_large(a, b):
        return _middle_last(tf.matmul(_batch_middle(a), _batch_middle(b)))
    return tf.reduce_sum(a[..., :, :, tf.newaxis, :] * b[..., tf.newaxis, :, :, :], axis=-3)


def matmul_transposed(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a bᵀ: ``[..., i, k, B], [..., j, k, B] -> [..., i, j, B]``."""
    if _is_large(a, b):
        return _middle_last(tf.matmul(_batch_middle(a), _batch_middle(b), transpose_b=True))
    return tf.reduce_sum(a[..., :, tf.newaxis, :, :] * b[..., tf.newaxis, :, :, :], axis=-2)


def _is_large(a, b):
    """Whether a library's product is worth two transpositions; never in float32 (see above)."""
    return a.dtype == tf.float64 and min(*a.shape[-3:-1], *b.shape[-3:-1]) > _MOST_SUMMED


def _batch_middle(a):
    """``[..., i, j, B] -> [..., B, i, j]``."""
    rank = a.shape.rank
    return tf.transpose(a, [*range(rank - 3), rank - 1, rank - 3, rank - 2])


def _middle_last(a):
    """``[..., B, i, j] -> [..., i, j, B]``."""
    rank = a.shape.rank
    return tf.transpose(a, [*range(rank - 3), rank - 2, rank - 1, rank - 3])


def matvec(a: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """a x: ``[..., i, k, B], [..., k, B] -> [..., i, B]``."""
    return tf.reduce_sum(a * x[..., tf.newaxis, :, :], axis=-2)


def dot(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """x·y: ``[..., n, B], [..., n, B] -> [..., B]``."""
    return tf.reduce_sum(x * y, axis=-2)


def outer(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """x yᵀ: ``[..., i, B], [..., j, B] -> [..., i, j, B]``."""
    return x[..., :, tf.newaxis, :] * y[..., tf.newaxis, :, :]


def transpose(a: tf.Tensor) -> tf.Tensor:
    """aᵀ: ``[..., i, j, B] -> [..., j, i, B]``."""
    rank = a.shape.rank
    return tf.transpose(a, [*range(rank - 3), rank - 2, rank - 3, rank - 1])


def symmetrise(a: tf.Tensor) -> tf.Tensor:
    """The symmetric part of ``[..., n, n, B]``."""
    return 0.5 * (a + transpose(a))


def add_diagonal(a: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    """a + diag(d): ``[..., n, n, B], [..., n, B] -> [..., n, n, B]``."""
    return a + tf.eye(a.shape[-2], dtype=a.dtype)[:, :, tf.newaxis] * d[..., tf.newaxis, :, :]


def diagonal(a: tf.Tensor) -> tf.Tensor:
    """The diagonal of ``[..., n, n, B]`` as ``[..., n, B]``."""
    return tf.reduce_sum(a * tf.eye(a.shape[-2], dtype=a.dtype)[:, :, tf.newaxis], axis=-2)


def congruence(a: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    """a p aᵀ for a symmetric p, symmetric to the bit: ``[..., n, n, B]``."""
    return symmetrise(matmul_transposed(matmul(a, p), a))


def psd_factor(p: tf.Tensor) -> tf.Tensor:
    """A lower triangular L with L Lᵀ = p, also for a singular p (batch-first).

    It is Cholesky's factor; a column whose pivot is no more than rounding is zero.

    Args:
      p: ``[..., n, n]``, symmetric and positive semidefinite.

    Returns:
      ``[..., n, n]``, 0 for a p of zeros.
    """
    n = p.shape[-1]
    p = 0.5 * (p + tf.linalg.matrix_transpose(p))  # for a symmetric gradient
    least = n * np.finfo(p.dtype.as_numpy_dtype).eps * tf.linalg.diag_part(p)
    columns = []
    for i in range(n):
        pivot = p[..., i, i, tf.newaxis]
        kept = pivot > least[..., i, tf.newaxis]
        root = tf.sqrt(tf.where(kept, pivot, 1.0))
        below = tf.constant([float(j >= i) for j in range(n)], p.dtype)
        column = tf.where(kept, below * p[..., i] / root, 0.0)
        p = p - column[..., :, tf.newaxis] * column[..., tf.newaxis, :]
        columns.append(column)
    return tf.stack(columns, axis=-1)


def predict(
    mean: tf.Tensor,
    covariance: tf.Tensor,
    transition: tf.Tensor,
    offset: tf.Tensor,
    noise: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moments of z_{t+1} from those of z_t: x <- A x + b, P <- A P Aᵀ + diag(q).

    Args:
      mean: ``[n, B]``.
      covariance: ``[n, n, B]``.
      transition: ``[n, n, B]``.
      offset: ``[n, B]``.
      noise: ``[n, B]`` variances.

    Returns:
      ``[n, B]`` predicted mean and ``[n, n, B]`` predicted covariance.
    """
    mean = matvec(transition, mean) + offset
    return mean, add_diagonal(congruence(transition, covariance), noise)


def update(
    mean: tf.Tensor,
    covariance: tf.Tensor,
    observation: tf.Tensor,
    observed: tf.Tensor,
    emission: tf.Tensor,
    noise: tf.Tensor,
    stabilised: bool = False,
) -> Update:
    """Moments of z_t after seeing y_t, one scalar at a time.

    Args:
      mean: ``[n, B]`` predicted mean.
      covariance: ``[n, n, B]`` predicted covariance.
      observation: ``[m, B]``, finite everywhere.
      observed: ``[m, B]``, 1 = seen.
      emission: ``[m, n, B]``.
      noise: ``[m, B]`` positive variances.
      stabilised: use Joseph's form, (I - k cᵀ) P (I - k cᵀ)ᵀ + r k kᵀ, which stays positive where
        the process noise is zero.

    Returns:
      An ``Update``.
    """
    gains, innovations, variances = [], [], []
    for i in range(emission.shape[-3]):
        c, r, seen = emission[i], noise[i], observed[i]
        pc = matvec(covariance, c)
        # Rounding can push the predicted variance of a nearly known direction below zero.
        s = tf.where(seen > 0, tf.maximum(dot(c, pc), 0.0) + r, 1.0)
        v = seen * (observation[i] - dot(c, mean))
        g = seen / s
        k = pc * g
        mean = mean + k * v
        if stabilised:
            half = covariance - outer(k, pc)
            covariance = symmetrise(half - outer(matvec(half, c), k) + outer(k, k) * r)
        else:
            root = pc * tf.sqrt(g)
            covariance = covariance - outer(root, root)
        gains.append(k)
        innovations.append(v)
        variances.append(s)
    return Update(mean, covariance, tf.stack(gains), tf.stack(innovations), tf.stack(variances))


def log_likelihoods(innovations: tf.Tensor, variances: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
    """log p(y_t | y_{1:t-1}): the sum of log N(v; 0, s) over the numbers seen at a step.

    Args:
      innovations: ``[..., m, B]``, 0 where unobserved.
      variances: ``[..., m, B]``, 1 where unobserved.
      observed: ``[..., m, B]``, 1 = seen.

    Returns:
      ``[..., B]``, nats; 0 where nothing was seen.
    """
    terms = tf.math.log(variances) + tf.square(innovations) / variances + math.log(2.0 * math.pi)
    return -0.5 * tf.reduce_sum(observed * terms, axis=-2)
