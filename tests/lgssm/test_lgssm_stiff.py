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
    "wide": (1e6, 0.0, 1e-6, 30, 4, 2),
    "hidden": (1e6, 0.0, 1e-6, 20, 6, 1),
    "some_process_noise": (1e3, 1e-9, 1e-6, 10, 3, 4),
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


def digits(name):
    """What rounding may change: eps of a covariance's largest entry in units of its smallest."""
    variance, _, r, T, n, _ = STIFF[name]
    return n * T * np.finfo(np.float64).eps * variance / r


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STIFF)
def test_stiff_models(name, engine):
    model, y, mask, exact = case(name)
    lost = digits(name)
    result = lgssm.smooth(lgssm.LGSSM(*model), y, mask, **ENGINES[engine])
    ours, theirs = result.filter, exact.filter
    assert covariance_error(ours.filtered_covariances, theirs.filtered_covariances) < lost
    # The parallel gains come from square roots, which lose half as many digits.
    kept = lost / 100 if engine == "parallel" else lost
    assert reference.scaled_error(result.log_likelihood, exact.log_likelihood) < kept
    error = np.abs(ours.filtered_means - theirs.filtered_means)
    assert np.max(error / spread(theirs.filtered_covariances)) < kept
    assert np.all(np.isfinite(result.smoothed_means))
    if engine != "sequential":  # L is a difference there; without process noise it is rounding
        assert covariance_error(result.smoothed_covariances, exact.smoothed_covariances) < lost
        cross = exact.smoothed_cross_covariances
        assert covariance_error(result.smoothed_cross_covariances, cross) < lost
        error = np.abs(result.smoothed_means - exact.smoothed_means)
        assert np.max(error / spread(exact.smoothed_covariances)) < 10 * lost


@pytest.mark.parametrize("name", STIFF)
def test_stiff_gradients_of_two_methods_agree(name):
    model, y, mask, _ = case(name)
    inputs = [*map(tf.constant, model), tf.constant(y)]

    def gradients(engine):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            model = lgssm.LGSSM(*inputs[:-1])
            value = lgssm.log_likelihood(model, inputs[-1], mask, **ENGINES[engine])
        # The last is that of the initial covariance: of it, only the symmetric part is defined.
        *rest, covariance, observations = tape.gradient(value, inputs)
        return [*rest, covariance + tf.linalg.matrix_transpose(covariance), observations]

    for mine, other in zip(gradients("parallel"), gradients("stabilised"), strict=True):
        assert reference.scaled_error(mine, other) < digits(name)


@functools.cache
def single_precision_case():
    """A float32 model over 200 steps, whose covariances span twelve digits."""
    model, y, mask = stiff(1e6, 0.0, 1e-6, 200, 4, 2, np.float32)
    exact = reference.exact_smoother(model.cast(np.float64), y.astype(np.float64), mask)
    return model, y, mask, exact


@pytest.mark.parametrize("engine", ENGINES)
def test_single_precision_of_all_extremes_at_once(engine):
    model, y, mask, exact = single_precision_case()
    # The loop is faster as a graph; the scan would take long to trace.
    smooth = lgssm.smooth if engine == "parallel" else tf.function(lgssm.smooth, autograph=False)
    result = smooth(lgssm.LGSSM(*model), y, mask, **ENGINES[engine])
    assert all(np.all(np.isfinite(x)) for x in tf.nest.flatten(result))
    lost = 4 * 200 * np.finfo(np.float64).eps * 1e12  # as in `digits`
    assert reference.scaled_error(result.log_likelihood, exact.log_likelihood) < lost / 100
    ours, theirs = result.filter.filtered_covariances, exact.filter.filtered_covariances
    assert covariance_error(ours, theirs) < lost
