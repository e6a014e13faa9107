"""Products of small and of large matrices in the batch-last layout."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.lgssm import steps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 20])
@pytest.mark.parametrize("batch", [1, 4])
def test_products(n, batch, dtype):
    rng = np.random.default_rng(n)
    a = rng.normal(size=(2, n, n, 4)).astype(dtype)
    b = rng.normal(size=(2, n, n + 1, batch)).astype(dtype)
    tolerance = n * np.finfo(dtype).eps
    wide = np.broadcast_to(b, [2, n, n + 1, 4])
    expected = np.einsum("tikb,tkjb->tijb", a, wide, dtype=np.float64)
    assert (
        reference.scaled_error(steps.matmul(tf.constant(a), tf.constant(b)), expected) < tolerance
    )
    turned = tf.constant(np.swapaxes(b, 1, 2))
    assert (
        reference.scaled_error(steps.matmul_transposed(tf.constant(a), turned), expected)
        < tolerance
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_large_float64_matrices_are_multiplied_by_a_library(dtype):
    def operations(n):
        spec = tf.TensorSpec([n, n, None], dtype)
        graph = tf.function(steps.matmul).get_concrete_function(spec, spec).graph
        return {operation.type for operation in graph.get_operations()}

    assert "BatchMatMulV2" not in operations(16)
    assert ("BatchMatMulV2" in operations(17)) == (dtype == np.float64)


def test_a_model_of_many_states_is_exact():
    B, T, n, m = 2, 4, 18, 2
    rng = np.random.default_rng(0)
    model = reference.random_model(rng, B, T, n, m)
    y = reference.simulate(rng, model, B, T)[1]
    mask = reference.random_mask(rng, "per_step", B, T, m)
    exact = reference.loop_smoother(model, y, mask)
    result = tf.function(lgssm.smooth, autograph=False)(lgssm.LGSSM(*model), y, mask)
    for name in ("smoothed_means", "smoothed_covariances"):
        assert reference.scaled_error(getattr(result, name), getattr(exact, name)) < 1e-9
