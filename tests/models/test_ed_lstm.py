"""ED-LSTM: the likelihood step by step, gaps that are never looked at, what is fed back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.models import EDLSTM

SHAPE = (8, 8, 1)
B, T, U = 3, 6, 2
RNG = np.random.default_rng(0)
FRAMES = (RNG.random((B, T, *SHAPE)) > 0.7).astype(np.float32)
CONTROLS = RNG.normal(size=(B, T, U)).astype(np.float32)
OBSERVED = np.ones((B, T), np.float32)
OBSERVED[:, 3:5] = 0
PAIR = tf.constant([0, 7], tf.int64)


def new(network="mlp", control_size=U):
    keras.utils.set_random_seed(0)
    units = (12,) if network == "mlp" else (4, 4)
    model = EDLSTM(SHAPE, control_size, network, units, feature_size=9, state_size=10)
    model.build()
    return model


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_likelihood_step_by_step(network):
    model = new(network)
    told, state = tf.zeros([B, model.encoder.size + U]), [tf.zeros([B, 10])] * 2
    total = np.zeros(B)
    for t in range(T):
        output, state = model.cell(told, state)
        p = model.decode(output).numpy().astype(float)
        x = FRAMES[:, t]
        total += (x * np.log(p) + (1 - x) * np.log1p(-p)).sum((1, 2, 3))
        told = tf.concat([tf.nn.relu(model.encoder(x)), CONTROLS[:, t]], axis=-1)
    bound = model.elbo({"frames": FRAMES, "controls": CONTROLS}, PAIR)
    np.testing.assert_allclose(bound.elbo, total, rtol=1e-5)
    every = model.elbo(
        {"frames": FRAMES, "controls": CONTROLS, "observed": np.ones((B, T), np.float32)}, PAIR
    )
    np.testing.assert_allclose(every.elbo, total, rtol=1e-5)


def test_missing_frames_are_never_looked_at():
    model = new()
    other = np.where(OBSERVED[..., None, None, None] > 0, FRAMES, np.nan)
    one, two = (model.impute(x, OBSERVED, CONTROLS) for x in (FRAMES, other))
    for x, y in zip(one, two, strict=True):
        np.testing.assert_array_equal(x, y)
    bounds = [
        model.elbo({"frames": x, "observed": OBSERVED, "controls": CONTROLS}, PAIR)
        for x in (FRAMES, other)
    ]
    np.testing.assert_array_equal(bounds[0].elbo, bounds[1].elbo)
    np.testing.assert_array_equal(bounds[0].num_frames, OBSERVED.sum(1))


def test_its_own_predictions_are_fed_back():
    model = new()
    ahead = model.forecast(FRAMES[:, :3], None, CONTROLS, num_steps=3)
    fed = tf.concat([FRAMES[:, :3], ahead.frames], axis=1)
    again = model.impute(fed, None, CONTROLS)
    np.testing.assert_allclose(ahead.frames, again.frames[:, 3:], atol=1e-5)
    assert ahead.frames.shape == (B, 3, *SHAPE)
    np.testing.assert_allclose(ahead.frames, model.decode(ahead.encodings), atol=1e-6)


def test_learns_to_continue():
    """A dot that goes round in a ring: after three frames the next ones are known."""
    frames = np.zeros((4, 9, *SHAPE), np.float32)
    for n in range(4):
        for t in range(9):
            frames[n, t, 3, 2 * ((n + t) % 4)] = 1.0
    keras.utils.set_random_seed(0)
    model = EDLSTM(SHAPE, units=(64,), state_size=64)
    model.build()
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    step = tf.function(model.train_step, autograph=False)
    for _ in range(300):
        step({"frames": tf.constant(frames)})
    ahead = model.forecast(frames[:, :3], num_steps=6).frames.numpy()
    np.testing.assert_array_equal(ahead > 0.5, frames[:, 3:] > 0.5)


def test_bad_arguments():
    with pytest.raises(UserError, match="'smooth', expected one of filter"):
        new().impute(FRAMES, method="smooth")
    with pytest.raises(UserError, match="does not generate"):
        new().generate(1, 2)
