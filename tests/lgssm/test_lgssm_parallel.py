"""The associative scan: all prefix products, in order, whatever the number of steps."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.lgssm import parallel

LENGTHS = (1, 2, 3, 4, 5, 8, 13)


def join(first, second):
    """Affine maps one after the other, which do not commute."""
    (F1, x1), (F2, x2) = first, second
    return F2 @ F1, tf.linalg.matvec(F2, x1) + x2


def maps(T):
    rng = np.random.default_rng(T)
    return rng.normal(size=(2, T, 3, 3)) / 2, rng.normal(size=(2, T, 3))


@pytest.mark.parametrize("is_known", [True, False])
def test_prefix_products(is_known):
    for T in LENGTHS:
        F, x = maps(T)
        products = [(F[:, 0], x[:, 0])]
        for t in range(1, T):
            G, y = products[-1]
            products.append((F[:, t] @ G, np.einsum("bij,bj->bi", F[:, t], y) + x[:, t]))
        steps = T if is_known else None
        scan = tf.function(
            lambda *elements: parallel._scan(join, elements),
            input_signature=[tf.TensorSpec([None, steps, *a.shape[2:]], a.dtype) for a in (F, x)],
        )
        for found, expected in zip(scan(F, x), zip(*products, strict=True), strict=True):
            np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=0, atol=1e-13)


@pytest.mark.tfp
def test_scan_is_that_of_tfp():
    import tensorflow_probability as tfp

    for T in LENGTHS:
        elements = tuple(map(tf.constant, maps(T)))
        ours = parallel._scan(join, elements)
        theirs = tfp.math.scan_associative(join, elements, axis=1)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_number_of_joins():
    joined = []

    def count(first, second):
        joined.append(first[0].shape[1])
        return join(first, second)

    T = 64
    parallel._scan(count, tuple(map(tf.constant, maps(T))))
    assert len(joined) <= 2 * np.log2(T)
    assert sum(joined) < 2 * T
