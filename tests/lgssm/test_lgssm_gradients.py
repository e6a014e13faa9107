"""Gradients against central finite differences of the oracles, in float64."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm

B, T, N, M = 2, 4, 3, 2
NAMES = (*lgssm.LGSSM._fields, "observations")
ENGINES = {
    "sequential": {"method": "sequential"},
    "sequential_stabilised": {"method": "sequential", "stabilised": True},
    "parallel": {"method": "parallel"},
    "tfp": {"method": "tfp"},
}
SHARED = {"time_invariant": True, "batched_initial": False}


def case(kind, seed=0, B=B, T=T, n=N, m=M, **options):
    """Model, observations (finite everywhere), mask, and a weight for each sequence."""
    rng = np.random.default_rng(seed)
    model = reference.random_model(rng, B, T, n, m, **options)
    y = reference.simulate(rng, model, B, T)[1]
    return model, y, reference.random_mask(rng, kind, B, T, m), rng.normal(size=B)


def gradients(loss, model, y, jit_compile=None):
    """Gradients of `loss(model, y)` by argument, computed in one graph."""

    @tf.function(autograph=False, jit_compile=jit_compile)
    def graph(inputs):
        given = [x for x in inputs if x is not None]
        with tf.GradientTape() as tape:
            tape.watch(given)
            value = loss(lgssm.LGSSM(*inputs[:-1]), inputs[-1])
        result = iter(tape.gradient(value, given, unconnected_gradients="zero"))
        return [None if x is None else next(result) for x in inputs]

    inputs = [None if x is None else tf.constant(x) for x in (*model, y)]
    return dict(zip(NAMES, graph(inputs), strict=True))


def finite_differences(function, x, step=1e-5, symmetric=False):
    """The gradient of a scalar function of one array, by central differences.

    With `symmetric`, entries (i, j) and (j, i) move together by half a step each, which gives the
    symmetric part of the gradient.
    """
    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        d = np.zeros(x.shape)
        d[index] = step
        if symmetric:
            d = 0.5 * (d + np.swapaxes(d, -1, -2))
        gradient[index] = (function(x + d) - function(x - d)) / (2 * step)
    return gradient


def assert_gradients(actual, loss, model, y, tolerance):
    """Compares gradients by argument with finite differences of the oracle `loss(model, y)`."""
    inputs = dict(zip(NAMES, (*model, y), strict=True))
    for name, x in inputs.items():
        if x is None:
            continue

        def at(value, name=name):
            changed = {**inputs, name: value}
            y = changed.pop("observations")
            return loss(reference.Model(**changed), y)

        symmetric = name == "initial_covariance"
        gradient = actual[name].numpy()
        if symmetric:
            gradient = 0.5 * (gradient + np.swapaxes(gradient, -1, -2))
        error = reference.scaled_error(gradient, finite_differences(at, x, symmetric=symmetric))
        assert error < tolerance, f"{name}: error {error:.2e}"


def weighted_log_likelihoods(mask, weights, **options):
    """The same loss twice: of the engine and of the oracle."""

    def ours(model, y):
        return tf.reduce_sum(weights * lgssm.log_likelihood(model, y, mask, **options))

    def theirs(model, y):
        return np.sum(weights * reference.loop_filter(model, y, mask).log_likelihood)

    return ours, theirs


def test_finite_differences_of_a_quadratic_form():
    rng = np.random.default_rng(7)
    W, x = rng.normal(size=(2, 3, 3))
    gradient = finite_differences(lambda p: np.sum(W * p) + np.sum(p**2), x)
    assert reference.scaled_error(gradient, W + 2 * x) < 1e-9
    symmetric = finite_differences(lambda p: np.sum(W * p), x, symmetric=True)
    assert reference.scaled_error(symmetric, 0.5 * (W + W.T)) < 1e-9


KINDS = ("none", "per_step", "per_dimension")
slow = pytest.mark.slow
PAIRS = [
    pytest.param(engine, kind, marks=slow if engine == "tfp" else [])
    for engine in ENGINES
    for kind in KINDS
    if (engine, kind) != ("tfp", "per_dimension")  # TFP masks whole steps only
]


@pytest.mark.parametrize(("engine", "kind"), PAIRS)
def test_log_likelihood_gradients(engine, kind):
    model, y, mask, weights = case(kind, step_noises=True)
    y = reference.hide(y, mask)
    ours, theirs = weighted_log_likelihoods(mask, weights, **ENGINES[engine])
    assert_gradients(gradients(ours, model, y), theirs, model, y, 1e-6)


@pytest.mark.parametrize("engine", ["sequential", "parallel", "tfp"])
def test_shared_parameters_get_summed_gradients(engine):
    model, y, mask, weights = case("per_step", seed=1, **SHARED)
    ours, theirs = weighted_log_likelihoods(mask, weights, **ENGINES[engine])
    result = gradients(ours, model, y)
    assert result["transition"].shape == (N, N)
    assert result["initial_covariance"].shape == (N, N)
    assert_gradients(result, theirs, model, y, 1e-6)


@pytest.mark.parametrize(
    ("engine", "n"),
    [
        pytest.param("sequential", 1, marks=slow),
        ("sequential", 4),
        pytest.param("sequential", 8, marks=slow),
        pytest.param("sequential_stabilised", 4, marks=slow),
        ("sequential_stabilised", 8),
    ],
)
def test_analytic_gradient_is_the_automatic_one(engine, n):
    """Two ways through the engine: `log_likelihood`, and the filter's differentiated moments."""
    model, y, mask, weights = case("per_dimension", seed=n, T=15, n=n, m=3, offset=n != 4)
    analytic, _ = weighted_log_likelihoods(mask, weights, **ENGINES[engine])

    def automatic(model, y):
        result = lgssm.filter(model, y, mask, **ENGINES[engine])
        return tf.reduce_sum(weights * result.log_likelihood)

    one, other = gradients(analytic, model, y), gradients(automatic, model, y)
    for name in NAMES:
        if one[name] is None:
            assert name == "transition_offset"
            continue
        a, e = one[name].numpy(), other[name].numpy()
        if name == "initial_covariance":
            a, e = a + np.swapaxes(a, -1, -2), e + np.swapaxes(e, -1, -2)
        assert reference.scaled_error(a, e) < 1e-8, name


def test_compiled_gradient_is_the_same():
    model, y, mask, weights = case("per_step", seed=2, step_noises=True)
    ours, theirs = weighted_log_likelihoods(mask, weights)
    assert_gradients(gradients(ours, model, y, jit_compile=True), theirs, model, y, 1e-6)


@pytest.mark.parametrize(
    "engine",
    [pytest.param(name, marks=slow if name in ("parallel", "tfp") else []) for name in ENGINES],
)
def test_gradients_through_smoothed_moments(engine):
    model, y, mask, _ = case("row_missing", seed=3)
    y = reference.hide(y, mask)
    rng = np.random.default_rng(4)
    weights = [rng.normal(size=shape) for shape in [(B, T, N), (B, T, N, N), (B, T - 1, N, N)]]

    def moments(result):
        return result[1:4]  # means, covariances, cross-covariances

    def ours(model, y):
        result = moments(lgssm.smooth(model, y, mask, **ENGINES[engine]))
        return sum(tf.reduce_sum(w * x) for w, x in zip(weights, result, strict=True))

    def theirs(model, y):
        result = moments(reference.loop_smoother(model, y, mask))
        return sum(np.sum(w * x) for w, x in zip(weights, result, strict=True))

    assert_gradients(gradients(ours, model, y), theirs, model, y, 1e-6)


@pytest.mark.parametrize("engine", ["sequential", "parallel"])
def test_gradients_do_not_see_values_under_a_zero(engine):
    model, y, mask, weights = case("per_dimension", seed=5)
    ours, _ = weighted_log_likelihoods(mask, weights, **ENGINES[engine])
    with_nan = gradients(ours, model, reference.hide(y, mask))
    with_zeros = gradients(ours, model, reference.hide(y, mask, 0.0))
    for name in NAMES:
        assert reference.scaled_error(with_nan[name], with_zeros[name]) < 1e-12, name
    assert np.all(with_nan["observations"].numpy()[~reference.seen_entries(y, mask)] == 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_seen_nothing_learned(engine):
    model, y, mask, weights = case("all_missing", seed=7)
    ours, _ = weighted_log_likelihoods(mask, weights, **ENGINES[engine])
    for name, gradient in gradients(ours, model, reference.hide(y, mask)).items():
        assert np.max(np.abs(gradient)) < 1e-12, name


# method, process noise, emission noise, stabilised
HARD = {
    "no_process_noise": ("sequential", 0.0, 0.03, True),
    "small_emission_noise": ("sequential", 0.08, 1e-4, False),
    "parallel_with_small_emission_noise": ("parallel", 0.08, 1e-4, False),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "small_emission_noise" else slow) for n in HARD],
)
def test_single_precision_gradients_over_a_thousand_steps(name):
    method, process, emission, stabilised = HARD[name]
    model, _, mask, _ = case("per_step", seed=8, T=1000, n=4, offset=False)
    model = model._replace(
        transition=np.linalg.qr(model.transition)[0],  # rotations: nothing dies out
        transition_noise=np.full(4, process),
        emission_noise=np.full(M, emission),
        initial_covariance=20 * np.eye(4),
    ).cast(np.float32)
    y = reference.simulate(np.random.default_rng(9), model, B, 1000)[1].astype(np.float32)

    def ours(model, y):
        return lgssm.log_likelihood(model, y, mask, method=method, stabilised=stabilised)

    result = gradients(
        lambda *inputs: tf.reduce_sum(ours(*inputs)), model, y, method == "sequential"
    )
    for key, gradient in result.items():
        assert gradient is None or np.all(np.isfinite(gradient)), key
    expected = reference.loop_filter(model.cast(np.float64), y, mask).log_likelihood
    log_likelihood = tf.function(ours, autograph=False)(lgssm.LGSSM(*model), y)
    assert reference.scaled_error(log_likelihood, expected) < 1e-3
