"""Mixtures of Gaussians by expectation maximisation."""

import numpy as np
import pytest
from scipy import special, stats

from kvae_tf.models.cannonball.gaussian_mixture import fit_gaussian_mixture

RNG = np.random.default_rng(0)


def two_sides(count):
    """Points of two sides, a third of them left, like states that begin two kinds of shot."""
    left = RNG.random(count) < 1 / 3
    points = RNG.normal(size=(count, 2)) @ np.array([[1.0, 0.0], [0.6, 0.3]]).T
    return points + np.where(left[:, None], [-3.0, 2.0], [3.0, -2.0]), left


def test_finds_what_points_were_drawn_from():
    points, left = two_sides(4000)
    found = fit_gaussian_mixture(points, 2)
    order = np.argsort(found.means[:, 0])
    np.testing.assert_allclose(found.weights[order], [left.mean(), 1 - left.mean()], atol=1e-3)
    np.testing.assert_allclose(found.means[order], [[-3, 2], [3, -2]], atol=0.1)
    for covariance in found.covariances:
        np.testing.assert_allclose(covariance, [[1.0, 0.6], [0.6, 0.45]], atol=0.1)


def test_likelihood_is_that_of_the_mixture_and_beats_one_gaussian():
    points, _ = two_sides(500)
    found = fit_gaussian_mixture(points, 2)
    densities = [
        stats.multivariate_normal(mean, covariance).logpdf(points)
        for mean, covariance in zip(found.means, found.covariances, strict=True)
    ]
    expected = special.logsumexp(densities, axis=0, b=found.weights[:, None]).mean()
    assert found.log_likelihood == pytest.approx(expected, rel=1e-9)
    assert expected > fit_gaussian_mixture(points, 1).log_likelihood + 0.5


def test_one_component_has_the_moments_of_the_points():
    points, _ = two_sides(300)
    found = fit_gaussian_mixture(points, 1)
    np.testing.assert_allclose(found.means[0], points.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.covariances[0], np.cov(points.T, bias=True), rtol=1e-3)


@pytest.mark.parametrize("num_components", [2, 5])
def test_points_on_a_line_or_all_alike_do_no_harm(num_components):
    line = np.repeat(RNG.normal(size=(40, 1)), 3, axis=1)
    for points in (line, np.zeros((40, 3))):
        found = fit_gaussian_mixture(points, num_components)
        assert np.all(np.isfinite(found.means))
        assert np.all(np.isfinite(np.linalg.cholesky(found.covariances)))


def test_same_seed_same_fit():
    points, _ = two_sides(200)
    one, again = (fit_gaussian_mixture(points, 3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.means, again.means)
