r"""The Kalman recursions for one time step on square roots of covariances (batch-last).

A root is any U with P = U Uᵀ. It holds variances down to eps² of the largest one where P itself
holds them down to eps. A scalar observation, row c of C, is Potter's update (Bierman, 1977,
"Factorization Methods for Discrete Sequential Estimation", chapter II.7), without a factorisation:

    a = Uᵀ c,    s = a·a + r,    k = U a / s
    x <- x + k v,    U <- U - k aᵀ / (1 + √(r/s))

A transition is U <- triangle of [A U, √Q]. Shapes are those of ``steps``.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.lgssm import steps

_MOST_UNROLLED = 8  # rows


def update(
    mean: tf.Tensor,
    root: tf.Tensor,
    observation: tf.Tensor,
    observed: tf.Tensor,
    emission: tf.Tensor,
    noise: tf.Tensor,
) -> steps.Update:
    """Moments of z_t after seeing y_t, one scalar at a time.

    Args:
      mean: ``[n, B]`` predicted mean.
      root: ``[n, n, B]``, a root of the predicted covariance.
      observation: ``[m, B]``, finite everywhere.
      observed: ``[m, B]``, 1 = seen.
      emission: ``[m, n, B]``.
      noise: ``[m, B]`` positive variances.

    Returns:
      An ``Update`` that holds a root in place of the covariance.
    """
    gains, innovations, variances = [], [], []
    for i in range(emission.shape[-3]):
        c, r, seen = emission[i], noise[i], observed[i]
        a = steps.matvec(steps.transpose(root), c)
        s = tf.where(seen > 0, steps.dot(a, a) + r, 1.0)
        v = seen * (observation[i] - steps.dot(c, mean))
        k = steps.matvec(root, a) * (seen / s)
        mean = mean + k * v
        root = root - steps.outer(k, a / (1.0 + tf.sqrt(r / s)))
        gains.append(k)
        innovations.append(v)
        variances.append(s)
    return steps.Update(mean, root, tf.stack(gains), tf.stack(innovations), tf.stack(variances))


def predict(
    mean: tf.Tensor,
    root: tf.Tensor,
    transition: tf.Tensor,
    offset: tf.Tensor,
    noise_root: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean and a root of the covariance of z_{t+1} from those of z_t.

    Args:
      mean: ``[n, B]``.
      root: ``[n, n, B]``.
      transition: ``[n, n, B]``.
      offset: ``[n, B]``.
      noise_root: a root of the noise's covariance, ``[n, k, B]``, or ``[n, B]`` for a diagonal one.

    Returns:
      ``[n, B]`` and ``[n, n, B]``.
    """
    mean = steps.matvec(transition, mean) + offset
    moved = steps.matmul(transition, root)
    if noise_root.shape.rank == 2:
        return mean, triangle(moved, diagonal=noise_root)
    return mean, triangle(tf.concat([moved, noise_root], axis=-2))


def triangle(
    wide: tf.Tensor, pivots: int | None = None, diagonal: tf.Tensor | None = None
) -> tf.Tensor:
    """The first columns of M H, with H a product of reflections that clears row j right of entry j.

    So a lower triangular L with L Lᵀ = M Mᵀ, or its first columns (Householder).

    Args:
      wide: M, ``[rows, columns, B]``, with no fewer columns than ``pivots``.
      pivots: number of rows that are cleared, and of columns that are returned; all rows by
        default.
      diagonal: ``[rows, B]``, the diagonal matrix that stands to the right of ``wide``; None
        (default): nothing does. For all rows only.

    Returns:
      ``[rows, pivots, B]``.
    """
    rows = wide.shape[0]
    pivots = pivots or rows
    if pivots > _MOST_UNROLLED:
        if diagonal is not None:
            diagonal = tf.linalg.diag(tf.transpose(diagonal))  # [B, rows, rows]
            wide = tf.concat([wide, tf.transpose(diagonal, [1, 2, 0])], axis=1)
        return _triangle_in_a_loop(wide, pivots)
    columns = []
    for j in range(pivots):
        if diagonal is not None:
            own = tf.pad(diagonal[j : j + 1], [[0, rows - 1 - j], [0, 0]])
            wide = tf.concat([wide, own[:, tf.newaxis]], axis=1)
        first, corner, weight = _reflection(wide[0], wide[0, 0], 0)
        rest = wide[1:]
        rest = rest - steps.outer(steps.matvec(rest, first) * weight, first)
        columns.append(tf.pad(tf.concat([corner[tf.newaxis], rest[:, 0]], 0), [[j, 0], [0, 0]]))
        wide = rest[:, 1:]
    return tf.stack(columns, axis=1)


def _reflection(row, entry, j):
    """v, e, w: I - w v vᵀ makes of a row e times unit vector j."""
    norm = tf.sqrt(tf.reduce_sum(tf.square(row), axis=0))
    corner = tf.where(entry > 0, -norm, norm)
    unit = tf.one_hot(j, steps.length(row, 0), dtype=row.dtype)[:, tf.newaxis]
    size = norm * (norm + tf.abs(entry))  # vᵀ v / 2
    is_row = size > 0
    weight = tf.where(is_row, 1.0 / tf.where(is_row, size, 1.0), 0.0)
    return row - corner * unit, corner, weight


def _triangle_in_a_loop(wide, pivots):
    """``triangle`` by one body for all rows; what it clears is left as it is, zero but rounding."""
    columns = steps.length(wide, 1)

    def clear(j, wide):
        row = wide[j] * tf.cast(tf.range(columns) >= j, wide.dtype)[:, tf.newaxis]
        first, _, weight = _reflection(row, row[j], j)
        return j + 1, wide - steps.outer(steps.matvec(wide, first) * weight, first)

    _, wide = tf.while_loop(
        lambda j, _: j < pivots, clear, (tf.constant(0), wide), maximum_iterations=pivots
    )
    return wide[:, :pivots]
