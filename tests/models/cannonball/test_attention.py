"""Recurrent attention and rendering against the equations, step by step in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from kvae_tf.models.cannonball.attention import RecurrentAttention, RecurrentRenderer

SHAPE = (5, 4, 1)
B, T, N, S, M = 4, 3, 3, 7, 2
RNG = np.random.default_rng(0)
FRAMES = RNG.random((B, T, *SHAPE)).astype(np.float32)
COUNTS = np.array([1, 2, 3, 2])


@pytest.fixture(scope="module")
def attention():
    keras.utils.set_random_seed(0)
    layer = RecurrentAttention(N, S, M, min_std=0.01)
    layer.build((None, None, *SHAPE))
    for variable in layer.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape, scale=0.5))
    return layer


@pytest.fixture(scope="module")
def renderer():
    keras.utils.set_random_seed(1)
    layer = RecurrentRenderer(SHAPE, S, M)
    layer.build()
    for variable in layer.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape, scale=0.5))
    return layer


def weights(layer):
    return {variable.name: variable.numpy().astype(float) for variable in layer.variables}


def test_inference_follows_equation_8(attention):
    w = weights(attention)
    means, stds = np.zeros((B, T, N, M)), np.zeros((B, T, N, M))
    for b in range(B):
        past = np.tanh(w["start_states"][COUNTS[b] - 1])
        for t in range(T):
            current = np.zeros(S)
            for n in range(N):
                raw = (past[n] @ w["from_past"] + current @ w["from_others"]
                       + FRAMES[b, t].ravel() @ w["from_frame"] + w["bias"])  # fmt: skip
                mask, contribution = expit(raw[:S]), np.tanh(raw[S:])
                current = (1 - mask) * current + mask * contribution
                past[n] = current
                moments = current @ w["to_moments"] + w["moments_bias"]
                means[b, t, n] = moments[:M]
                stds[b, t, n] = 0.01 + np.log1p(np.exp(moments[M:]))
    found = attention(FRAMES, COUNTS)
    np.testing.assert_allclose(found.mean, means, atol=1e-5)
    np.testing.assert_allclose(found.std, stds, atol=1e-5)


def test_an_object_hears_of_earlier_ones_only(attention):
    """States of the first objects do not depend on how many follow, but for their start."""
    projected = attention.project(FRAMES)[:, 0]
    states = attention.start(COUNTS, projected)
    one = attention.step(states, projected).numpy()
    other = states.numpy()
    other[:, 2] += 1.0
    two = attention.step(tf.constant(other), projected).numpy()
    np.testing.assert_array_equal(one[:, :2], two[:, :2])
    assert np.abs(one[:, 2] - two[:, 2]).max() > 1e-3


def test_each_number_of_objects_has_its_own_start(attention):
    starts = attention.start(np.array([1, 2, 3]), attention.project(FRAMES[:3, 0])).numpy()
    assert np.abs(starts[0, 0] - starts[1, 0]).max() > 1e-3
    assert np.abs(starts[1, 0] - starts[1, 1]).max() > 1e-3


def test_several_looks_at_the_first_frame_are_like_several_such_frames(attention):
    patient = RecurrentAttention.from_config(attention.get_config() | {"first_looks": 3})
    patient.build((None, None, *SHAPE))
    for one, two in zip(patient.variables, attention.variables, strict=True):
        one.assign(two)
    found = patient(FRAMES, COUNTS)
    repeated = attention(np.concatenate([FRAMES[:, :1], FRAMES[:, :1], FRAMES], axis=1), COUNTS)
    for one, two in zip(found, repeated, strict=True):
        np.testing.assert_allclose(one, two[:, 2:], atol=1e-6)
    # One that is missing is not looked at.
    projected, seen = patient.project(FRAMES[:, 0]), np.array([1.0, 0.0, 1.0, 0.0])
    starts = patient.start(COUNTS, projected, tf.constant(seen, tf.float32))
    plain, looked = (layer.start(COUNTS, projected) for layer in (attention, patient))
    np.testing.assert_array_equal(starts, np.where(seen[:, None, None] > 0, looked, plain))


def test_rendering_follows_equation_1(renderer):
    w = weights(renderer)
    positions = RNG.normal(size=(B, T, N, M)).astype(np.float32)
    present = (np.arange(N) < COUNTS[:, None]).astype(np.float32)
    present = np.repeat(present[:, None], T, axis=1)
    logits = np.zeros((B, T, *SHAPE))
    for b in range(B):
        for t in range(T):
            state = np.tanh(w["canvas"])
            for n in range(COUNTS[b]):
                raw = positions[b, t, n] @ w["from_position"] + w["bias"]
                mask = expit(raw[:S])
                state = (1 - mask) * state + mask * np.tanh(raw[S:])
            logits[b, t] = (state @ w["to_frame"] + w["frame_bias"]).reshape(SHAPE)
    np.testing.assert_allclose(renderer(positions, present), logits, atol=1e-5)
    # Where an absent object is does not matter.
    elsewhere = np.where(present[..., None] > 0, positions, 7.0).astype(np.float32)
    np.testing.assert_array_equal(renderer(positions, present), renderer(elsewhere, present))


@pytest.mark.parametrize("jit", [False, True])
def test_gradients_are_finite_and_reach_everything(attention, renderer, jit):
    variables = attention.trainable_variables + renderer.trainable_variables
    present = np.repeat((np.arange(N) < COUNTS[:, None])[:, None], T, axis=1).astype(np.float32)

    @tf.function(jit_compile=jit, autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            q = attention(FRAMES, COUNTS)
            logits = renderer(q.mean + q.std, present)
            loss = tf.reduce_sum(tf.square(logits - FRAMES))
        return tape.gradient(loss, variables)

    for variable, gradient in zip(variables, gradients(), strict=True):
        values = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(values).all(), variable.path
        assert np.abs(values).max() > 0, variable.path


def test_dynamic_batch_and_length(attention):
    function = tf.function(
        lambda frames, counts: attention(frames, counts).mean,
        input_signature=[tf.TensorSpec([None, None, *SHAPE]), tf.TensorSpec([None], tf.int32)],
        autograph=False,
    )
    np.testing.assert_allclose(
        function(FRAMES[:2, :2], COUNTS[:2].astype(np.int32)),
        attention(FRAMES, COUNTS).mean[:2, :2],
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", [RecurrentAttention, RecurrentRenderer])
def test_config_rebuilds_the_layer(attention, renderer, kind):
    layer = attention if kind is RecurrentAttention else renderer
    again = kind.from_config(layer.get_config())
    again.build((None, None, *SHAPE))
    assert [v.shape for v in again.variables] == [v.shape for v in layer.variables]
