"""A sampler's noise is that of its rows in the whole batch, whatever is drawn."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError

SEED = (3, 2**31)
B = 12


def normal(sampler, shape, axis):
    return sampler.normal(shape, axis, tf.float64)


def uniform(sampler, shape, axis):
    return sampler.uniform(shape, axis)


@pytest.mark.parametrize("draw", [normal, uniform])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("parts", [2, 3])
def test_parts_have_their_rows_of_the_whole_draw(draw, axis, parts):
    def shape(rows):
        return [rows, 2, 3] if axis == 0 else [5, rows, 3]

    sampler = lgssm.as_sampler(SEED)
    whole = draw(sampler, shape(B), axis).numpy()
    each = [draw(sampler.part(k, parts), shape(B // parts), axis) for k in range(parts)]
    np.testing.assert_array_equal(np.concatenate(each, axis), whole)
    inner = [draw(sampler.part(1, parts).part(k, 2), shape(B // parts // 2), axis) for k in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(inner, axis), each[1])
    graph = tf.function(
        lambda index, rows: draw(sampler.part(index, parts), shape(rows), axis), autograph=False
    )
    one = graph(tf.constant(1), tf.constant(B // parts))
    np.testing.assert_array_equal(one, each[1])
    free = graph.get_concrete_function(*[tf.TensorSpec([], tf.int32)] * 2).output_shapes
    assert free.as_list() == shape(None)


def test_streams_are_those_of_the_seed():
    pair = tf.constant(SEED, tf.int64)
    sampler = lgssm.as_sampler(SEED)
    draw = tf.random.stateless_normal
    np.testing.assert_array_equal(sampler.normal([4, 2]), draw([4, 2], pair))
    seeds = tf.random.split(pair, 3)
    for one, seed in zip(sampler.split(3), seeds, strict=True):
        np.testing.assert_array_equal(one.normal([4, 2]), draw([4, 2], seed))
    np.testing.assert_array_equal(
        sampler.part(1, 2).split(3)[2].normal([4, 2]), draw([8, 2], seeds[2])[4:]
    )


def test_what_is_a_seed():
    for seed in (7, (0, 7), np.int64(7), tf.constant(7), tf.constant([0, 7])):
        sampler = lgssm.as_sampler(seed)
        assert sampler.seed.dtype == tf.int64
        np.testing.assert_array_equal(sampler.seed, [0, 7])
        assert lgssm.as_sampler(sampler) is sampler
    for seed in (0.5, (1, 2, 3), [[1, 2]], None, "seed"):
        with pytest.raises(UserError, match="seed is .*, expected an int, a pair of ints"):
            lgssm.as_sampler(seed)


def test_parts_of_a_model_are_sampled_as_the_whole():
    rng = np.random.default_rng(0)
    model = reference.random_model(rng, B, 4, 3, 2)
    _, y = reference.simulate(rng, model, B, 4)
    sampler = lgssm.as_sampler(SEED)

    def draws(rows, sampler):
        own = lgssm.LGSSM(*(x[rows] for x in model.expand(B, 4)))
        posterior = lgssm.posterior_sample(own, y[rows], seed=sampler, num_samples=3)
        return *lgssm.sample(own, sampler), tf.transpose(posterior, [1, 0, 2, 3])

    parts = [draws(slice(4 * k, 4 * k + 4), sampler.part(k, 3)) for k in range(3)]
    for whole, *each in zip(draws(slice(None), sampler), *parts, strict=True):
        assert whole.shape[0] == B
        assert reference.scaled_error(np.concatenate(each), whole) < 1e-12
