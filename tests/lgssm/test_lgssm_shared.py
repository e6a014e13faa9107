"""One model and one mask for all sequences: covariances are computed once, results are the same."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.apps.benchmark import max_error
from kvae_tf.errors import UserError
from kvae_tf.lgssm import inference, sequential

B, T, N, M = 5, 7, 3, 2
SHARED = {"time_invariant": True, "batched_initial": False}


def problem(dtype, is_masked, varies_in_time=False):
    """A model, observations, and a mask ``[T]`` or None."""
    rng = np.random.default_rng(3)
    model = reference.random_model(rng, B, T, N, M, **SHARED)
    if varies_in_time:
        varying = 0.9 * np.eye(N) + 0.1 * rng.normal(size=(1, T, N, N))
        model = model._replace(transition=varying)
    y = reference.simulate(rng, model, B, T)[1]
    mask = (rng.random(T) < 0.6) if is_masked else None
    if is_masked:
        y = np.where(mask[:, np.newaxis], y, np.nan)
    fields = [None if x is None else tf.constant(x, dtype) for x in model]
    return lgssm.LGSSM(*fields), tf.constant(y, dtype), mask


def results(model, y, mask, with_moments=False, **options):
    """The smoother's results, and gradients of the log-likelihood or of smoothed moments."""
    sources = [x for x in (*model, y) if x is not None]

    @tf.function(autograph=False)
    def graph():
        with tf.GradientTape() as tape:
            tape.watch(sources)
            smoothed = lgssm.smooth(model, y, mask, **options)
            weights = tf.range(1.0, B + 1.0)
            value = lgssm.log_likelihood(model, y, mask, **options)
            loss = tf.reduce_sum(tf.cast(weights, value.dtype) * value)
            if with_moments:
                loss += tf.add_n([tf.reduce_sum(x) for x in smoothed[1:4]])
        # Of the gradient in a covariance only the symmetric part is defined.
        gradients = [
            0.5 * (x + tf.linalg.matrix_transpose(x)) if x.shape == [N, N] else x
            for x in tape.gradient(loss, sources, unconnected_gradients="zero")
        ]
        return *tf.nest.flatten(smoothed), *gradients

    return graph()


def assert_same(ours, theirs, tolerance):
    for x, exact in zip(ours, theirs, strict=True):
        assert x.shape == exact.shape
        assert np.all(np.isfinite(x))
        error = max_error({"x": x}, {"x": tf.cast(exact, tf.float64)})
        assert error < tolerance


@pytest.mark.parametrize(
    ("dtype", "tolerance", "options", "is_masked", "varies"),
    [
        (np.float64, 1e-12, {}, True, True),
        pytest.param(
            np.float64,
            1e-12,
            {"stabilised": True, "with_moments": True},
            False,
            False,
            marks=pytest.mark.slow,
        ),
        (np.float32, 1e-6, {}, False, False),
    ],
)
def test_results_are_those_of_one_covariance_a_sequence(
    dtype, tolerance, options, is_masked, varies
):
    model, y, mask = problem(dtype, is_masked, varies)
    everywhere = np.broadcast_to(np.ones(T) if mask is None else mask, [B, T]).astype(dtype)
    assert_same(
        results(model, y, mask, **options), results(model, y, everywhere, **options), tolerance
    )


def test_covariances_are_computed_once(monkeypatch):
    model, y, mask = problem(np.float64, True)
    shapes = []
    forward = sequential.forward

    def spy(ssm, *arguments):
        shapes.append(ssm.initial_covariance.shape)
        return forward(ssm, *arguments)

    monkeypatch.setattr(sequential, "forward", spy)
    result = lgssm.filter(model, y, mask)
    assert result.filtered_covariances.shape == [B, T, N, N]
    lgssm.filter(model, y, np.broadcast_to(mask, [B, T]))
    own = tf.tile(model.transition_noise[tf.newaxis, tf.newaxis], [B, T, 1])
    lgssm.filter(model._replace(transition_noise=own), y, mask)
    assert shapes == [[N, N, 1], [N, N, B], [N, N, B]]


def test_controls_and_starts_of_sequences_are_means_only():
    model, y, mask = problem(np.float64, True)
    rng = np.random.default_rng(0)
    model = model._replace(
        transition_offset=tf.constant(rng.normal(size=(B, T, N))),
        initial_mean=tf.constant(rng.normal(size=(B, N))),
    )
    assert model.has_one_covariance()
    everywhere = np.broadcast_to(mask, [B, T])
    assert_same(results(model, y, mask), results(model, y, everywhere), 1e-12)


@pytest.mark.parametrize("method", inference.METHODS)
def test_a_mask_of_steps_holds_for_all_sequences_in_every_method(method):
    model, y, mask = problem(np.float64, True)
    ours = lgssm.filter(model, y, mask, method=method)
    theirs = lgssm.filter(model, y, np.broadcast_to(mask, [B, T]))
    assert_same(ours, theirs, 1e-10)


def test_eager_calls_and_dynamic_batches():
    model, y, mask = problem(np.float64, True)
    exact = lgssm.smooth(model, y, np.broadcast_to(mask, [B, T]))
    with lgssm.compile_eager_calls():
        compiled = lgssm.smooth(model, y, mask)
    graph = tf.function(
        lambda y, mask: lgssm.smooth(model, y, mask),
        input_signature=[tf.TensorSpec([None, None, M], y.dtype), tf.TensorSpec([None], tf.bool)],
    )
    for result in (compiled, graph(y, mask)):
        assert_same(tf.nest.flatten(result), tf.nest.flatten(exact), 1e-12)


def test_a_mask_of_another_length_is_refused():
    model, y, mask = problem(np.float64, True)
    with pytest.raises(UserError, match=r"observed has shape \(6,\), .*\(7,\) for all sequences"):
        lgssm.filter(model, y, mask[1:])
