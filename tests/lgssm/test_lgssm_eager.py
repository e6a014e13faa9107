"""Eager calls that run compiled functions: the same numbers, few programs, and a switch."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from conftest import has_tfp

from kvae_tf import lgssm
from kvae_tf.apps.benchmark import random_problem
from kvae_tf.errors import UserError
from kvae_tf.lgssm import eager, padding

SHARED = ("transition", "transition_offset", "emission")


@pytest.fixture(autouse=True)
def compiled():
    """The suite switches compiled calls off."""
    with lgssm.compile_eager_calls():
        yield


def programs():
    """Number of programs so far."""
    return eager._program.cache_info().misses


def in_place(function, *arguments, **settings):
    """The same call, operation by operation and without padding."""
    with lgssm.compile_eager_calls(False):
        return function(*arguments, **settings)


def problem(batch_size, num_steps, kind):
    """A float64 problem whose fields vary in time, hold for all, or are those of sequences."""
    problem = random_problem(batch_size, num_steps, 2, seed=1)
    model, y, observed = tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), problem)
    if kind == "varying":
        mask = np.random.default_rng(0).random(y.shape) < 0.6
        y = tf.where(mask, y, np.nan)
        noise = tf.tile(model.transition_noise[tf.newaxis, tf.newaxis], [*y.shape[:2], 1])
        return model._replace(transition_noise=noise), y, tf.constant(mask)
    if kind == "shared":  # an unstable one, without controls
        fields = {name: getattr(model, name)[0, 0] for name in SHARED}
        fields |= {"transition": 3.0 * fields["transition"], "transition_offset": None}
        return model._replace(**fields), y, observed
    fields = {name: getattr(model, name)[:, :1] for name in SHARED}
    fields["emission_noise"] = tf.ones_like(y[:1]) * 0.1
    fields["initial_mean"] = model.transition_offset[:, 0]
    return model._replace(**fields), y, None


def assert_same(ours, theirs, rtol=1e-10):
    tf.nest.assert_same_structure(ours, theirs)
    for x, exact in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        assert x.shape == exact.shape
        assert x.dtype == exact.dtype
        atol = rtol * np.max(np.abs(exact), initial=1.0)
        np.testing.assert_allclose(x, exact, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("batch_size", "num_steps", "kind"),
    [(3, 5, "varying"), (5, 1, "shared"), (1, 17, "shared"), (3, 9, "per sequence")],
)
def test_smoothing_is_that_of_the_unpadded_call(batch_size, num_steps, kind):
    given = problem(batch_size, num_steps, kind)
    before = programs()
    assert_same(lgssm.smooth(*given), in_place(lgssm.smooth, *given))
    assert programs() == before + 1


def test_the_parallel_method_is_that_of_the_unpadded_call():
    model, y, observed = problem(3, 5, "varying")

    def value_and_gradient():
        with tf.GradientTape() as tape:
            tape.watch(model)
            value = lgssm.log_likelihood(model, y, observed, method="parallel")
        return [value, *tape.gradient(value, list(model))]

    before = programs()
    assert_same(value_and_gradient(), in_place(value_and_gradient))
    moments = lgssm.smooth(model, y, observed, method="parallel")
    assert_same(moments, in_place(lgssm.smooth, model, y, observed, method="parallel"))
    assert programs() == before + 2


def test_the_other_calls_are_those_of_unpadded_calls():
    model, y, observed = given = problem(3, 5, "varying")
    result = in_place(lgssm.filter, *given, stabilised=True)
    assert_same(lgssm.filter(*given, stabilised=True), result)
    forecast = lgssm.forecast(model, result, 3)
    assert_same(forecast, in_place(lgssm.forecast, model, result, 3))
    assert_same(lgssm.sample(model, 7), in_place(lgssm.sample, model, 7))
    draws = lgssm.posterior_sample(model, y, observed, 7, 2)
    assert_same(draws, in_place(lgssm.posterior_sample, model, y, observed, 7, 2))


@pytest.mark.parametrize(("num_steps", "kind"), [(5, "varying"), (9, "shared")])
def test_gradients_of_the_log_likelihood(num_steps, kind):
    model, y, observed = problem(3, num_steps, kind)
    # A mask of floats, which a tape can watch as well.
    observed = None if observed is None else tf.cast(observed, tf.float64)
    sources = [x for x in (*model, y) if x is not None]

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(sources)
            value = lgssm.log_likelihood(model, y, observed)
        return [value, *tape.gradient(value, sources, tf.constant([1.0, 2.0, -3.0], y.dtype))]

    before = programs()
    ours = gradients()
    assert programs() == before + 1
    assert all(np.isfinite(x).all() for x in ours[:-1])
    assert_same(ours, in_place(gradients))


def test_variables_are_read_at_every_call():
    model, y, observed = problem(3, 5, "varying")
    scale = tf.Variable(1.0, dtype=tf.float64)

    def gradient():
        with tf.GradientTape() as tape:
            scaled = model._replace(transition_noise=model.transition_noise * scale)
            value = tf.reduce_sum(lgssm.log_likelihood(scaled, y, observed))
        return tape.gradient(value, scale)

    first = gradient()
    scale.assign(2.0)
    assert_same(gradient(), in_place(gradient))
    assert abs(first - gradient()) > 1e-3


def test_derivatives_that_no_program_has_are_taken_in_place():
    """Of moments, of second order, and forward ones: as without compiled calls."""
    model, y, observed = problem(2, 2, "varying")
    q = model.transition_noise
    before = programs()

    def moments():
        with tf.GradientTape() as tape:
            tape.watch(y)
            means = lgssm.smooth(model, y, observed).smoothed_means
        return tape.gradient(means, y)

    def hessian(order=2):
        with tf.GradientTape() as tape:
            tape.watch(q)
            if order > 1:
                value = hessian(order - 1)
            else:
                value = lgssm.log_likelihood(model._replace(transition_noise=q), y, observed)
        return tape.gradient(value, q)

    def forward():
        with tf.autodiff.ForwardAccumulator(q, tf.ones_like(q)) as accumulator:
            value = lgssm.log_likelihood(model, y, observed)
        return accumulator.jvp(value)

    for derivative in (moments, hessian, forward):
        assert_same(derivative(), in_place(derivative))
    assert programs() == before


def test_a_stream_of_ragged_lengths_needs_few_programs():
    model, y, observed = random_problem(4, 24, 2)
    lengths = [3, 4, 9, 12, 11, 10, 9]
    before = programs()
    for T in lengths:
        fields = {name: getattr(model, name)[:, :T] for name in SHARED}
        value = lgssm.log_likelihood(model._replace(**fields), y[:, :T], observed[:, :T])
        assert value.shape == [4]
        assert value.dtype == tf.float32
    assert programs() - before <= 2
    sizes = [padding.rounded_up(size) for size in range(1, 1001)]
    assert all(size <= x < 2 * size for size, x in enumerate(sizes, 1))
    assert sorted(set(sizes))[:9] == [1, 2, 4, 8, 12, 16, 24, 32, 48]
    assert sizes == sorted(sizes)
    assert [padding.rounded_up(x) for x in set(sizes)] == list(set(sizes))


def test_graphs_and_what_is_switched_off_make_no_program(monkeypatch):
    model, y, observed = problem(2, 2, "varying")
    before = programs()
    with lgssm.compile_eager_calls(False):
        lgssm.filter(model, y, observed)
        with lgssm.compile_eager_calls():
            assert eager.compiles([y])
        assert not eager.compiles([y])
    assert eager.compiles([y])
    tf.function(lgssm.filter)(model, y, observed)
    lgssm.filter(model, y, observed, validate=True)
    if has_tfp():
        lgssm.filter(model, y, observed[..., 0], method="tfp")
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        lgssm.filter(model, y, observed)
    assert programs() == before
    for value, on in (("0", False), ("1", True)):
        monkeypatch.setenv("KVAE_TF_EAGER_JIT", value)
        assert eager.on_by_default() is on


def test_errors_are_those_of_other_calls():
    model, y, observed = problem(2, 3, "varying")
    wrong = (
        (model, y[:, :2], observed),
        (model, y, observed[:1]),
        (model._replace(transition_noise=-model.transition_noise), y, observed),
        (model, y, None),  # NaN where seen
    )
    for given in wrong:
        with pytest.raises(UserError) as ours:
            lgssm.filter(*given)
        with pytest.raises(UserError) as theirs:
            in_place(lgssm.filter, *given)
        assert str(ours.value) == str(theirs.value)


def _beyond_xla(x, *, factor):
    return tf.numpy_function(lambda x: np.float32(factor) * x, [x], tf.float32)


def test_what_xla_cannot_compile_runs_as_a_graph_and_says_so_once(monkeypatch):
    monkeypatch.setattr(eager._Switch, "warned", False)
    with pytest.warns(RuntimeWarning, match="XLA does not compile"):
        assert eager.call(_beyond_xla, [tf.constant(2.0)], factor=3.0) == 6.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert eager.call(_beyond_xla, [tf.constant(2.0)], factor=4.0) == 8.0
        assert eager.call(_beyond_xla, [tf.constant(5.0)], factor=3.0) == 15.0
