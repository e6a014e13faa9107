"""Training with float16 inside the frame networks: scaled gradients, overflows left out."""

import numpy as np
import pytest

from kvae_tf.data import WORLDS, training_batches
from kvae_tf.experiments import presets
from kvae_tf.training import build

B = 8


@pytest.fixture(scope="module")
def train():
    return WORLDS["pendulum"].splits(0, num_sequences=(40, 1, 1), num_steps=6).train


def make(train, precision):
    settings = presets.settings("pendulum_smoke", model="vae_rnn", batch_size=B,
                                precision=precision, pretraining_epochs=1, epochs=2,
                                steps_per_epoch=20)  # fmt: skip
    model = build.build(settings.plan, train)
    model.compile(build.optimizer(model, settings.plan, train), run_eagerly=False)
    return model


@pytest.mark.slow
def test_learns_as_in_single_precision(train):
    losses = {}
    for precision in ("float32", "mixed_float16"):
        model = make(train, precision)
        assert (model.loss_scale > 1) == (precision != "float32")
        batches = training_batches(train, B, 0)
        # The first two of these epochs train the auto-encoder.
        history = model.fit(batches, steps_per_epoch=10, epochs=3, verbose=0, shuffle=False)
        losses[precision] = history.history["loss"]
        assert losses[precision][1] < losses[precision][0]
    np.testing.assert_allclose(losses["mixed_float16"], losses["float32"], rtol=0.05, atol=0.05)


def test_an_overflow_leaves_the_update_out(train):
    model = make(train, "mixed_float16")
    batch = next(iter(training_batches(train, B, 0)))
    before = model.get_weights()
    model.loss_scale = 1e12
    logs = model.train_step(batch)
    assert float(logs["gradient_norm"]) == 0.0
    assert np.isfinite(float(logs["loss"]))
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    model.loss_scale = 1024.0
    model.train_step(batch)
    assert any(np.any(one != two) for one, two in zip(before, model.get_weights(), strict=True))
