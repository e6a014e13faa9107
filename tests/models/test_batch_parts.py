"""A batch worked off in parts, one after another, makes the same step."""

import numpy as np
import pytest
import tensorflow as tf
from training_cases import CASES, build

from kvae_tf.errors import UserError

slow = pytest.mark.slow
# The other cases are near to one of these: the same class, or the same kind of noise.
QUICK = ("kvae", "dvbf", "vae_rnn", "ed_lstm")


@pytest.mark.parametrize(
    ("case", "mode"),
    [pytest.param(case, "eager", marks=[] if case in QUICK else slow) for case in CASES]
    + [pytest.param(case, "graph", marks=slow) for case in CASES]
    + [pytest.param(case, "jit", marks=slow) for case in ("kvae", "kvae_sampled")],
)
def test_gradients_are_those_of_the_whole_batch(case, mode):
    model, batch = build(case, jit="on" if mode == "jit" else "off")
    found = {}
    for parts in (1, 2) if mode == "eager" else (1, 2, 4):
        model.batch_parts = parts
        step = model.training_gradients
        if mode != "eager":
            step = tf.function(step, jit_compile=mode == "jit", autograph=False)
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
    model, batch = build("kvae", batch_parts=3)
    with pytest.raises(UserError, match="--batch_parts is 3, expected a divisor of the 4"):
        model.training_gradients(batch, tf.constant([0, 1], tf.int64))
