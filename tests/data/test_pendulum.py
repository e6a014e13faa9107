"""The pendulum against SciPy's integrator, its energy, and its renderer's formula."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kvae_tf.data.worlds import WORLDS, pendulum
from kvae_tf.errors import UserError


def _oracle(angle, velocity, torque):
    """States of one sequence at its frames, piece by piece, by an adaptive method of order 8."""
    states = [np.array([angle, velocity])]
    for u in torque[:-1]:
        # m = l = 1, friction 0.5, gravity 9.81; written out rather than taken from the module.
        piece = solve_ivp(
            lambda _, z, u=u: [z[1], -0.5 * z[1] + 9.81 * np.sin(z[0]) + u],
            (0.0, 0.1),
            states[-1],
            method="DOP853",
            rtol=1e-12,
            atol=1e-12,
        )
        states.append(piece.y[:, -1])
    return np.array(states)


def test_integrator_agrees_with_scipy():
    rng = np.random.default_rng(0)
    angle, velocity = rng.uniform(0, 2 * np.pi, 6), rng.uniform(-np.pi, np.pi, 6)
    torque = rng.uniform(-2, 2, (6, 15))
    expected = [_oracle(*start) for start in zip(angle, velocity, torque, strict=True)]
    np.testing.assert_allclose(
        pendulum.integrate(angle, velocity, torque), np.array(expected), atol=1e-6
    )


def test_simulated_states_follow_from_the_start_and_the_stored_controls():
    data = pendulum.simulate(5, 15, seed=1)
    for states, controls in zip(data.states, data.controls, strict=True):
        expected = _oracle(*states[0].astype(float), controls[:, 0].astype(float))
        np.testing.assert_allclose(states, expected, atol=1e-4)


def test_frames_follow_the_formula_pixel_by_pixel():
    data = pendulum.simulate(3, 4, seed=2)
    assert data.frames.shape == (3, 4, 16, 16, 1)
    assert data.frames.dtype == np.float32
    for n, t in np.ndindex(3, 4):
        phi = float(data.states[n, t, 0])
        x, y = 7.5 + 4.8 * np.sin(phi), 7.5 + 4.8 * np.cos(phi)
        for i, j in np.ndindex(16, 16):
            expected = np.exp(-((j - x) ** 2 + (i - y) ** 2) / (2 * 1.5**2))
            assert data.frames[n, t, i, j, 0] == pytest.approx(expected, abs=1e-5)


def test_render_takes_any_shape_and_stays_in_range():
    frames = pendulum.render(np.linspace(0, 2 * np.pi, 12).reshape(3, 4))
    assert frames.shape == (3, 4, 16, 16, 1)
    assert frames.min() >= 0.0
    assert frames.max() <= 1.0
    np.testing.assert_array_equal(pendulum.render(0.0), frames[0, 0])


def _energy(states):
    return 0.5 * states[..., 1] ** 2 + 9.81 * np.cos(states[..., 0])


def test_energy_is_kept_without_friction_and_torque_and_lost_with_friction(monkeypatch):
    start = np.array([0.3, 2.0, 5.0]), np.array([1.0, -2.0, 0.5])
    energy = _energy(pendulum.integrate(*start, np.zeros((3, 50))))
    assert (np.diff(energy, axis=1) < 0).all()
    monkeypatch.setattr(pendulum, "FRICTION", 0.0)
    energy = _energy(pendulum.integrate(*start, np.zeros((3, 50))))
    np.testing.assert_allclose(energy, np.broadcast_to(energy[:, :1], energy.shape), rtol=1e-6)


def test_rest_is_stable_below_and_unstable_above():
    still = np.zeros(2)
    states = pendulum.integrate(np.array([1e-3, np.pi - 1e-3]), still, np.zeros((2, 15)))
    assert states[0, -1, 0] > 0.02
    assert np.abs(states[1, :, 0] - np.pi).max() < 1.1e-3


@pytest.mark.parametrize("t", [0, 6, 13, 14])
def test_a_control_acts_from_its_frame_to_the_next(t):
    data = pendulum.simulate(4, 15, seed=3)
    start = data.states[:, 0].astype(np.float64)
    torque = data.controls[..., 0]
    changed = torque.copy()
    changed[:, t] += 1.0
    before = pendulum.render(pendulum.integrate(*start.T, torque)[..., 0])
    after = pendulum.render(pendulum.integrate(*start.T, changed)[..., 0])
    np.testing.assert_array_equal(before[:, : t + 1], after[:, : t + 1])
    if t + 1 < 15:
        assert (np.abs(before - after)[:, t + 1].max(axis=(1, 2, 3)) > 1e-4).all()


def test_starts_and_torques_fill_their_ranges():
    data = pendulum.simulate(4000, 2, seed=4)
    for values, low, high in [
        (data.states[:, 0, 0], 0.0, 2 * np.pi),
        (data.states[:, 0, 1], -np.pi, np.pi),
        (data.controls[:, 0], -2.0, 2.0),
        (data.controls[:, -1], -2.0, 2.0),  # the last one is drawn too
    ]:
        assert values.min() >= low - 1e-6
        assert values.max() <= high + 1e-6
        # Deciles of a uniform distribution, within five standard deviations.
        share, _ = np.histogram(values, 10, (low, high))
        np.testing.assert_allclose(share, 400, atol=5 * np.sqrt(400))


def test_shapes_and_names():
    data = pendulum.simulate(3, 7, seed=0)
    assert data.controls.shape == (3, 7, 1)
    assert data.controls.dtype == data.states.dtype == data.observed.dtype == np.float32
    assert data.states.shape == (3, 7, 2)
    assert data.state_names == ("angle", "angular_velocity")
    np.testing.assert_array_equal(data.observed, np.ones((3, 7)))


def test_parts_do_not_depend_on_each_other_s_sizes():
    one = WORLDS["pendulum"].splits(7, (4, 3, 2), 5)
    two = WORLDS["pendulum"].splits(7, (4, 9, 1), 5)
    assert [len(part) for part in one] == [4, 3, 2]
    np.testing.assert_array_equal(one.train.frames, two.train.frames)
    np.testing.assert_array_equal(one.train.controls, two.train.controls)
    assert one.test.states[0, 0, 0] == two.test.states[0, 0, 0]  # the stream's first draw
    starts = [part.states[0, 0].tolist() for part in one]
    assert starts[0] != starts[1] != starts[2] != starts[0]
    other = WORLDS["pendulum"].splits(8, (4, 3, 2), 5)
    assert (one.train.frames != other.train.frames).any()


def test_the_default_is_the_experiment_of_the_paper():
    assert [part.frames.shape for part in pendulum.splits(0)] == [(500, 15, 16, 16, 1)] * 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, (5, 5)), "num_sequences is"),
        ((0, 5), "num_sequences is"),
        ((0, (5, 0, 5)), "num_sequences is 0"),
        ((0, (5, 5, 5), 0), "num_steps is 0"),
        ((0, (5, 5, 5), 1.5), "num_steps is 1.5"),
        ((-1,), "seed is -1"),
    ],
)
def test_bad_sizes(arguments, words):
    with pytest.raises(UserError, match=words):
        pendulum.splits(*arguments)
