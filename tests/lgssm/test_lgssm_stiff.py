"""A wide start, exact observations and no process noise, against 60 digits."""

import functools

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm

B = 2
# initial variance, process noise, emission noise, T, n, m
STIFF = {
    "wide": (1e6, 0.0, 1e-6, 60, 4, 2),
    "hidden": (1e6, 0.0, 1e-6, 30, 6, 1),
    "some_process_noise": (1e3, 1e-9, 1e-6, 30, 3, 4),
}
ENGINES = {
    "sequential": {},
    "stabilised": {"stabilised": True},
    "parallel": {"method": "parallel"},
}


def stiff(variance, q, r, T, n, m, dtype=np.float64):
    """A model that rotates its state, observations of half of the steps, and the mask."""
    rng = np.random.default_rng(0)
    model = reference.random_model(rng, B, T, n, m)
    model = model._replace(
        transition=np.linalg.qr(model.transition)[0],
        transition_noise=np.full(n, q),
        emission_noise=np.full(m, r),
        initial_covariance=variance * np.eye(n),
    ).cast(dtype)
    mask = reference.random_mask(rng, "per_step", B, T, m)
    y = reference.simulate(rng, model.cast(np.float64), B, T)[1].astype(dtype)
    return model, y, mask


@functools.cache
def case(name):
    inputs = stiff(*STIFF[name])
    return *inputs, reference.exact_smoother(*inputs)


def spread(covariances):
    return np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))


def covariance_error(actual, exact):
    """The largest error of a step, in units of that step's largest entry."""
    size = np.max(np.abs(exact), axis=(-2, -1), keepdims=True)
    return np.max(np.abs(actual.numpy() - exact) / size)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STIFF)
def test_stiff_models(name, engine):
    model, y, mask, exact = case(name)
    variance, _, r, T, n, _ = STIFF[name]
    result = lgssm.smooth(lgssm.LGSSM(*model), y, mask, **ENGINES[engine])
    # A covariance holds eps of its largest entry, here in units of what it falls to.
    lost = n * T * np.finfo(np.float64).eps * variance / r
    assert (
        covariance_error(result.filter.filtered_covariances, exact.filter.filtered_covariances)
        < lost
    )
    error = np.abs(result.filter.filtered_means - exact.filter.filtered_means)
    means_lost = lost
    if engine == "parallel":
        # Gains come from square roots, which lose half as many digits.
        means_lost = 100 * n * T * np.finfo(np.float64).eps * np.sqrt(variance / r)
        assert reference.scaled_error(result.log_likelihood, exact.log_likelihood) < means_lost
    assert np.max(error / spread(exact.filter.filtered_covariances)) < means_lost
    assert np.all(np.isfinite(result.smoothed_means))
    if engine != "sequential":  # which subtracts; where nothing is left, rounding is
        assert covariance_error(result.smoothed_covariances, exact.smoothed_covariances) < lost
        cross = exact.smoothed_cross_covariances
        assert covariance_error(result.smoothed_cross_covariances, cross) < lost
        error = np.abs(result.smoothed_means - exact.smoothed_means)
        assert np.max(error / spread(exact.smoothed_covariances)) < 10 * lost
