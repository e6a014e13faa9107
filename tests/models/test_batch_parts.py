"""A batch worked off in parts, one after another, makes the same step."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.data import WORLDS, training_batches
from kvae_tf.errors import UserError
from kvae_tf.experiments import presets
from kvae_tf.training import fit

B = 4
slow = pytest.mark.slow
CASES = {
    "vae_rnn": {"pretraining_epochs": 1},
    "ae_rnn": {"pretraining_epochs": 1},
    "ed_lstm": {},
    "dvbf": {},
    "dkf": {},
    "kvae": {},
    "kvae_sampled": {"objective": "sampled"},
    "cannonball": {"posterior": "attention"},
    "cannonball_smoothed": {"posterior": "smoothed"},
}


@pytest.mark.parametrize(
    ("case", "jit"),
    [(case, False) for case in CASES]
    + [pytest.param(case, True, marks=slow) for case in ("kvae", "kvae_sampled")],
)
def test_gradients_are_those_of_the_whole_batch(case, jit):
    name = case.removesuffix("_sampled").removesuffix("_smoothed")
    world = "cannonballs_small" if name == "cannonball" else "pendulum"
    train = WORLDS[world].splits(0, num_sequences=(B, 1, 1), num_steps=5).train
    rate = 0.0 if name == "cannonball" else 0.3
    batch = next(iter(training_batches(train, B, 0, missing_rate=rate)))
    settings = presets.settings("pendulum_smoke", model=name, batch_size=B, network="mlp",
                                state_size=16, jit="on" if jit else "off", dataset=world,
                                **CASES[case])  # fmt: skip
    model = fit.build(settings, train)
    model.compile(fit.optimizer(model, settings, train))
    found = {}
    for parts in (1, 2, 4):
        model.batch_parts = parts
        step = tf.function(model.training_gradients, jit_compile=jit)
        found[parts] = step(batch, tf.constant([0, 1], tf.int64))
    bound, loss, gradients = found.pop(1)
    scale = max(np.abs(g).max() for g in gradients)
    assert scale > 0
    for bound_2, loss_2, gradients_2 in found.values():
        np.testing.assert_allclose(bound.elbo, bound_2.elbo, rtol=1e-5)
        for term in bound.terms:
            np.testing.assert_allclose(bound.terms[term], bound_2.terms[term], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(loss, loss_2, rtol=1e-5)
        for one, two in zip(gradients, gradients_2, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5 * scale)


def test_parts_that_do_not_divide_a_batch():
    train = WORLDS["pendulum"].splits(0, num_sequences=(B, 1, 1), num_steps=5).train
    settings = presets.settings("pendulum_smoke", batch_parts=3)
    model = fit.build(settings, train)
    model.compile(fit.optimizer(model, settings, train))
    batch = next(iter(training_batches(train, B, 0)))
    with pytest.raises(UserError, match="--batch_parts is 3, expected a divisor of the 4"):
        model.training_gradients(batch, tf.constant([0, 1], tf.int64))
