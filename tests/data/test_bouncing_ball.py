"""The bouncing-ball worlds: physics, drawing, reproducibility."""

import numpy as np
import pytest

from kvae_tf import data
from kvae_tf.data.worlds import bouncing_ball
from kvae_tf.data.worlds.bouncing_ball import SCENES, draw_ball, simulate, splits
from kvae_tf.errors import UserError

SCENE_NAMES = sorted(SCENES)


@pytest.fixture(scope="module", params=SCENE_NAMES)
def world(request):
    return request.param, simulate(request.param, 60, 60, seed=0)


def test_shapes_and_binary_frames(world):
    _, sequences = world
    assert sequences.frames.shape == (60, 60, 32, 32, 1)
    assert sequences.frames.dtype == np.uint8
    assert set(np.unique(sequences.frames)) == {0, 255}
    assert sequences.states.shape == (60, 60, 4)
    assert sequences.control_size == 0


def test_ball_stays_inside_and_whole(world):
    name, sequences = world
    x, y = sequences.states[..., 0], sequences.states[..., 1]
    assert min(x.min(), y.min()) > 0
    assert max(x.max(), y.max()) < 32
    lit = (sequences.frames > 0).sum(axis=(2, 3, 4))
    assert lit.min() >= 20, name
    if name != "pong":
        assert lit.max() == 29


def test_ball_is_where_the_state_says(world):
    name, sequences = world
    if name == "pong":
        pytest.skip("the paddles are lit too")
    lit = sequences.frames[..., 0] > 0
    row, column = np.mgrid[:32, :32] + 0.5
    inside = np.all((sequences.states[..., :2] > 4) & (sequences.states[..., :2] < 28), axis=-1)
    for pixel, centre in ((column, 0), (32 - row, 1)):
        found = (lit * pixel).sum(axis=(2, 3)) / lit.sum(axis=(2, 3))
        assert np.abs(found - sequences.states[..., centre])[inside].max() <= 0.5 + 1e-5


def test_frames_at_random_times_are_those_of_the_path():
    whole, drawn = simulate("box", 5, 30, 2), simulate("box", 5, 8, 2, path_frames=30)
    assert drawn.frames.shape == (5, 8, 32, 32, 1)
    assert (np.diff(drawn.times, axis=1) > 0.19).all()
    steps = np.rint(drawn.times / bouncing_ball.INTERVAL).astype(int)
    assert len(np.unique(steps, axis=0)) == 5
    for name in ("frames", "states"):
        found, path = getattr(drawn, name), getattr(whole, name)
        np.testing.assert_array_equal(found, path[np.arange(5)[:, None], steps])
    again = simulate("box", 5, 8, 2, path_frames=30)
    np.testing.assert_array_equal(again.times, drawn.times)
    with pytest.raises(UserError, match="path_frames is 7, expected 8 or more"):
        simulate("box", 5, 8, 2, path_frames=7)


def test_free_flight_is_straight():
    states = simulate("box", 40, 20, seed=1).states
    step = np.diff(states[..., :2], axis=1)
    inner = np.all((states[:, :-1, :2] > 9) & (states[:, :-1, :2] < 23), axis=-1)
    np.testing.assert_allclose(
        step[inner], bouncing_ball.INTERVAL * states[:, :-1, 2:][inner], atol=1e-4
    )


def test_box_keeps_the_speed_and_bounces():
    velocity = simulate("box", 40, 60, seed=2).states[..., 2:]
    speed = np.linalg.norm(velocity, axis=-1)
    np.testing.assert_allclose(speed, np.repeat(speed[:, :1], 60, axis=1), rtol=1e-3)
    assert speed.min() >= 10
    assert speed.max() <= 15
    assert (np.diff(np.sign(velocity), axis=1) != 0).any(axis=(1, 2)).all()


def test_gravity_pulls_down_and_keeps_the_ball():
    states = simulate("gravity", 300, 60, seed=0).states
    free = np.all((states[:, :-1, :2] > 10) & (states[:, :-1, :2] < 22), axis=-1)
    change = np.diff(states[..., 3], axis=1)[free]
    np.testing.assert_allclose(change, -5.0 * bouncing_ball.INTERVAL, atol=1e-3)
    assert states[..., 1].min() > 1.0


def test_paddles_follow_the_ball():
    sequences = simulate("pong", 50, 40, seed=3)
    left = sequences.frames[..., :2, 0] > 0  # the ball stays right of column 0 most of the time
    row = np.mgrid[:32, :2][0]
    paddle = 31 - (left[..., 0] * row[:, 0]).sum(-1) / np.maximum(left[..., 0].sum(-1), 1)
    y = sequences.states[..., 1]
    assert np.corrcoef(paddle[:, 10:].ravel(), y[:, 10:].ravel())[0, 1] > 0.9


def test_ball_is_round():
    ball = draw_ball(np.array([16.5, 16.5]))
    assert ball.sum() == 29
    np.testing.assert_array_equal(ball[12:19, 13:20], ball[12:19, 13:20].T)
    assert ball[15, 16]


def test_longer_sequences_continue_the_same_ones():
    short, long = simulate("box", 5, 20, seed=4), simulate("box", 5, 60, seed=4)
    np.testing.assert_array_equal(short.frames, long.frames[:, :20])
    more = simulate("box", 9, 20, seed=4)
    np.testing.assert_array_equal(short.states, more.states[:5])


def test_parts_have_their_own_streams():
    one = splits("box", 0, (4, 2, 3))
    other = splits("box", 0, (2, 2, 3))
    np.testing.assert_array_equal(one.test.frames, other.test.frames)
    assert not np.array_equal(one.train.states[:2], one.validation.states)
    assert not np.array_equal(one.train.states, splits("box", 1, (4, 2, 3)).train.states)


def test_walls_are_drawn_on_request():
    plain, walled = (simulate("polygon", 2, 4, 5, draw_walls=flag) for flag in (False, True))
    assert (walled.frames >= plain.frames).all()
    assert (walled.frames > 0).sum() > (plain.frames > 0).sum() + 2 * 4 * 60


def test_by_name(tmp_path):
    found = data.load("gravity", 0, tmp_path, num_sequences=(3, 2, 2), num_steps=5)
    np.testing.assert_array_equal(
        found.train.frames, splits("gravity", 0, (3, 2, 2), 5).train.frames
    )
    again = data.load("gravity", 0, tmp_path, num_sequences=(3, 2, 2), num_steps=5)
    np.testing.assert_array_equal(found.test.frames, again.test.frames)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scene": "circle"}, "scene is 'circle', expected one of box"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_sequences": (1, 2)}, "expected three numbers"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    settings = {"scene": "box", "seed": 0, "num_sequences": (1, 1, 1), "num_steps": 2}
    with pytest.raises(UserError, match=message):
        splits(**(settings | arguments))
