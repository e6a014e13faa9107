"""Billiards: energy, collisions, frames, and what the states say of them."""

import numpy as np
import pytest

from kvae_tf import evaluation
from kvae_tf.data.worlds import billiards
from kvae_tf.errors import UserError
from kvae_tf.evaluation import discs

SIZE, STEPS = 20, 40


@pytest.fixture(scope="module")
def data():
    return billiards.simulate(90, STEPS, 0, size=SIZE)


def balls(data):
    states = data.states.reshape(len(data), STEPS, 3, 4)
    there = np.arange(3) < data.num_objects[:, None]
    return states[..., :2], states[..., 2:], there


def test_shapes_and_ranges(data):
    assert data.frames.shape == (90, STEPS, SIZE, SIZE, 1)
    assert data.frames.dtype == np.uint8
    assert data.frames.max() == 255
    np.testing.assert_array_equal(data.num_objects[:6], [1, 2, 3, 1, 2, 3])
    x, v, there = balls(data)
    assert not x[~there.repeat(STEPS, 0).reshape(90, STEPS, 3)].any()
    speed = np.sqrt(np.square(v).sum(-1)[:, 0][there].mean())
    np.testing.assert_allclose(speed, billiards.SPEED * SIZE / billiards.BOX, rtol=0.1)


def test_energy_is_kept_and_balls_stay_inside(data):
    x, v, there = balls(data)
    energy = np.square(v).sum((2, 3))
    np.testing.assert_allclose(energy, energy[:, :1].repeat(STEPS, 1), rtol=1e-4)
    margin = billiards.RADIUS * SIZE / billiards.BOX
    reach = np.abs(v).max() / billiards.SUBSTEPS
    inside = x[there.repeat(STEPS, 0).reshape(90, STEPS, 3)]
    assert inside.min() > margin - 0.5 - reach
    assert inside.max() < SIZE - margin - 0.5 + reach


def test_balls_meet_and_do_not_overlap(data):
    x, v, there = balls(data)
    three = there.all(1)
    distance = np.linalg.norm(x[three, :, 0] - x[three, :, 1], axis=-1)
    touching = 2.0 * billiards.RADIUS * SIZE / billiards.BOX
    assert distance.min() > 0.9 * touching
    momentum = v[three].sum(2)
    # Apart from walls, only collisions change velocities, and they keep the sum.
    changed = (np.abs(np.diff(v[three], axis=1)).max((2, 3)) > 1e-3).any(-1)
    kept = np.abs(np.diff(momentum, axis=1)).max(-1) < 1e-4
    alone = np.abs(np.diff(v[three], axis=1)).max(-1) > 1e-3  # [N, T - 1, balls]
    assert changed.any()
    assert (kept & (alone.sum(-1) == 2)).sum() > 10


def test_collisions_exchange_velocities_along_the_line_between():
    x = np.array([[[0.0, 0.0], [1.0, 0.0]]])
    v = np.array([[[1.0, 0.3], [-0.5, 0.2]]])
    both = np.ones((1, 2), bool)
    after = billiards.collide(x, v, both)
    np.testing.assert_allclose(after, [[[-0.5, 0.3], [1.0, 0.2]]])
    np.testing.assert_array_equal(billiards.collide(x, after, both), after)  # they part
    alone = np.array([[True, False]])
    np.testing.assert_array_equal(billiards.collide(x, v, alone), v)


def test_frames_show_the_balls_where_they_are(data):
    truth = evaluation.true_positions(data)
    rows = np.flatnonzero(data.num_objects == 1)
    found = discs.find(data.unit_frames[rows, 7, ..., 0], data.num_objects[rows], 2)
    np.testing.assert_allclose(found[:, 0], truth[rows, 7, 0], atol=0.35)


def test_longer_sequences_continue_shorter_ones():
    short, long = (billiards.simulate(6, steps, 3, size=SIZE) for steps in (5, 9))
    np.testing.assert_array_equal(short.frames, long.frames[:, :5])


@pytest.mark.parametrize(
    "wrong", [{"num_balls": (4,)}, {"num_balls": ()}, {"size": 4}, {"num_steps": 1}]
)
def test_wrong_numbers_are_refused(wrong):
    given = {"num_sequences": 3, "num_steps": 5, "seed": 0} | wrong
    with pytest.raises(UserError, match=next(iter(wrong))):
        billiards.simulate(**given)
