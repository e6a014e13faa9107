"""The method over blocks of steps: roots, blocks, and the same results as the loop."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.lgssm import blocks as blockwise
from kvae_tf.lgssm import parallel, roots, sequential
from kvae_tf.lgssm.blocks import Blocks

EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize("n", [1, 3, 9])  # 9: by a loop over rows
@pytest.mark.parametrize("kind", ["wide", "diagonal", "zero"])
def test_a_triangle_has_the_same_square(n, kind):
    rng = np.random.default_rng(n)
    wide = rng.normal(size=(n, n, 5)) * 10.0 ** rng.integers(-6, 6, size=(1, 1, 5))
    wide = wide * 0.0 if kind == "zero" else wide
    noise = rng.normal(size=(n, 5)) if kind == "diagonal" else None
    root = roots.triangle(tf.constant(wide), diagonal=None if noise is None else tf.constant(noise))
    square = np.einsum("ikb,jkb->ijb", wide, wide)
    if noise is not None:
        square[np.arange(n), np.arange(n)] += noise**2
    found = np.einsum("ikb,jkb->ijb", root, root)
    size = np.max(np.abs(square), axis=(0, 1))
    assert np.all(np.max(np.abs(found - square), axis=(0, 1)) <= 10 * n * EPS * size)
    above = np.abs(root.numpy()[np.triu_indices(n, 1)])
    assert np.all(above <= 10 * n * EPS * np.sqrt(size))


def test_the_first_columns_of_a_triangle_hold_all_of_the_first_rows():
    wide = np.random.default_rng(0).normal(size=(4, 9, 2))
    first = roots.triangle(tf.constant(wide), 3).numpy()
    assert first.shape == (4, 3, 2)
    products = np.einsum("ikb,jkb->ijb", wide, wide)
    np.testing.assert_allclose(np.einsum("ikb,jkb->ijb", first, first[:3]), products[:, :3])


@pytest.mark.parametrize("T", [1, 2, 5, 12, 17])
def test_steps_lie_in_blocks_in_order(T):
    blocks = Blocks.of(T)
    assert blocks.number * blocks.length >= T > (blocks.number - 1) * blocks.length
    x = np.random.default_rng(T).normal(size=(T, 2, 3))
    split = blocks.split(tf.constant(x))
    np.testing.assert_array_equal(blocks.merge(split), x)
    last = blocks.apart(split[0])
    np.testing.assert_array_equal(last, x[:: blocks.length])
    np.testing.assert_array_equal(blocks.together(last), split[0])
    traced = tf.function(
        lambda x: Blocks.of(tf.shape(x)[0]).split(x),
        input_signature=[tf.TensorSpec([None, 2, None], tf.float64)],
    )
    np.testing.assert_array_equal(traced(x), split)


def test_an_affine_recursion_over_blocks():
    T, n, B = 11, 3, 2
    rng = np.random.default_rng(0)
    F, a, L = (rng.normal(size=(T, *[n] * rank, B)) / 2 for rank in (2, 1, 2))
    L = L + np.swapaxes(L, 1, 2)
    blocks = Blocks.of(T)
    found = blockwise.affine(blocks, *(blocks.split(tf.constant(x)) for x in (F, a, L)))
    x, P = np.zeros((n, B)), np.zeros((n, n, B))
    for t in reversed(range(T)):
        x = np.einsum("ijb,jb->ib", F[t], x) + a[t]
        P = np.einsum("ijb,jkb,lkb->ilb", F[t], P, F[t]) + L[t]
        np.testing.assert_allclose(blocks.merge(found[0])[t], x, atol=1e-12)
        np.testing.assert_allclose(blocks.merge(found[1])[t], P, atol=1e-12)


def problem(kind, T, n, m, dtype):
    rng = np.random.default_rng(T)
    model = reference.random_model(rng, 2, T, n, m)
    y = reference.simulate(rng, model, 2, T)[1]
    mask = reference.random_mask(rng, kind, 2, T, m)
    model = lgssm.LGSSM(*model.cast(dtype))
    return model, reference.hide(y, mask).astype(dtype), mask


@pytest.mark.parametrize(
    ("kind", "T", "n", "m", "dtype"),
    [
        pytest.param("per_dimension", 130, 4, 2, np.float32, marks=pytest.mark.slow),
        pytest.param("per_step", 50, 8, 2, np.float64, marks=pytest.mark.slow),
        ("all_missing", 20, 2, 3, np.float64),
    ],
)
def test_blocks_give_what_the_loop_gives(kind, T, n, m, dtype):
    model, y, mask = problem(kind, T, n, m, dtype)
    inputs = [*map(tf.constant, model), tf.constant(y)]

    @tf.function(autograph=False)
    def graph(method):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            given = lgssm.LGSSM(*inputs[:-1]), inputs[-1], mask
            value = lgssm.log_likelihood(*given, method=method)
        gradients = tape.gradient(value, inputs)
        return lgssm.smooth(*given, method=method), gradients

    ours, theirs = (tf.nest.flatten(graph(method)) for method in ("parallel", "sequential"))
    tolerance = T * np.finfo(dtype).eps
    for x, exact in zip(ours, theirs, strict=True):
        assert x.shape == exact.shape
        assert reference.scaled_error(x, exact) < tolerance


def test_a_block_starts_at_what_the_loop_predicts():
    model, y, mask = problem("per_dimension", 40, 3, 2, np.float64)
    observed = np.broadcast_to(np.asarray(mask, np.float64), y.shape)
    y = np.where(observed > 0, y, 0.0)
    full = lgssm.LGSSM(*map(tf.constant, model)).broadcast(2, 40)
    fields = [np.moveaxis(x, 0, -1) for x in (*full, y, observed)]
    ssm = sequential.BatchLastLGSSM(*map(tf.constant, fields))
    blocks = Blocks.of(40)
    mean, root = parallel._starts(blocks, blocks.split_model(ssm))
    result = sequential.forward(ssm)
    means, covariances = result.predicted_means, result.predicted_covariances
    np.testing.assert_allclose(blocks.apart(mean), means[:: blocks.length], atol=1e-11)
    found = blocks.apart(parallel._square(root))
    np.testing.assert_allclose(found, covariances[:: blocks.length], atol=1e-10)
