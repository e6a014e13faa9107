"""Cannonballs: physics, drawing, counts, reproducibility."""

import numpy as np
import pytest

from kvae_tf import data
from kvae_tf.data.worlds import cannonballs
from kvae_tf.errors import UserError

SIZE, T = 48, 30


@pytest.fixture(scope="module")
def world():
    return cannonballs.simulate(300, T, 0)


def balls(world):
    """States ``[N, T, balls, 4]`` and which balls are there ``[N, balls]``."""
    states = world.states.reshape(*world.states.shape[:2], -1, 4)
    return states, np.arange(states.shape[2]) < world.num_objects[:, np.newaxis]


def test_shapes_and_counts(world):
    assert world.frames.shape == (300, T, SIZE, SIZE, 1)
    assert set(np.unique(world.frames)) == {0, 255}
    assert world.states.shape == (300, T, 12)
    np.testing.assert_array_equal(np.bincount(world.num_objects), [0, 100, 100, 100])
    states, there = balls(world)
    np.testing.assert_array_equal(np.any(states != 0, axis=(1, 3)), there)


def test_balls_are_whole_discs_where_the_states_say(world):
    single = world.select(world.num_objects == 1)
    light = (single.frames[..., 0] > 0).astype(float)
    total = light.sum((2, 3))
    assert total.min() >= 9
    assert total.max() <= 16
    pixel = np.arange(SIZE)
    column = (light.sum(2) * pixel).sum(-1) / total
    row = (light.sum(3) * (SIZE - 1 - pixel)).sum(-1) / total
    scale, _ = cannonballs.pixels(T, SIZE)
    for found, truth, axis in ((column, single.states[..., 0], 0), (row, single.states[..., 1], 1)):
        error = found - truth
        assert abs(error.mean()) < 0.05
        noise = np.sqrt(cannonballs.NOISE) * scale[axis]
        assert 0.9 * noise < error.std() < 1.3 * noise


def test_flight_is_newtonian(world):
    states, there = balls(world)
    states = states[:, :, 0]
    scale, _ = cannonballs.pixels(T, SIZE)
    step, g = cannonballs.STEP, cannonballs.GRAVITY
    x, v = states[..., :2], states[..., 2:]
    pull = np.array([0.0, -g * step**2]) * scale
    np.testing.assert_allclose(np.diff(v, axis=1), np.broadcast_to(pull, v[:, 1:].shape), atol=1e-4)
    np.testing.assert_allclose(np.diff(x, axis=1), v[:, :-1] + pull / 2.0, atol=1e-4)
    assert there.all(axis=1).any()


def test_shots_are_those_of_the_paper(world):
    states, there = balls(world)
    scale, offset = cannonballs.pixels(T, SIZE)
    first = states[:, 0][there]
    x, y = ((first[:, :2] - offset) / scale).T
    vx, vy = (first[:, 2:] / scale / cannonballs.STEP).T
    left = vx > 0
    assert 0.35 < left.mean() < 0.65
    largest = -0.1 + 3 * np.cos(np.radians(40)) * 0.015 * 29
    start = np.where(left, x, x - 0.9 * largest)
    for values, (low, high) in (
        (start, (-0.5, -0.1)),
        (y, (-0.5, 0.5)),
        (np.hypot(vx, vy), (2, 3)),
        (np.degrees(np.arctan2(vy, np.abs(vx))), (40, 60)),
    ):
        slack = 0.02 * (high - low)
        assert low - slack <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high + slack


def test_seeds_and_prefixes(world):
    again, other = (cannonballs.simulate(300, T, seed) for seed in (0, 1))
    np.testing.assert_array_equal(world.frames, again.frames)
    assert not np.array_equal(world.frames, other.frames)


@pytest.mark.parametrize("steps", [30, 50])
def test_small_and_long_sequences_stay_inside(steps):
    small = cannonballs.simulate(200, steps, 0, size=32, num_balls=(1, 2))
    assert small.frames.shape == (200, steps, 32, 32, 1)
    single = small.select(small.num_objects == 1)
    assert (single.frames > 0).sum((2, 3, 4)).min() >= 9


@pytest.mark.parametrize("num_balls", [(), (0,), (4,), (1.5,)])
def test_bad_counts(num_balls):
    with pytest.raises(UserError, match="num_balls"):
        cannonballs.simulate(2, T, 0, num_balls=num_balls)


def test_counts_survive_files_and_reach_batches(tmp_path):
    splits = data.load("cannonballs_small", 0, tmp_path, num_sequences=(6, 4, 2), num_steps=5)
    cached = data.load("cannonballs_small", 0, tmp_path, num_sequences=(6, 4, 2), num_steps=5)
    for one, two in zip(splits, cached, strict=True):
        np.testing.assert_array_equal(one.num_objects, two.num_objects)
    batch = next(iter(data.training_batches(cached.train, 6, 0)))
    lit = np.sum(batch["frames"].numpy() > 0, axis=(1, 2, 3, 4))
    assert set(batch["num_objects"].numpy()) == {1, 2}
    assert lit[batch["num_objects"] == 2].mean() > 1.4 * lit[batch["num_objects"] == 1].mean()


@pytest.mark.parametrize("counts", [[1, 2], [0, 1, 1], [1.0, 1.0, 1.0]])
def test_bad_num_objects(counts):
    images = np.zeros((3, 2, 4, 4), np.uint8)
    with pytest.raises(UserError, match="num_objects"):
        data.SequenceData.from_arrays(images, num_objects=np.array(counts))
