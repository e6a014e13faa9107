r"""Linear features of constant acceleration, in closed form, as a start for encoders.

A position under constant force has constant second differences, apart from noise. So of all
linear features f_t = w · v_t of frames, those are computed that minimise

    Var[f_{t+k} - 2 f_t + f_{t-k}] / Var[f_t]

with k = 1, or a larger lag k where sequences have no bounces: then noise of single frames counts
less. This is a generalised eigenvalue problem: slow feature analysis (Wiskott and Sejnowski 2002)
with second differences in place of first ones. The centre of mass of the bright pixels is such a
feature, of one object or of several.

From random weights, gradients learn one coordinate of the positions before the other; the second
then grows in directions that differ from place to place, and the map from true to learned positions
stays folded. With these features as initial values the map is linear from the start.

======  ==================  ====================
letter  name                shape
======  ==================  ====================
v       ``frames``          ``[N, T, H, W, C]``
w       ``matrix``          ``[H · W · C, m]``
======  ==================  ====================
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError

_CLOSEST = 0.25  # share of the places that second differences at irregular times are taken at
_LEAST = 1e-2  # variance of the frames' directions that count, as a share of the largest
_DENSE = 4096  # numbers in a frame, above which only the directions of largest variance are found
_DIRECTIONS = 256  # so many
_TOLERANCE = 1e-5  # of their variances
_ROUNDS, _REJECTING, _DEGREES = 5, 20, 3.0  # of weighing second differences that may be bounces
_ALIKE = 0.8  # least share of the variance that features have in common with those they began with


class LinearFeatures(NamedTuple):
    """frames · ``matrix`` + ``offset``: mean 0, variance 1, uncorrelated, the smoothest first.

    Attributes:
      matrix: ``[H · W · C, m]``.
      offset: ``[m]``.
      roughness: ``[m]``, the minimised quotients of the module's docstring; 6 for white noise.
    """

    matrix: np.ndarray
    offset: np.ndarray
    roughness: np.ndarray


def in_a_row(seen: np.ndarray, lag: int = 1) -> np.ndarray:
    """Whether frames t, t + ``lag`` and t + 2 ``lag`` are seen: ``[N, max(T - 2 lag, 0)]`` bool.

    Args:
      seen: bool ``[N, T]``.
      lag: number of frames between the three, 1 by default.
    """
    first, middle, last = (seen[:, part] for part in _thirds(seen.shape[1], lag))
    return first & middle & last


def newtonian_features(
    data: SequenceData,
    count: int,
    flag: str,
    least: float = _LEAST,
    lag: int = 1,
    or_fewer: bool = False,
    bounces: bool = False,
) -> LinearFeatures:
    """The ``count`` linear features of frames whose second differences vary least.

    Args:
      data: sequences; unseen frames are left out.
      count: number m of features.
      flag: the flag that asks for them, for messages.
      least: variance of the frames' directions that count, as a share of the largest; 0.01 by
        default.
      lag: number k of frames between those of which second differences are taken; 1 by default.
      or_fewer: where the frames vary in fewer directions, find as many features as these; False by
        default.
      bounces: second differences that are far larger than most are those of bounces, and count
        less; False by default.

    Raises:
      UserError: no three frames, k apart, were seen, or the frames vary in fewer directions.
    """
    seen = data.observed > 0
    frames = data.unit_frames.reshape(*seen.shape, -1)
    bends = second_differences(frames, seen, data.elapsed, lag)[0]
    if not len(bends):
        apart = "in a row" if lag == 1 else f"{lag} apart"
        raise UserError(
            f"no three frames {apart} are seen in the training sequences, expected some for {flag}"
        )
    frames = frames[seen]
    matrix, roughness = smoothest(frames, bends, count, least, flag, or_fewer, bounces)
    return LinearFeatures(matrix, -frames.mean(axis=0, dtype=np.float64) @ matrix, roughness)


def _thirds(num_steps, lag):
    """Steps of the first, second and third of all triples of frames that are ``lag`` apart."""
    ends = num_steps - 2 * lag
    return [slice(start, max(start + ends, 0)) for start in (0, lag, 2 * lag)]


def second_differences(
    values: np.ndarray, seen: np.ndarray, times: np.ndarray | None = None, lag: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Second differences at all places where three steps are seen.

    At irregular times they are changes of velocity, in the time of a mean interval; only of the
    quarter of the places where the three steps are closest, since much may happen in between.

    Args:
      values: ``[N, T, n]``.
      seen: bool ``[N, T]``.
      times: ``[N, T]``; None: equally spaced (default).
      lag: number of steps between the three, 1 by default.

    Returns:
      ``[M, n]``, and where they are, bool ``[N, T - 2 lag]``.
    """
    first, middle, last = _thirds(seen.shape[1], lag)
    there = in_a_row(seen, lag)
    if times is not None and there.any():
        spans = times[:, last] - times[:, first]
        there &= spans <= np.quantile(spans[there], _CLOSEST)
    one, two, three = (values[:, part][there] for part in (first, middle, last))
    if times is None:
        return (three - two) - (two - one), there
    one_time, two_time, three_time = (times[:, part][there] for part in (first, middle, last))
    unit = lag * np.diff(times, axis=1).mean()
    later, earlier = unit / (three_time - two_time), unit / (two_time - one_time)
    bends = (three - two) * later[:, np.newaxis] - (two - one) * earlier[:, np.newaxis]
    return bends.astype(values.dtype), there


def smoothest(
    rows: np.ndarray,
    bends: np.ndarray,
    count: int,
    least: float,
    flag: str,
    or_fewer: bool = False,
    bounces: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The combinations of features that vary least along paths, as a share of their variance.

    Args:
      rows: features ``[N, n]`` of all steps.
      bends: their second differences, ``[M, n]``.
      count: number m of combinations.
      least: variance of the features' directions that count, as a share of the largest.
      flag: the flag that asks for them, for messages.
      or_fewer: where there are fewer directions, find as many combinations as these; False by
        default.
      bounces: second differences that are far larger than most hardly count: rounds of weights
        w = 1 / (1 + d² / 3), where d² is their square as a share of its median, and then of w²,
        which leaves next to nothing of a bounce (Geman and McClure 1987). There should be no other
        force. Where the rounds lead away from what they began with, that counts. False by default.

    Returns:
      ``matrix [n, m]``, of combinations of variance 1, uncorrelated, the smoothest first; and their
      ``roughness [m]``, variances of the second differences.

    Raises:
      UserError: the features vary in fewer than m directions.
    """
    variances, directions = _principal(rows)
    kept = variances > max(least * variances[-1], 0.0)
    if or_fewer:
        count = min(count, int(kept.sum()))
        if count == 0:
            return np.zeros((len(directions), 0)), np.zeros(0)
    if kept.sum() < count:
        raise UserError(
            f"the training frames vary in {kept.sum()} directions, expected {count} or more for "
            f"{flag}"
        )
    white = directions[:, kept] / np.sqrt(variances[kept])
    if len(white) > _DENSE:  # a covariance of all pixels would take minutes
        spread = _covariance(bends @ white.astype(bends.dtype))
    else:
        spread = white.T @ _covariance(bends) @ white
    roughness, turn = first = _smallest(spread, count)
    if bounces:
        bends = bends @ white.astype(bends.dtype)
        for power in [1] * _ROUNDS + [2] * _REJECTING:
            square = np.square(bends @ turn).sum(axis=1)
            weights = 1.0 / (1.0 + square / (_DEGREES * max(np.median(square), 1e-300))) ** power
            weighed = bends * np.sqrt(weights)[:, np.newaxis].astype(bends.dtype)
            roughness, turn = _smallest(weighed.T @ weighed / len(weighed), count)
        # Features that are nearly always 0 are the smoothest of all but for their exceptions.
        if linalg.svdvals(first[1].T @ turn)[-1] ** 2 < _ALIKE:
            roughness, turn = first
    return white @ turn, roughness


def _smallest(symmetric, count):
    """The smallest eigenvalues of a matrix, in float64, and their eigenvectors' columns."""
    return linalg.eigh(symmetric.astype(np.float64), subset_by_index=[0, count - 1])


def _principal(rows):
    """Variances of ``[N, n]`` along principal directions, ascending, and the directions' columns.

    Of more than 4,096 features only the 256 directions of largest variance are found.
    """
    n = rows.shape[1]
    if n <= _DENSE:
        return linalg.eigh(_covariance(rows))
    rows = _centred(rows)
    covariance = LinearOperator(
        (n, n), lambda x: rows.T @ (rows @ x.astype(rows.dtype)) / len(rows), dtype=rows.dtype
    )
    first = np.random.default_rng(0).normal(size=n).astype(rows.dtype)
    variances, directions = eigsh(covariance, _DIRECTIONS, v0=first, tol=_TOLERANCE)
    order = np.argsort(variances)
    return variances[order].astype(np.float64), directions[:, order].astype(np.float64)


def _covariance(rows):
    """Covariance of ``[N, n]`` in float64; the products themselves are computed in float32."""
    rows = _centred(rows)
    return (rows.T @ rows).astype(np.float64) / len(rows)


def _centred(rows):
    return rows - rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)
