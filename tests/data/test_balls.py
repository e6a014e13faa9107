"""Grey balls: physics, drawing, reproducibility."""

import numpy as np
import pytest

from kvae_tf import data
from kvae_tf.data.worlds import balls

NAMES = sorted(balls.WORLDS)


@pytest.fixture(scope="module", params=NAMES)
def world(request):
    return request.param, balls.WORLDS[request.param](50, 60, 0)


def test_shapes(world):
    name, sequences = world
    size, controls, states = {"controlled_ball": (16, 2, 4), "two_balls": (20, 0, 8)}[name]
    assert sequences.frames.shape == (50, 60, size, size, 1)
    assert sequences.controls.shape == (50, 60, controls)
    assert sequences.states.shape == (50, 60, states)
    assert len(sequences.state_names) == states
    assert sequences.frames.min() >= 0
    assert 0.9 < sequences.frames.max() <= 1


def test_seeds_and_prefixes(world):
    name, sequences = world
    again, other = balls.WORLDS[name](50, 60, 0), balls.WORLDS[name](50, 60, 1)
    np.testing.assert_array_equal(sequences.frames, again.frames)
    assert not np.array_equal(sequences.frames, other.frames)
    short = balls.WORLDS[name](50, 20, 0)
    np.testing.assert_array_equal(sequences.frames[:, :20], short.frames)


def test_balls_are_where_the_states_say(world):
    name, sequences = world
    light = sequences.frames[..., 0]
    pixel = np.arange(light.shape[-1]) + 0.5
    total = light.sum((2, 3))
    if name == "controlled_ball":
        truth, inside = sequences.states[..., :2], slice(None)
        margin = np.all((truth > 4) & (truth < 12), axis=-1)
    else:  # the middle of both balls, where they do not overlap
        positions = sequences.states[..., :4].reshape(50, 60, 2, 2)
        truth = positions.mean(2) * 2.0
        apart = np.linalg.norm(positions[:, :, 0] - positions[:, :, 1], axis=-1) > 3.0
        margin = apart & np.all((positions > 1.5) & (positions < 8.5), axis=(2, 3))
        inside = slice(None)
    assert margin.mean() > 0.1
    for axis, image in ((0, light.sum(2)), (1, light.sum(3))):
        found = (image * pixel).sum(-1) / total
        assert np.abs(found - truth[..., axis])[inside][margin].max() < 0.15  # pixels


def test_controls_are_added_to_the_velocity():
    sequences = balls.controlled_ball(50, 30, 0)
    x, v = sequences.states[..., :2], sequences.states[..., 2:]
    after = v[:, :-1] + sequences.controls[:, :-1]
    free = np.all((x[:, :-1] + after > 3) & (x[:, :-1] + after < 13), axis=-1)
    np.testing.assert_allclose(v[:, 1:][free], after[free], atol=1e-6)
    np.testing.assert_allclose((x[:, 1:] - x[:, :-1])[free], after[free], atol=1e-5)
    np.testing.assert_allclose(np.abs(v[:, 1:]), np.abs(after), atol=1e-6)  # walls only turn it
    assert x.min() >= 3
    assert x.max() <= 13


def test_bounce_folds_several_times():
    x, v = balls.bounce(np.array([-1.0, 12.0, 25.0, 4.0]), np.ones(4), 0.0, 10.0)
    np.testing.assert_allclose(x, [1.0, 8.0, 5.0, 4.0])
    np.testing.assert_allclose(v, [-1.0, -1.0, 1.0, 1.0])


def test_two_balls_keep_their_energy_and_collide():
    states = balls.two_balls(200, 100, 0).states
    v = states[..., 4:]
    np.testing.assert_allclose(np.square(v).sum(-1), balls.SPEED**2, rtol=1e-4)
    x = states[..., :4].reshape(200, 100, 2, 2)
    distance = np.linalg.norm(x[:, :, 0] - x[:, :, 1], axis=-1)
    assert (distance.min(1) < 2.5).mean() > 0.3  # they meet
    assert distance.min() > 2 * balls.RADIUS - 0.5  # and turn back
    assert x.min() > balls.RADIUS - 0.3
    assert x.max() < balls.BOX - balls.RADIUS + 0.3


def test_a_collision_keeps_momentum_and_happens_once():
    x = np.array([[[4.0, 5.0], [6.0, 5.5]]])
    v = np.array([[[0.3, 0.1], [-0.2, 0.0]]])
    after = balls.collide(x, v)
    np.testing.assert_allclose(after.sum(1), v.sum(1))
    np.testing.assert_allclose(np.square(after).sum(), np.square(v).sum())
    assert not np.allclose(after, v)
    np.testing.assert_array_equal(balls.collide(x, after), after)


@pytest.mark.parametrize(("name", "sizes"), [("controlled_ball", 500), ("two_balls", 2000)])
def test_by_name(name, sizes, tmp_path):
    parts = data.load(name, 0, tmp_path)
    assert [len(part) for part in parts] == [sizes, 500, 500]
    assert parts.train.num_steps == 15
    assert not np.array_equal(parts.train.frames[:500], parts.test.frames)
