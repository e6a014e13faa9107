"""Injected anomalies: what changes from the onset on, and that the simulator goes on from there."""

import numpy as np
import pytest

from kvae_tf.data.worlds import anomalies, bouncing_ball, pendulum
from kvae_tf.errors import UserError

N, T = 12, 14


def simulate(world, seed=0):
    if world == "box":
        return bouncing_ball.simulate("box", N, T, seed)
    return pendulum.simulate(N, T, seed)


@pytest.mark.parametrize("world", anomalies.WORLDS)
@pytest.mark.parametrize("kind", anomalies.KINDS)
def test_nothing_changes_before_the_onset(world, kind):
    data = simulate(world)
    found = anomalies.inject(world, kind, data, seed=3)
    assert found.data.frames.dtype == data.frames.dtype
    differs = np.any(found.data.frames != data.frames, axis=(2, 3, 4))
    onsets = found.anomalous.argmax(1) - (kind in ("faster", "slower"))
    assert onsets.min() >= anomalies.FIRST_ONSET
    assert onsets.max() <= T - anomalies.LAST_STEPS
    assert len(np.unique(onsets)) > 1
    assert not differs[np.arange(T) < onsets[:, None]].any()
    assert differs.any(1).mean() > 0.8
    same = anomalies.inject(world, kind, data, seed=3)
    np.testing.assert_array_equal(same.data.frames, found.data.frames)
    assert np.any(anomalies.inject(world, kind, data, seed=4).data.frames != found.data.frames)


def test_a_jump_of_the_pendulum_keeps_its_velocity_and_obeys_the_simulator():
    data = simulate("pendulum")
    found = anomalies.inject("pendulum", "jump", data, seed=0)
    for row, onset in enumerate(found.anomalous.argmax(1)):
        before, after = data.states[row, onset], found.data.states[row, onset]
        turn = (after[0] - before[0]) % (2 * np.pi)
        assert np.pi / 4 - 1e-4 < turn < 2 * np.pi - np.pi / 4 + 1e-4
        np.testing.assert_allclose(after[1], before[1], rtol=1e-6)
        path = pendulum.integrate(after[:1], after[1:], data.controls[None, row, onset:, 0])[0]
        np.testing.assert_allclose(found.data.states[row, onset:], path, atol=1e-4)
        np.testing.assert_allclose(
            found.data.frames[row, onset:], pendulum.render(path[:, 0]), atol=1e-4
        )


def test_a_jump_in_the_box_stays_inside_and_leads_away():
    data = simulate("box")
    found = anomalies.inject("box", "jump", data, seed=0)
    rows, onsets = np.arange(N), found.anomalous.argmax(1)
    before, after = data.states[rows, onsets], found.data.states[rows, onsets]
    assert np.linalg.norm(after[:, :2] - before[:, :2], axis=1).min() >= anomalies.LEAST_JUMP - 1e-4
    np.testing.assert_allclose(after[:, 2:], before[:, 2:], rtol=1e-6)
    assert found.data.states[..., :2].min() > 2
    assert found.data.states[..., :2].max() < 30
    lit = (found.data.frames > 0).sum((2, 3, 4))
    assert lit.min() > 20  # of 29 pixels: the ball is in every frame


@pytest.mark.parametrize(("kind", "factor"), [("faster", 2.0), ("slower", 0.5)])
@pytest.mark.parametrize("world", anomalies.WORLDS)
def test_velocities_change_at_the_onset(world, kind, factor):
    data = simulate(world)
    found = anomalies.inject(world, kind, data, seed=0)
    half = data.states.shape[-1] // 2
    for row, onset in enumerate(found.anomalous.argmax(1) - 1):
        before, after = data.states[row, onset], found.data.states[row, onset]
        np.testing.assert_allclose(after[:half], before[:half], rtol=1e-6)
        np.testing.assert_allclose(after[half:], factor * before[half:], rtol=1e-5)


def test_a_patch_covers_the_object_of_the_onset():
    for world in anomalies.WORLDS:
        data = simulate(world)
        found = anomalies.inject(world, "cover", data, seed=0)
        onsets = found.anomalous.argmax(1)
        left = found.data.frames[np.arange(N), onsets].astype(float).sum((1, 2, 3))
        whole = data.frames[np.arange(N), onsets].astype(float).sum((1, 2, 3))
        assert np.all(left < 0.02 * whole)
        assert found.anomalous.sum(1).tolist() == [4] * N


def test_a_still_film_shows_one_frame():
    data = simulate("box")
    found = anomalies.inject("box", "still", data, seed=0)
    for row, onset in enumerate(found.anomalous.argmax(1)):
        still = found.data.frames[row, onset - 1 :]
        np.testing.assert_array_equal(
            still, np.broadcast_to(data.frames[row, onset - 1], still.shape)
        )


def test_other_data_are_refused():
    box = simulate("box")
    for world, kind, data, words in (
        ("pong", "jump", box, "world is 'pong', expected one of box, pendulum"),
        ("box", "flood", box, "kind is 'flood', expected one of jump, faster"),
        ("pendulum", "jump", box, "the data have no states of pendulum"),
        ("box", "jump", bouncing_ball.simulate("box", 2, 9, 0), "have 9 frames, expected at least"),
        ("box", "jump", bouncing_ball.simulate("box", 2, T, 0, draw_walls=True), "other frames"),
    ):
        with pytest.raises(UserError, match=words):
            anomalies.inject(world, kind, data, seed=0)
