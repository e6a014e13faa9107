"""Readings that are given to objects by the likelihood of the motion, against all possible ways."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.models.cannonball import assignment
from kvae_tf.models.cannonball.newtonian import NewtonianMixture

N, M = 2, 2
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def motion():
    keras.utils.set_random_seed(0)
    layer = NewtonianMixture(1, M, step=1.0, transition_noise=1e-3, emission_noise=0.05)
    layer.build()
    layer.force.assign([0.0, 0.0, 0.0, -0.2])
    layer.start_log_scales.assign(np.log([[3.0, 3.0, 1.0, 1.0]]))
    return layer


def orders(motion, readings, hypotheses=8, seen=None, num_objects=None):
    readings = np.asarray(readings, np.float32)
    count, steps, objects = readings.shape[:3]
    seen = np.ones((count, steps)) if seen is None else seen
    num_objects = np.full(count, objects) if num_objects is None else num_objects
    variances = np.full(readings.shape, 0.1, np.float32)
    given = (
        tf.constant(readings),
        tf.constant(variances),
        tf.constant(seen, tf.float32),
        tf.constant(num_objects, tf.int32),
    )
    graph = tf.function(lambda *given: assignment.orders(motion, *given, hypotheses))
    return graph(*given).numpy()


def crossing(steps=9, exchanged_from=5):
    """Two objects that cross in the middle, whose readings are exchanged from a step on."""
    t = np.arange(steps)
    paths = np.stack(
        [
            np.stack([t - 4.0, 1.5 + 0.8 * t - 0.1 * t**2], axis=1),
            np.stack([4.0 - t, 4.0 + 0.5 * t - 0.1 * t**2], axis=1),
        ],
        axis=1,
    )
    readings = paths.copy()
    readings[exchanged_from:] = readings[exchanged_from:, ::-1]
    return paths[np.newaxis], readings[np.newaxis]


def test_the_likeliest_of_all_ways(motion):
    steps = 4
    readings = RNG.normal(size=(3, steps, N, M)).astype(np.float32)
    found = orders(motion, readings, hypotheses=64)
    ways = list(itertools.permutations(range(N)))
    variances = tf.fill([N, steps, M], 0.1)
    for sequence, best in zip(readings, found, strict=True):
        values = {}
        for later in itertools.product(ways, repeat=steps - 1):
            order = [ways[0], *later]
            paths = np.stack([[y[r] for r in o] for y, o in zip(sequence, order, strict=True)], 1)
            value = motion.component_log_probs(tf.constant(paths), variances=variances)
            changes = sum(a != b for a, b in itertools.pairwise(order))
            value = value.numpy().sum() + changes * np.log(0.05)
            values[tuple(order)] = value + (steps - 1 - changes) * np.log(0.95)
        assert tuple(map(tuple, best)) == max(values, key=values.get)


def test_exchanged_readings_come_back_to_their_objects(motion):
    paths, readings = crossing()
    found = orders(motion, readings)
    np.testing.assert_allclose(np.take_along_axis(readings, found[..., np.newaxis], 2), paths)
    assert (orders(motion, paths) == np.arange(N)).all()


def test_three_objects(motion):
    paths = RNG.normal(size=(4, 1, 3, M)) * 3.0
    paths = paths + np.arange(6)[:, np.newaxis, np.newaxis] * RNG.normal(size=(4, 1, 3, M))
    paths[..., 1] -= 0.1 * np.arange(6)[:, np.newaxis] ** 2
    readings = paths.copy()
    readings[:, 4] = readings[:, 4][:, [2, 0, 1]]
    found = orders(motion, readings, hypotheses=16)
    assert (found[:, 4] == [1, 2, 0]).all()
    assert (found[:, [0, 1, 2, 3, 5]] == np.arange(3)).all()


def test_absent_objects_keep_their_readings(motion):
    _, readings = crossing()
    assert (orders(motion, readings, num_objects=[1]) == np.arange(N)).all()


def test_hidden_steps_change_no_order(motion):
    _, readings = crossing()
    seen = np.ones((1, 9))
    seen[:, 3:7] = 0
    readings[:, 3:7] = np.nan_to_num(RNG.normal(size=(1, 4, N, M)) * 50)
    found = orders(motion, readings, seen=seen)
    assert (found[:, 2:7] == [0, 1]).all()
    assert (found[:, 7:] == [1, 0]).all()


def test_after_a_gap_attention_may_be_wrong():
    """An order after k steps is that of a Markov chain with as many steps."""
    same = tf.constant([[[True, False]], [[True, False]]])
    log_p = assignment._log_order(same, tf.constant([1.0, 7.0])).numpy()[:, 0]
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_p[0]), [0.95, 0.05], rtol=1e-5)
    step = np.array([[0.95, 0.05], [0.05, 0.95]])
    np.testing.assert_allclose(np.exp(log_p[1]), np.linalg.matrix_power(step, 7)[0], rtol=1e-5)


def test_one_hypothesis_does_not_look_ahead(motion):
    readings = RNG.normal(size=(20, 8, N, M)) * 2
    whole = orders(motion, readings, hypotheses=1)
    np.testing.assert_array_equal(orders(motion, readings[:, :5], hypotheses=1), whole[:, :5])
    many = [orders(motion, readings[:, :length], hypotheses=16) for length in (5, 8)]
    assert (many[0] != many[1][:, :5]).any()  # several do
