r"""Mixtures of Gaussians, fitted by expectation maximisation.

    p(x) = Σ_k π_k N(x; μ_k, Σ_k)

======  ===============  =============
letter  name             shape
======  ===============  =============
x       ``points``       ``[N, n]``
π       ``weights``      ``[K]``
μ       ``means``        ``[K, n]``
Σ       ``covariances``  ``[K, n, n]``
======  ===============  =============
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg, special

_RESTARTS, _ROUNDS, _TOLERANCE = 10, 500, 1e-6
_FLOOR = 1e-4  # of each component's variances, as a share of all points' variance


class GaussianMixture(NamedTuple):
    """A mixture of K Gaussians in n dimensions (see the module's equation).

    Attributes:
      weights: ``[K]``, they sum to 1.
      means: ``[K, n]``.
      covariances: ``[K, n, n]``.
      log_likelihood: mean of ln p(x) over the points of the fit, nats.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    log_likelihood: float


def fit_gaussian_mixture(points: np.ndarray, num_components: int, seed: int = 0) -> GaussianMixture:
    """The best of several runs of expectation maximisation, in float64.

    Each run starts with means at K of the points, drawn at random, with equal weights and the
    covariance of all points divided by K, so that no component takes all points before the other
    components have moved.

    Args:
      points: ``[N, n]``, N at least K.
      num_components: number K of components.
      seed: seed of the draws, an int, 0 by default.
    """
    points = np.asarray(points, np.float64)
    rng = np.random.default_rng(seed)
    spread = np.atleast_2d(np.cov(points.T, bias=True))
    floor = np.diag(_FLOOR * np.diag(spread) + np.finfo(np.float32).tiny)
    starts = [
        points[rng.choice(len(points), num_components, replace=False)] for _ in range(_RESTARTS)
    ]
    runs = [_maximise(points, means, spread / num_components + floor, floor) for means in starts]
    return max(runs, key=lambda mixture: mixture.log_likelihood)


def _maximise(points, means, covariance, floor):
    K = len(means)
    weights, covariances = np.full(K, 1.0 / K), np.repeat(covariance[np.newaxis], K, axis=0)
    last = -np.inf
    for _ in range(_ROUNDS):
        joint = np.log(weights) + _log_densities(points, means, covariances)  # [N, K]
        total = special.logsumexp(joint, axis=1, keepdims=True)
        mixture = GaussianMixture(weights, means, covariances, float(total.mean()))
        if mixture.log_likelihood - last < _TOLERANCE:
            break
        last = mixture.log_likelihood
        shares = np.exp(joint - total)
        counts = shares.sum(axis=0) + 1e-12 * len(points)
        weights = counts / counts.sum()
        means = shares.T @ points / counts[:, np.newaxis]
        deviations = points[:, np.newaxis] - means  # [N, K, n]
        covariances = np.einsum("ik,ikn,ikm->knm", shares, deviations, deviations, optimize=True)
        covariances = covariances / counts[:, np.newaxis, np.newaxis] + floor
    return mixture


def _log_densities(points, means, covariances):
    """ln N(x_i; μ_k, Σ_k), ``[N, K]``."""
    densities = []
    for mean, covariance in zip(means, covariances, strict=True):
        factor = linalg.cholesky(covariance, lower=True)
        white = linalg.solve_triangular(factor, (points - mean).T, lower=True)
        constant = len(mean) * np.log(2.0 * np.pi) + 2.0 * np.log(np.diag(factor)).sum()
        densities.append(-0.5 * (np.square(white).sum(axis=0) + constant))
    return np.stack(densities, axis=1)
