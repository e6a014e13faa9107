"""Dynamic shapes, the smallest inputs, nothing observed, and float32 over long sequences."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm

N, M = 3, 2
METHODS = ("sequential", "parallel", "tfp")


def case(kind, B, T, n=N, m=M, seed=0, **options):
    rng = np.random.default_rng(seed)
    model = reference.random_model(rng, B, T, n, m, **options)
    mask = reference.random_mask(rng, kind, B, T, m)
    return model, reference.hide(reference.simulate(rng, model, B, T)[1], mask), mask


def engine_model(model, dtype=np.float64):
    return lgssm.LGSSM(*model.cast(dtype))


def spec(*shape):
    return tf.TensorSpec(shape, tf.float64)


@pytest.mark.parametrize(
    "method", [m if m != "tfp" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS]
)
def test_batch_and_time_may_be_dynamic(method):
    @tf.function(
        autograph=False,
        input_signature=[
            lgssm.LGSSM(
                spec(None, None, N, N),
                spec(None, None, N),
                spec(N),
                spec(None, None, M, N),
                spec(M),
                spec(None, N),
                spec(None, N, N),
            ),
            spec(None, None, M),
            spec(None, None),
        ],
    )
    def graph(model, observations, observed):
        with tf.GradientTape() as tape:
            tape.watch(model)
            loss = tf.reduce_sum(lgssm.log_likelihood(model, observations, observed, method=method))
        return lgssm.smooth(model, observations, observed, method=method), tape.gradient(
            loss, model
        )

    for B, T in [(2, 5), (1, 1), (3, 2), (1, 15)]:
        model, y, mask = case("per_step", B, T)
        result, gradient = graph(engine_model(model), y, mask)
        reference.assert_moments_close(result, reference.dense_posterior(model, y, mask), 1e-8)
        ours = tf.nest.map_structure(tf.constant, engine_model(model))
        with tf.GradientTape() as tape:
            tape.watch(ours)
            loss = tf.reduce_sum(lgssm.log_likelihood(ours, y, mask))
        for actual, expected in zip(gradient, tape.gradient(loss, ours), strict=True):
            assert reference.scaled_error(actual, expected) < 1e-8


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 4), (2, 1)])
def test_one_row_and_one_step(method, B, T):
    model, y, mask = case("all_seen", B, T)
    result = lgssm.smooth(engine_model(model), y, mask, method=method)
    reference.assert_moments_close(result, reference.dense_posterior(model, y, mask), 1e-8)


@pytest.mark.parametrize(
    ("method", "stabilised"), [*((method, False) for method in METHODS), ("sequential", True)]
)
def test_nothing_observed_leaves_the_prior(method, stabilised):
    B, T = 2, 6
    model, y, mask = case("all_missing", B, T)
    assert np.all(np.isnan(y))
    result = lgssm.smooth(engine_model(model), y, mask, method=method, stabilised=stabilised)
    means, covariances = reference.dense_joint(model, B, T)
    blocks = covariances[:, : T * N, : T * N].reshape(B, T, N, T, N).swapaxes(2, 3)
    prior = means[:, : T * N].reshape(B, T, N), blocks[:, np.arange(T), np.arange(T)]
    assert np.all(result.log_likelihood.numpy() == 0)
    for name in ("smoothed", "filtered", "predicted"):
        source = result if name == "smoothed" else result.filter
        assert reference.scaled_error(getattr(source, f"{name}_means"), prior[0]) < 1e-12
        assert reference.scaled_error(getattr(source, f"{name}_covariances"), prior[1]) < 1e-12


# method, process noise, stabilised
LONG = {
    "usual": ("sequential", 0.08, False),
    "no_process_noise": ("sequential", 0.0, False),
    "no_process_noise_stabilised": ("sequential", 0.0, True),
    "parallel": ("parallel", 0.08, False),
}


@pytest.mark.parametrize(
    ("n", "name"),
    [
        (4, "usual"),
        (4, "no_process_noise"),
        (4, "no_process_noise_stabilised"),
        pytest.param(4, "parallel", marks=pytest.mark.slow),
        (8, "usual"),
        (8, "no_process_noise_stabilised"),
    ],
)
def test_single_precision_covariances_over_a_thousand_steps(n, name):
    """They stay symmetric and positive, whatever rounding does, and near the exact ones."""
    method, process, stabilised = LONG[name]
    T = 1000
    model, _, mask = case("per_step", 1, T, n=n, seed=1, offset=False)
    model = model._replace(
        transition=np.linalg.qr(model.transition)[0],  # rotations: nothing dies out
        transition_noise=np.full(n, process),
        emission_noise=np.full(M, 0.03),
        initial_covariance=20 * np.eye(n),
    ).cast(np.float32)
    y = reference.simulate(np.random.default_rng(2), model, 1, T)[1].astype(np.float32)

    @tf.function(autograph=False)
    def smooth(*arguments):
        return lgssm.smooth(*arguments, method=method, stabilised=stabilised)

    result = smooth(engine_model(model, np.float32), y, mask)
    for name, covariances in {
        "filtered": result.filter.filtered_covariances,
        "predicted": result.filter.predicted_covariances,
        "smoothed": result.smoothed_covariances,
    }.items():
        P = covariances.numpy().astype(np.float64)
        scale = np.max(np.abs(P), (-2, -1))
        asymmetry = np.max(np.abs(P - np.swapaxes(P, -1, -2)), (-2, -1)) / scale
        assert np.max(asymmetry) <= 1e-6, name
        assert np.min(np.linalg.eigvalsh(P)[..., 0] / scale) >= -1e-6, name
    exact = reference.loop_smoother(model.cast(np.float64), y, mask).smoothed_covariances
    assert reference.scaled_error(result.smoothed_covariances, exact) < 1e-3


@pytest.mark.tfp
def test_large_matrices_of_a_large_batch_take_their_own_way():
    rng = np.random.default_rng(11)
    model = lgssm.LGSSM(*reference.random_model(rng, 128, 3, 9, 2).cast(np.float64))
    observations = rng.normal(size=(128, 3, 2))
    observed = (rng.random((128, 3)) > 0.3).astype(np.float64)
    ours, theirs = (
        lgssm.smooth(model, observations, observed, method=method)
        for method in ("sequential", "tfp")
    )
    for mine, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-9)
