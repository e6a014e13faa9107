"""The draws of starts against plain rejection, and the errors that follow from them."""

import numpy as np
import pytest
from commands import run

from kvae_tf.data import storage
from kvae_tf.data.worlds import bouncing_ball, box_motion, cannonballs
from kvae_tf.errors import UserError
from kvae_tf.evaluation import incorrect_pixels
from kvae_tf.studies import bayes_floor
from kvae_tf.studies.least_error import bayes, bouncing, known_modes, newton, starts

SIZE = bouncing_ball.SIZE
STEPS = 8


def cells(states):
    return np.floor(states[..., :2]).astype(int)


@pytest.fixture(scope="module", params=box_motion.WORLDS)
def posterior(request):
    """World, pixels ``[T, 2]`` of a common path, and states of all draws that begin like it.

    Starts are drawn from the simulator's own distribution, both axes at once, and kept where the
    first two frames are the same. Starts that were clipped along both axes are common.
    """
    world, number, rng = request.param, 1_500_000, np.random.default_rng(0)
    scene = bouncing_ball.SCENES[world]
    position = np.clip(16.0 + scene.start_std * rng.normal(size=(number, 2)), 6.0, 26.0)
    corner = (position == 26.0).all(axis=1)
    position, number = position[corner], corner.sum()
    angle, speed = rng.uniform(0, 2 * np.pi, number), rng.uniform(*scene.speeds, number)
    velocity = speed[:, np.newaxis] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    states = box_motion.states(world, position, velocity, STEPS)
    _, which, counts = np.unique(
        cells(states[:, 1]), axis=0, return_inverse=True, return_counts=True
    )
    states = states[which.ravel() == counts.argmax()]
    assert len(states) > 1000
    return world, cells(states[0]), states


def test_draws_are_those_of_plain_rejection(posterior):
    world, pixels, states = posterior
    rng = np.random.default_rng(1)
    found = [starts.draw(world, axis, pixels[:, axis], 2, 1, 1, rng) for axis in (0, 1)]
    seen = np.arange(STEPS) < 2
    indices = [rng.choice(axis.given(seen), 20_000) for axis in found]
    velocity = np.stack(
        [axis.velocities[i] for axis, i in zip(found, indices, strict=True)], axis=-1
    )
    weights = starts.speed_weights(world, *velocity.T)
    weights /= weights.sum()
    tolerance = 4.0 / np.sqrt(len(states))  # standard errors
    for measure_of in (lambda v: v, np.square, lambda v: v * v[:, ::-1], lambda v: np.hypot(*v.T)):
        truth = measure_of(states[:, 0, 2:])
        error = weights @ measure_of(velocity) - truth.mean(axis=0)
        assert np.all(np.abs(error) < tolerance * truth.std(axis=0))
    for t in (4, STEPS - 1):
        share = np.zeros((SIZE, SIZE))
        np.add.at(share, tuple(axis.pixels[i, t] for axis, i in zip(found, indices, strict=True)),
                  weights)  # fmt: skip
        truth = np.zeros((SIZE, SIZE))
        np.add.at(truth, tuple(cells(states)[:, t].T), 1.0 / len(states))
        assert np.abs(share - truth).max() < 2 * tolerance * np.sqrt(truth.max())


def test_the_guess_is_the_best_one(posterior):
    """Its error over paths that are drawn from the posterior is as small as that of the truth."""
    world, pixels, states = posterior
    guesser = bayes.Guesser(world, pixels, 2, 1, 1, np.random.default_rng(2))
    seen, wanted = np.arange(STEPS) < 2, np.arange(2, STEPS)
    errors = guesser.errors(seen, wanted)
    balls = bouncing_ball.draw_ball(states[:, 2:, :2])
    guess = balls.mean(axis=0) > 0.5  # the best one, by plain rejection
    best = (guess != bouncing_ball.draw_ball(pixels[2:] + 0.5)).mean(axis=(1, 2))
    assert best.max() > 0.01
    np.testing.assert_allclose(errors, best, atol=6 / SIZE**2)
    np.testing.assert_array_equal(guesser.errors(seen, wanted[:2]), errors[:2])
    again = bayes.Guesser(world, pixels, 2, 1, 1, np.random.default_rng(2))
    np.testing.assert_array_equal(again.errors(seen, wanted), errors)


def test_frames_tell_the_pixel():
    data = bouncing_ball.simulate("gravity", 50, 20, seed=0)
    found = starts.ball_pixels(data.frames)
    inside = np.abs(data.states[..., :2] - np.round(data.states[..., :2])) > 1e-5
    np.testing.assert_array_equal(found[inside], np.floor(data.states[..., :2])[inside])


def test_starts_that_are_clipped():
    for pixel, position in ((26, 26.0), (6, 6.0)):
        x = starts._start(10.0, pixel, np.linspace(0.001, 0.999, 500))
        assert (x == position).mean() > 0.8
        assert np.all(np.floor(x) == pixel)
    assert np.ptp(starts._start(10.0, 25, np.linspace(0.001, 0.999, 500))) > 0.9


def test_rounding_decides_where_a_ball_comes_back_to_its_start():
    """From 26 to 27.04, where it turns, and back to 26, or a little less."""
    for pixel in (25, 26):
        pixels = np.array([26, 27, pixel, 24, 23, 22])
        found = starts.draw("box", 0, pixels, 4, 5, 1, np.random.default_rng(0))
        back = np.abs(found.velocities - 5.25) < 0.2
        assert back.sum() > 100
        assert found.right[back, 2].all()


def test_a_path_that_cannot_be_has_the_nearest_starts():
    pixels = np.array([10, 12, 14, 16, 30, 20])
    found = starts.draw("box", 0, pixels, 4, 5, 1, np.random.default_rng(0))
    given = found.given(np.ones(6, bool))
    assert len(given)
    assert (found.right[given].sum(axis=1) == 5).all()


@pytest.mark.parametrize("world", box_motion.WORLDS)
def test_known_modes_find_the_path(world):
    """Through a gap with bounces: nearly exact from positions in place of pixels."""
    data = bouncing_ball.simulate(world, 20, 20, seed=3)
    truth, observed = data.states[..., :2], np.ones((20, 20))
    observed[:, 4:17] = 0.0
    ssm = known_modes.model(world, data.states)
    rmse = {}
    for name, pixels in (("exact", truth - 0.5), ("pixels", starts.ball_pixels(data.frames))):
        for method, found in known_modes.positions(ssm, pixels, observed).items():
            rmse[name, method] = np.sqrt(np.mean(np.square(found - truth)))
    assert rmse["exact", "smooth"] < rmse["exact", "filter"] < 0.15
    assert rmse["exact", "smooth"] < 0.05
    assert rmse["pixels", "smooth"] < 0.4
    assert rmse["pixels", "smooth"] < 0.5 * rmse["pixels", "filter"]


def test_a_measurement(monkeypatch):
    """Few sequences and points, beside the committed numbers of all."""
    points = bouncing._POINTS
    few = {
        "missing_at_random": ((0.5, 1.0), points["missing_at_random"][1]),
        "gap": ((15,), points["gap"][1]),
    }
    monkeypatch.setattr(bouncing, "_POINTS", few)
    found = bouncing.measure("box", 25, seed=5)
    assert found["sequences"] == 25
    assert found["few_draws"] == 0
    for group, (x, _) in few.items():
        assert found[group]["x"] == list(x)
        for name, reference in (
            ("least", bayes_floor.floor), ("known_modes", bayes_floor.known_modes),
        ):  # fmt: skip
            for method, values in reference("box", group, x).items():
                errors = np.array(found[group][name][f"{method}_se"])
                assert np.all(np.abs(np.array(found[group][name][method]) - values) < 4 * errors)
    whole = found["missing_at_random"]["least"]
    assert whole["smooth"][1] == whole["filter"][1]  # nothing is seen after the start


def test_cannonballs_of_one_who_knows_the_law():
    found = newton.measure("cannonballs_small", 40)
    committed = storage.read_json(bayes_floor.PATH, "floors")["cannonballs_small"]
    noise = np.sqrt(cannonballs.NOISE) * cannonballs.pixels(30, 32)[0].mean()
    for count in (1, 2):
        # Of T = 30 readings four numbers a ball are estimated, two along each axis.
        expected = noise * np.sqrt(2.0 * 2.0 / 30)
        np.testing.assert_allclose(found[f"position_rmse/{count}"], expected, rtol=0.15)
        assert found[f"position_r2/{count}"] > 0.998
    for group in ("generation", "interpolation"):
        assert found[group]["frames"] == committed[group]["frames"]
        for name in ("position_error", "expected_error", "incorrect_pixels"):
            np.testing.assert_allclose(
                np.mean(found[group][name]), np.mean(committed[group][name]), rtol=0.15
            )
    assert np.all(np.diff(found["generation"]["position_error"][::6]) > 0)


def test_a_repeated_frame_is_worse(posterior):
    world, pixels, _ = posterior
    guesser = bayes.Guesser(world, pixels, 2, 1, 1, np.random.default_rng(3))
    error = guesser.errors(np.arange(STEPS) < 2, np.array([5]))[0]
    balls = bouncing_ball.draw_ball(pixels + 0.5)[..., np.newaxis]
    assert error < incorrect_pixels(balls[1], balls[5])


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(UserError, match="world is 'polygon', expected one of box, gravity"):
        bouncing.measure("polygon")
    with pytest.raises(UserError, match="num_sequences is 0"):
        bouncing.measure("box", 0)
    result = run("floor", "--worlds=pong", f"--output={tmp_path / 'x' / 'y.json'}")
    assert result.returncode == 1
    assert "--worlds has 'pong', expected some of box, gravity" in result.stderr
    assert not (tmp_path / "x").exists()
