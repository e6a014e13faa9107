"""Eager queries of live models that run as graphs: the same answers, few traces, and a switch."""

import numpy as np
import pytest
import tensorflow as tf
from training_cases import CASES, build, model_of

from kvae_tf import lgssm
from kvae_tf.data import WORLDS

T = 5


@pytest.fixture(autouse=True)
def graphs():
    """The suite switches graphs of eager calls off."""
    with lgssm.compile_eager_calls():
        yield


def queries(model, case, batch_size=2, num_steps=T):
    """Name of a query -> a call of it without arguments."""
    world = "cannonballs_small" if model_of(case) == "cannonball" else "pendulum"
    data = WORLDS[world].splits(1, num_sequences=(batch_size, 1, 1), num_steps=num_steps).train
    rng = np.random.default_rng(0)
    observed = (rng.random((batch_size, num_steps)) < 0.7).astype(np.float32)
    observed[:, 0] = 1.0
    if world != "pendulum":
        observed[:] = 1.0
    controls = data.controls[:] if model.control_size else None
    given = (data.frames[:], observed, controls)
    if model.max_objects:
        given = (*given[:2], None)
    calls = {
        "encode": lambda: model.encode(given[0]),
        "decode": lambda: model.decode(np.zeros((2, 3, model.encoding_size), np.float32)),
        "filter": lambda: model.filter(*given),
        "smooth": lambda: model.smooth(*given),
        "impute": lambda: model.impute(*given),
        "forecast": lambda: model.forecast(*given, num_steps=3),
        "generate": lambda: model.generate(3, 4, seed=5),
        "score": lambda: model.score(*given),
        "locate": lambda: model.locate(*given[:2]),
        "components": lambda: model.components(*given[:2]),
    }
    return {name: call for name, call in calls.items() if name in model.supports}


def traces(model, query):
    """How often each graph of a query has been traced."""
    graphs = vars(model).get("_eager_graphs", {})
    return [x.experimental_get_tracing_count() for key, x in graphs.items() if key[0] == query]


def in_place(call):
    with lgssm.compile_eager_calls(False):
        return call()


def assert_same(ours, theirs):
    tf.nest.assert_same_structure(ours, theirs)
    for x, exact in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        if exact is not None:
            assert x.shape == exact.shape
            np.testing.assert_allclose(x, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:controls are not given")
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case == "kvae" else pytest.mark.slow) for case in CASES],
)
def test_answers_are_those_of_calls_in_place(case):
    model = build(case)[0]
    calls = queries(model, case)
    assert len(calls) >= 3
    for name, call in calls.items():
        assert_same(call(), in_place(call))
        assert traces(model, name) == [1]


def test_new_weights_are_seen_and_tapes_are_served():
    model, batch = build("kvae")
    frames, weight = batch["frames"], model.encoder.trainable_variables[0]
    before = model.encode(frames).mean
    weight.assign(weight + 0.5)
    after = model.encode(frames).mean
    assert np.max(np.abs(after - before)) > 1e-3
    assert_same(after, in_place(lambda: model.encode(frames).mean))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model.encode(frames[:, :1]).mean)
    assert np.any(tape.gradient(value, weight.value))
    assert traces(model, "encode") == [1]
    alone = model.encode(frames[0]).mean  # without the axis of sequences
    assert_same(alone, in_place(lambda: model.encode(frames[0]).mean))


@pytest.mark.filterwarnings("ignore:controls are not given")
def test_one_graph_serves_all_shapes_and_numbers_of_steps():
    model = build("kvae")[0]
    frames = np.random.default_rng(0).random((3, 6, *model.frame_shape)).astype(np.float32)

    def after(sizes, numbers):
        for size in sizes:
            for num_steps in numbers:
                found = model.forecast(frames[:size, : size + 3], num_steps=num_steps)
                assert found.frames.shape[:2] == [size, num_steps]
        (number,) = traces(model, "forecast")
        return number

    # The first shape has its own; then one axis after the other becomes free.
    first = after((1, 2), (1, 2))
    assert first <= 3
    assert after((1, 2, 3), (1, 2, 4)) == first
    in_place(lambda: model.encode(frames))
    assert not traces(model, "encode")
