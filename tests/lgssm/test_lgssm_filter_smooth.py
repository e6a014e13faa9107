"""Filter, smoother, log-likelihood and forecast against the oracles."""

import functools

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm

B = 3
ENGINES = {
    "sequential": {"method": "sequential"},
    "sequential_stabilised": {"method": "sequential", "stabilised": True},
    "parallel": {"method": "parallel"},
    "tfp": {"method": "tfp"},
}
# n, m, T, mask and what differs from a model whose matrices alone vary in time
CASES = {
    "n1_m1_T15": (1, 1, 15, "per_step", {}),
    "n2_m1_T2": (2, 1, 2, "none", {"step_noises": True}),
    "n3_m2_T15": (3, 2, 15, "per_dimension", {"step_noises": True}),
    "n4_m2_T200": (4, 2, 200, "per_step", {"step_noises": True}),
    "n4_m3_T1": (4, 3, 1, "all_seen", {"offset": False}),
    "n5_m3_T1": (5, 3, 1, "per_dimension", {"batched_initial": False}),
    "n6_m4_T15": (6, 4, 15, "all_missing", {"batched_initial": False}),
    "n7_m3_T2": (7, 3, 2, "row_missing", {"time_invariant": True}),
    "n8_m4_T15": (8, 4, 15, "row_missing", {"step_noises": True}),
    "n8_m2_T200": (8, 2, 200, "per_dimension", {"offset": False}),
    "n2_m4_T200": (
        2,
        4,
        200,
        "row_missing",
        {"time_invariant": True, "batched_initial": False, "offset": False},
    ),
}
SINGLE_PRECISION = ("n4_m2_T200", "n8_m2_T200")  # computed in float64, except by TFP
# By default the two engines that share the most code with another one meet few of the cases.
FEW = {
    "sequential_stabilised": ("n3_m2_T15", "n4_m2_T200", "n6_m4_T15"),
    "tfp": ("n4_m2_T200", "n6_m4_T15", "n7_m3_T2"),
    "parallel": [name for name in CASES if not name.startswith(("n8_m2", "n2_m4"))],
}
slow = pytest.mark.slow


def pairs(names):
    """Every engine with every case that it takes: TFP masks whole steps only."""
    return [
        pytest.param(engine, name, marks=[] if name in FEW.get(engine, CASES) else slow)
        for engine in ENGINES
        for name in names
        if engine != "tfp" or CASES[name][3] != "per_dimension"
    ]


@functools.cache
def case(name):
    """Model, observations with NaN where missing, mask, and the exact moments."""
    n, m, T, kind, options = CASES[name]
    rng = np.random.default_rng(list(CASES).index(name))
    model = reference.random_model(rng, B, T, n, m, **options)
    mask = reference.random_mask(rng, kind, B, T, m)
    y = reference.hide(reference.simulate(rng, model, B, T)[1], mask)
    oracle = reference.dense_posterior if T <= 15 else reference.loop_smoother
    return model, y, mask, oracle(model, y, mask)


def in_graph(function, *arguments, jit_compile=None, **options):
    """Calls an engine function as one graph whose inputs are its arrays."""

    @tf.function(autograph=False, jit_compile=jit_compile)
    def graph(arguments):
        return function(*arguments, **options)

    return graph(tf.nest.map_structure(lambda x: None if x is None else tf.constant(x), arguments))


def engine_model(model, dtype=np.float64):
    return lgssm.LGSSM(*model.cast(dtype))


@pytest.mark.parametrize(("engine", "name"), pairs(CASES))
def test_moments_are_exact(engine, name):
    model, y, mask, expected = case(name)
    result = in_graph(lgssm.smooth, engine_model(model), y, mask, **ENGINES[engine])
    reference.assert_moments_close(result, expected, 1e-8)


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        pytest.param(*pair.values, marks=[] if "n4_m2_T200" in pair.values else slow)
        for pair in pairs(SINGLE_PRECISION)
    ],
)
def test_moments_in_single_precision(engine, name):
    model, y, mask, expected = case(name)
    mask = None if mask is None else mask.astype(np.float32)
    result = in_graph(
        lgssm.smooth, engine_model(model, np.float32), y.astype(np.float32), mask, **ENGINES[engine]
    )
    assert {x.dtype for x in tf.nest.flatten(result)} == {tf.float32}
    reference.assert_moments_close(result, expected, 1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_filter_and_log_likelihood_are_the_smoothers(engine):
    model, y, mask, expected = case("n1_m1_T15")
    arguments = engine_model(model), y, mask
    filtered = in_graph(lgssm.filter, *arguments, **ENGINES[engine])
    reference.assert_moments_close(filtered, expected.filter, 1e-8)
    log_likelihood = in_graph(lgssm.log_likelihood, *arguments, **ENGINES[engine])
    assert reference.scaled_error(log_likelihood, expected.log_likelihood) < 1e-8


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("sequential", "n3_m2_T15"),
        pytest.param("sequential", "n8_m4_T15", marks=slow),
        pytest.param("parallel", "n7_m3_T2", marks=slow),
    ],
)
def test_compiled_moments_are_the_same(method, name):
    model, y, mask, expected = case(name)
    arguments = engine_model(model), y, mask
    result = in_graph(lgssm.smooth, *arguments, method=method, jit_compile=True)
    reference.assert_moments_close(result, expected, 1e-8)


@pytest.mark.parametrize("method", ["sequential", "parallel", "tfp"])
def test_eager_calls_take_numpy_arrays(method):
    model, y, mask, expected = case("n7_m3_T2")
    result = lgssm.smooth(engine_model(model), y, mask, method=method)
    reference.assert_moments_close(result, expected, 1e-8)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("sequential", "per_step"),
        ("sequential", "per_dimension"),
        ("parallel", "per_dimension"),
        ("tfp", "per_step"),
    ],
)
def test_step_log_likelihoods_follow_the_chain_rule(method, kind):
    """Each is log p of the observations up to its step minus that of those before it."""
    rng = np.random.default_rng(7)
    model = reference.random_model(rng, B, 6, 3, 2, step_noises=True)
    mask = reference.random_mask(rng, kind, B, 6, 2)
    y = reference.simulate(rng, model, B, 6)[1]
    seen, step = reference.seen_entries(y, mask), np.arange(6)[:, None]
    totals = [reference.dense_trajectory(model, y, seen & (step < t))[2] for t in range(7)]
    ours, values = engine_model(model), tf.constant(y)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        steps = lgssm.filter(ours, values, mask, method=method).step_log_likelihoods
        total = lgssm.log_likelihood(ours, values, mask, method=method)
    assert reference.scaled_error(steps, np.diff(totals, axis=0).T) < 1e-10
    nothing = ~seen.any(-1)
    assert nothing.any()
    np.testing.assert_array_equal(steps.numpy()[nothing], 0.0)
    one, other = (tape.gradient(x, values) for x in (steps, total))
    assert reference.scaled_error(one, other) < 1e-10


@pytest.mark.parametrize("dtype", [bool, np.int32, np.float32])
def test_masks_of_any_dtype(dtype):
    model, y, mask, expected = case("n7_m3_T2")
    log_likelihood = lgssm.log_likelihood(engine_model(model), y, mask.astype(dtype))
    assert reference.scaled_error(log_likelihood, expected.log_likelihood) < 1e-8


def test_value_under_a_zero_is_not_read():
    model, y, mask, expected = case("n7_m3_T2")
    for value in (0.0, 1e30, np.inf, np.nan):
        hidden = reference.hide(y, mask, value)
        result = lgssm.smooth(engine_model(model), hidden, mask)
        reference.assert_moments_close(result, expected, 1e-8)


# How many entries the model has beyond the filtered steps, and its options.
FORECASTS = {
    "held": (0, {"step_noises": True}),
    "known_in_part": (2, {"step_noises": True}),
    "known": (4, {"step_noises": True, "offset": False}),
    "time_invariant": (0, {"time_invariant": True, "offset": False}),
    "time_invariant_with_offset": (0, {"time_invariant": True}),
}


@pytest.mark.parametrize("kind", FORECASTS)
def test_forecast_is_the_posterior_of_steps_not_seen(kind):
    extra, options = FORECASTS[kind]
    n, m, T, K = 3, 2, 5, 4
    rng = np.random.default_rng(20)
    longer = reference.random_model(rng, B, T + extra, n, m, **options)
    y, mask = rng.normal(size=(B, T, m)), reference.random_mask(rng, "per_step", B, T, m)

    def window(x):
        return x[:, :T] if x is not None and x.shape[:2] == (B, T + extra) else x

    model = reference.Model(*(window(x) for x in longer[:5]), *longer[5:])
    result = lgssm.filter(engine_model(model), y, mask)
    forecast = in_graph(lgssm.forecast, engine_model(longer), result, num_steps=K)

    full = hold_last(longer.expand(B, T + extra), K - extra)
    future = np.full((B, K, m), np.nan), np.zeros((B, K))
    dense = reference.dense_posterior(
        full, np.concatenate([y, future[0]], 1), np.concatenate([mask, future[1]], 1)
    )
    means, covariances = dense.smoothed_means[:, T:], dense.smoothed_covariances[:, T:]
    C, R = full.emission[:, T:], full.emission_noise[:, T:, :, None] * np.eye(m)
    pairs = [
        (forecast.means, means),
        (forecast.covariances, covariances),
        (forecast.observation_means, np.einsum("bkij,bkj->bki", C, means)),
        (forecast.observation_covariances, C @ covariances @ np.swapaxes(C, -1, -2) + R),
    ]
    assert max(reference.scaled_error(a, e) for a, e in pairs) < 1e-8


def hold_last(model, num_steps):
    """An expanded model with its last entries repeated for `num_steps` more."""

    def hold(x):
        return np.concatenate([x, np.repeat(x[:, -1:], num_steps, axis=1)], axis=1)

    return reference.Model(*(hold(x) for x in model[:5]), *model[5:])
