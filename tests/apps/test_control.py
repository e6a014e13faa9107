"""Tasks against their simulators, episodes, and the command."""

import json

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, run
from PIL import Image, ImageSequence

from kvae_tf.apps import control
from kvae_tf.apps.control import episodes, policies
from kvae_tf.apps.control.swing_up import SwingUp
from kvae_tf.data.worlds import pendulum
from kvae_tf.planning import Search

STRONG = ROOT / "saved_models" / "pendulum_strong"


def test_the_planners_pendulum_is_that_of_the_world():
    task, rng = SwingUp(5.0), np.random.default_rng(0)
    states = np.stack([rng.uniform(0, 6, 4), rng.uniform(-8, 8, 4)], axis=1)
    controls = rng.uniform(-5, 5, (4, 3, 12, 1)).astype(np.float32)
    found = task.cost(tf.constant(states, tf.float32), tf.constant(controls))
    for i in range(3):
        torque = np.concatenate([controls[:, i, :, 0], np.zeros((4, 1))], axis=1)
        path = pendulum.integrate(*states.T, torque)[:, 1:, 0]
        np.testing.assert_allclose(found[:, i], (2 - 2 * np.cos(path)).sum(1), rtol=2e-3)
    later = task.advance(states, controls[:, 0, 0])
    np.testing.assert_allclose(
        later, pendulum.integrate(*states.T, controls[:, 0, :2, 0])[:, 1], rtol=1e-12
    )


def test_success_is_upright_to_the_end():
    task = SwingUp(5.0)
    angle = np.full((3, 101), 2 * np.pi + 0.3)
    angle[1, -10] = 0.4  # 23 degrees, once
    angle[2, :80] = np.pi  # before the last 20 steps anything may be
    states = np.stack([angle, np.zeros_like(angle)], axis=-1)
    assert task.succeeded(states).tolist() == [True, False, True]
    returns = task.returns(states)
    np.testing.assert_allclose(returns[0], 0.5 + 0.5 * np.cos(0.3))
    np.testing.assert_allclose(returns[2], 0.21 * returns[0])


def test_the_planners_cart_is_gymnasiums():
    pytest.importorskip("gymnasium")
    task = control.TASKS["cartpole"]()
    rng = np.random.default_rng(1)
    states = rng.uniform(-0.1, 0.1, (3, 4)) * [10, 10, 1, 10]
    actions = rng.integers(0, 2, (3, 2, 15))
    controls = np.eye(2, dtype=np.float32)[actions]
    found = task.cost(tf.constant(states, tf.float32), tf.constant(controls))
    for i in range(2):
        state, expected = states, 0.0
        for k in range(15):
            later = []
            for row, action in zip(state, actions[:, i, k], strict=True):
                task._world.state, task._world.steps_beyond_terminated = row, None
                later.append(task._world.step(int(action))[0])
            state = np.array(later)
            expected += (state[:, 0] / 2.4) ** 2 + (state[:, 2] / np.radians(12)) ** 2
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-4)
    np.testing.assert_array_equal(task.start(np.arange(2)), task.start(np.arange(2)))
    assert task.goals().shape == (41, 32, 32, 1)
    fallen = np.array([[0.0, 0.0, 0.5, 1.0]])
    np.testing.assert_array_equal(task.advance(fallen, controls[:1, 0, 0]), fallen)
    path = np.zeros((2, 6, 4))
    path[1, 3:, 2] = 0.3
    assert task.returns(path).tolist() == [5.0, 2.0]
    assert task.succeeded(path).tolist() == [True, False]


def test_the_simulator_keeps_the_pole_upright_and_chance_does_not():
    pytest.importorskip("gymnasium")
    task, seeds = control.TASKS["cartpole"](), np.arange(3)
    planned = policies.Simulator(task, Search(horizon=15, candidates=50, iterations=2), 0)
    good, bad = (episodes.play(task, x, seeds, 60) for x in (planned, policies.Random(task, 0)))
    assert task.succeeded(good.states).all()
    assert not task.succeeded(bad.states).any()
    assert good.states.shape == (3, 61, 4)
    assert good.controls.shape == (3, 60, 2)


@pytest.mark.slow
def test_a_model_swings_the_pendulum_up_from_pixels(tmp_path):
    """Two starts; chance never does, and the film shows both."""
    film = tmp_path / "up.gif"
    found = control.run("pendulum_strong", str(STRONG), ("random", "model"), 2, film=film)
    assert found["model pendulum_strong"]["successes"] == 2
    assert found["random"]["successes"] == 0
    assert found["model pendulum_strong"]["return"] > 0.5 > 0.2 > found["random"]["return"]
    with Image.open(film) as picture:
        frames = [np.asarray(x.convert("L")) for x in ImageSequence.Iterator(picture)]
    assert len(frames) == 101
    half = frames[0].shape[1] // 2
    middle = frames[0].shape[0] // 2 + 9  # below the names
    first, last = (np.asarray(frames[t])[20:, half:] for t in (0, -1))
    assert first[middle - 20 :].sum() > first[: middle - 20].sum()  # hangs at first
    assert last[: middle - 20].sum() > last[middle - 20 :].sum()  # stands at the end


def test_the_command_adds_to_its_file(tmp_path):
    output = tmp_path / "planning.json"
    for policy in ("random", "simulator"):
        result = run(
            "control", "--task=pendulum", f"--policies={policy}", "--seeds=2", "--steps=3",
            "--horizon=4", "--candidates=20", f"--output={output}",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert f"{policy}: 0 of 2 succeeded, return 0.0" in result.stdout
    assert list(json.loads(output.read_text())["pendulum"]) == ["random", "simulator"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task=acrobot"], "--task is 'acrobot', expected one of: pendulum_strong"),
        (["--task=pendulum"], "--saved_model is not set, expected the model of --policies=model"),
        (["--task=pendulum", "--policies=best"], "--policies has best, expected some of: random"),
        (["--task=pendulum", "--policies="], "--policies has none"),
        (["--task=pendulum", "--policies=random", "--film=a.png"], "expected .gif or .mp4"),
        (["--task=pendulum", "--policies=random", "--candidates=5"], "elites is 20, expected at"),
        (["--task=pendulum", "--saved_model=nowhere"], "nowhere"),
        (
            ["--task=pendulum", "--saved_model=saved_models/box"],
            "frames has shape (1, 16, 16, 1)",
        ),
        ([], "--task is not set"),
    ],
)
def test_wrong_flags_are_refused(flags, message, tmp_path):
    output = tmp_path / "out.json"
    result = run("control", *flags, f"--output={output}")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not output.exists()
