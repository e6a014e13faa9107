"""Continuous-time dynamics: SciPy's matrix exponential, quadrature, and the dense Gaussian."""

import numpy as np
import pytest
import reference
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad_vec
from scipy.linalg import expm, solve_continuous_lyapunov

from kvae_tf import lgssm
from kvae_tf.lgssm import continuous

EXAMPLES = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def van_loan(drift, offset, density, interval):
    """Transition, offset and noise of one step, by SciPy's exponentials of the block matrices."""
    n = len(drift)
    block = np.zeros((n + 1, n + 1))
    block[:n, :n], block[:n, n] = drift, offset
    moved = expm(block * interval)
    double = np.zeros((2 * n, 2 * n))
    double[:n, :n], double[:n, n:], double[n:, n:] = drift, np.diag(density), -drift.T
    blocks = expm(double * interval)
    return moved[:n, :n], moved[:n, n], blocks[:n, n:] @ moved[:n, :n].T


def system(seed, n, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(n, n)), rng.normal(size=n), rng.uniform(0.0, 2.0, n)


@EXAMPLES
@given(
    st.integers(0, 2**16),
    st.integers(1, 5),
    st.floats(0.0, 8.0),
    st.floats(0.01, 2.0),
)
def test_a_step_is_that_of_van_loan(seed, n, interval, scale):
    given_system = system(seed, n, scale)
    found = continuous.discretise(*given_system, np.float64(interval))
    size = np.exp(np.linalg.norm(given_system[0], 2) * interval)
    for one, two in zip(found, van_loan(*given_system, interval), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-11 * max(size, 1.0) ** 2)


def test_a_step_is_the_integral():
    drift, offset, density = system(1, 3)
    found = continuous.discretise(drift, offset, density, np.float64(1.3))
    noise, _ = quad_vec(
        lambda u: expm(drift * u) @ np.diag(density) @ expm(drift * u).T, 0.0, 1.3, epsabs=1e-12
    )
    moved, _ = quad_vec(lambda u: expm(drift * u) @ offset, 0.0, 1.3, epsabs=1e-12)
    np.testing.assert_allclose(found.noise, noise, rtol=1e-10)
    np.testing.assert_allclose(found.offset, moved, rtol=1e-10)


def test_two_steps_are_one():
    drift, offset, density = system(2, 4, 0.5)
    one, two, both = (
        continuous.discretise(drift, offset, density, np.float64(x)) for x in (0.7, 1.9, 2.6)
    )
    np.testing.assert_allclose(two.transition @ one.transition, both.transition, rtol=1e-10)
    moved = two.transition.numpy() @ one.offset.numpy() + two.offset.numpy()
    np.testing.assert_allclose(moved, both.offset, rtol=1e-10)
    noise = two.transition.numpy() @ one.noise.numpy() @ two.transition.numpy().T
    np.testing.assert_allclose(noise + two.noise.numpy(), both.noise, rtol=1e-10)


def test_no_time_and_a_long_time():
    drift, offset, density = system(3, 3)
    still = continuous.discretise(drift, offset, density, np.float64(0.0))
    np.testing.assert_array_equal(still.transition, np.eye(3))
    np.testing.assert_array_equal(still.offset, np.zeros(3))
    np.testing.assert_array_equal(still.noise, np.zeros((3, 3)))
    # Stable, for long: van Loan's matrix would hold e^150.
    drift -= 5.0 * np.eye(3)
    rested = continuous.discretise(drift, offset, density, np.float64(30.0))
    np.testing.assert_allclose(rested.transition, np.zeros((3, 3)), atol=1e-12)
    np.testing.assert_allclose(rested.offset, -np.linalg.solve(drift, offset), rtol=1e-9)
    settled = solve_continuous_lyapunov(drift, -np.diag(density))
    np.testing.assert_allclose(rested.noise, settled, rtol=1e-7)


@pytest.mark.parametrize("interval", [300.0, 3000.0, 15_000.0, 59_000.0, 61_000.0, -3.0])
def test_a_gap_is_right_or_not_a_number(interval):
    """At rest after a long time, decaying and turning; of what is too long nothing is said."""
    turning = np.array([[-0.01, 1.0], [-1.0, -0.01]])
    for drift in (np.array([[-1.0]]), turning):
        n = len(drift)
        found = continuous.discretise(drift, np.ones(n), np.full(n, 2.0), np.float64(interval))
        if not 0.0 <= interval * np.abs(drift).sum(1).max() <= continuous.LARGEST:
            assert all(np.isnan(x).all() for x in found)
            continue
        np.testing.assert_allclose(found.transition, expm(drift * interval), atol=1e-6)
        settled = solve_continuous_lyapunov(drift, -2.0 * np.eye(n))
        grown = expm(drift * interval)
        np.testing.assert_allclose(found.noise, settled - grown @ settled @ grown.T, rtol=1e-5,
                                   atol=1e-6)  # fmt: skip


def test_leading_axes_are_free():
    rng = np.random.default_rng(4)
    drift, offset, density = rng.normal(size=(5, 2, 2)), rng.normal(size=2), rng.random((3, 1, 2))
    intervals = rng.random((3, 5))
    found = continuous.discretise(drift, offset, density, intervals)
    assert [x.shape.as_list() for x in found] == [[3, 5, 2, 2], [3, 5, 2], [3, 5, 2, 2]]
    for i, j in np.ndindex(3, 5):
        expected = van_loan(drift[j], offset, density[i, 0], intervals[i, j])
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[i, j], two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("interval", [0.0, 1e-4, 2.0])
def test_gradients_are_those_of_differences(interval):
    values = [tf.constant(x) for x in (*system(5, 3), np.float64(interval))]

    def total(*values):
        weights = [1.0, 2.0, 3.0]
        parts = continuous.discretise(*values)
        return sum(w * tf.reduce_sum(tf.sin(x)) for w, x in zip(weights, parts, strict=True))

    with tf.GradientTape() as tape:
        tape.watch(values)
        value = total(*values)
    rng = np.random.default_rng(6)
    for i, gradient in enumerate(tape.gradient(value, values)):
        way = np.abs(rng.normal(size=values[i].shape))  # no time is negative
        weights = {0: -3.0, 1: 4.0, 2: -1.0} if interval == 0.0 else {1: 1.0, -1: -1.0}
        slope = sum(
            weight * total(*values[:i], values[i] + place * 1e-6 * way, *values[i + 1 :])
            for place, weight in weights.items()
        ) / 2e-6  # fmt: skip
        np.testing.assert_allclose(np.sum(gradient * way), slope, rtol=1e-5, atol=1e-7)


@EXAMPLES
@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(0, 5))
def test_the_factor_is_triangular_and_gives_the_covariance(seed, n, rank):
    rng = np.random.default_rng(seed)
    root = np.triu(rng.normal(size=(n, n)))
    root[:, rng.permutation(n)[: n - min(rank, n)]] = 0.0  # singular, with a triangular factor
    covariance = root @ root.T
    factor, variances = (x.numpy() for x in continuous.upper_factor(tf.constant(covariance)))
    np.testing.assert_array_equal(np.tril(factor, -1), 0.0)
    np.testing.assert_array_equal(np.diag(factor), 1.0)
    assert (variances >= 0.0).all()
    np.testing.assert_allclose((factor * variances) @ factor.T, covariance, atol=1e-9)


def correlated(seed, B=2, T=4, n=3, m=2):
    """An LGSSM of arrays, and full covariances of its noise."""
    rng = np.random.default_rng(seed)
    model = reference.random_model(rng, B, T, n, m, offset=True, time_invariant=False)
    root = rng.normal(size=(B, T, n, n))
    return rng, model, root @ root.swapaxes(-1, -2)


def dense(model, noise, y, mask):
    """Log-likelihoods and smoothed means, from the Gaussian of all z and y of a sequence."""
    B, T, n, _ = model.transition.shape
    answers = []
    for b in range(B):
        means, blocks = [model.initial_mean[b]], np.zeros((T * n, T * n))
        blocks[:n, :n] = model.initial_covariance[b]
        for t in range(T - 1):
            A, own = model.transition[b, t], slice(n * (t + 1), n * (t + 2))
            last = slice(n * t, n * (t + 1))
            means.append(A @ means[-1] + model.transition_offset[b, t])
            blocks[own, : n * (t + 1)] = A @ blocks[last, : n * (t + 1)]
            blocks[: n * (t + 1), own] = blocks[own, : n * (t + 1)].T
            blocks[own, own] = A @ blocks[last, last] @ A.T + noise[b, t]
        mean = np.concatenate(means)
        m = y.shape[-1]
        C = np.zeros((T * m, T * n))
        for t in range(T):
            C[m * t : m * (t + 1), n * t : n * (t + 1)] = model.emission[b, t]
        R = np.diag(np.broadcast_to(model.emission_noise, (T, m)).ravel())
        known = np.repeat(mask[b] > 0, m)
        C, R = C[known], R[np.ix_(known, known)]
        S = C @ blocks @ C.T + R
        error = y[b].ravel()[known] - C @ mean
        solved = np.linalg.solve(S, error)
        log_p = -0.5 * (error @ solved + np.linalg.slogdet(2 * np.pi * S)[1])
        gain = blocks @ C.T
        moments = mean + gain @ solved, blocks - gain @ np.linalg.solve(S, gain.T)
        answers.append((log_p, moments[0].reshape(T, n), moments[1]))
    return [np.stack(x) for x in zip(*answers, strict=True)]


def test_full_noise_by_a_change_of_coordinates():
    rng, model, noise = correlated(7)
    model = model._replace(emission_noise=np.array([0.3, 0.7]))
    y, mask = rng.normal(size=(2, 4, 2)), np.array([[1, 0, 1, 1], [0, 1, 1, 0]], float)
    log_p, means, covariances = dense(model, noise, y, mask)
    own, basis = continuous.decorrelated(lgssm.LGSSM(*map(tf.constant, model)), noise)
    result = lgssm.smooth(own, y, mask)
    np.testing.assert_allclose(result.log_likelihood, log_p, rtol=1e-9)
    found = np.einsum("btij,btj->bti", basis, result.smoothed_means)
    np.testing.assert_allclose(found, means, rtol=1e-8, atol=1e-9)
    found = np.einsum("btij,btjk,btlk->btil", basis, result.smoothed_covariances, basis)
    for t in range(4):
        block = covariances[:, 3 * t : 3 * t + 3, 3 * t : 3 * t + 3]
        np.testing.assert_allclose(found[:, t], block, rtol=1e-8, atol=1e-9)
