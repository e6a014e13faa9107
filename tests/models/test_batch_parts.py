"""A batch worked off in parts, one after another, makes the same step."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.data import WORLDS, training_batches
from kvae_tf.errors import UserError
from kvae_tf.experiments import presets
from kvae_tf.training import fit

B = 6


@pytest.mark.parametrize(
    ("name", "jit"),
    [
        ("vae_rnn", False),
        ("dvbf", False),
        pytest.param("kvae", False, marks=pytest.mark.slow),
        pytest.param("kvae", True, marks=pytest.mark.slow),
        pytest.param("cannonball", False, marks=pytest.mark.slow),
    ],
)
def test_gradients_are_those_of_the_whole_batch(name, jit):
    world = "cannonballs_small" if name == "cannonball" else "pendulum"
    train = WORLDS[world].splits(0, num_sequences=(B, 1, 1), num_steps=5).train
    found = []
    for parts in (1, 3):
        settings = presets.settings("pendulum_smoke", model=name, batch_size=B, batch_parts=parts,
                                    network="mlp", state_size=16, jit="on" if jit else "off",
                                    dataset=world, pretraining_epochs=1)  # fmt: skip
        model = fit.build(settings, train)
        model.compile(fit.optimizer(model, settings, train))
        rate = 0.0 if name == "cannonball" else 0.3
        batch = next(iter(training_batches(train, B, 0, missing_rate=rate)))
        step = tf.function(model.training_gradients, jit_compile=jit)
        found.append(step(batch, tf.constant([0, 1], tf.int64)))
    (bound, loss, gradients), (bound_2, loss_2, gradients_2) = found
    np.testing.assert_allclose(bound.elbo, bound_2.elbo, rtol=1e-5)
    for term in bound.terms:
        np.testing.assert_allclose(bound.terms[term], bound_2.terms[term], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(loss, loss_2, rtol=1e-5)
    scale = max(np.abs(g).max() for g in gradients)
    assert scale > 0
    for one, two in zip(gradients, gradients_2, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5 * scale)


def test_parts_that_do_not_divide_a_batch():
    train = WORLDS["pendulum"].splits(0, num_sequences=(B, 1, 1), num_steps=5).train
    settings = presets.settings("pendulum_smoke", batch_parts=4)
    model = fit.build(settings, train)
    model.compile(fit.optimizer(model, settings, train))
    batch = next(iter(training_batches(train, B, 0)))
    with pytest.raises(UserError, match="--batch_parts is 4, expected a divisor of the 6"):
        model.training_gradients(batch, tf.constant([0, 1], tf.int64))
