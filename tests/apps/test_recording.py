"""A made-up environment on film."""

import csv
import re
import sys
import types

import numpy as np
import pytest

from kvae_tf.apps import recording
from kvae_tf.data import video
from kvae_tf.errors import UserError


class Space:
    """Three actions, drawn in turn."""

    n, start, drawn = 3, 0, 0

    def seed(self, seed):
        self.drawn = 0

    def sample(self):
        self.drawn += 1
        return self.drawn % 3


class Lamp:
    """A lamp as bright as the last action; the second episode is short."""

    action_space = Space()
    episode, closed = 0, False

    def reset(self, seed):
        self.episode, self.t, self.light = self.episode + 1, 0, 0
        return None, {}

    def render(self):
        return np.full((20, 40, 3), 100 * self.light, np.uint8)

    def step(self, action):
        self.t, self.light = self.t + 1, action
        return None, 0.0, self.episode == 2 and self.t == 4, False, {}

    def close(self):
        self.closed = True


@pytest.fixture
def gymnasium(monkeypatch):
    module = types.ModuleType("gymnasium")
    module.error = types.SimpleNamespace(Error=KeyError)
    module.lamp = Lamp()
    module.make = lambda name, render_mode: {"Lamp": module.lamp}[name]
    monkeypatch.setitem(sys.modules, "gymnasium", module)
    return module


def test_videos_and_actions(gymnasium, tmp_path):
    recording.record("Lamp", tmp_path / "out", episodes=2, steps=6, hold=2, size=16)
    frames = video.read(tmp_path / "out" / "videos" / "0000.mp4")
    assert frames.shape == (6, 8, 16, 1)
    assert len(video.read(tmp_path / "out" / "videos" / "0001.mp4")) == 4
    with open(tmp_path / "out" / "actions.csv") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["video", "frame", "action_0", "action_1", "action_2"]
    assert len(rows) == 1 + 6 + 4
    actions = np.array([row[2:] for row in rows[1:7]], int).argmax(1)
    assert actions.tolist() == [1, 1, 2, 2, 0, 0]
    # What was done at t shows at t + 1.
    np.testing.assert_allclose(frames[1:].mean((1, 2, 3)), 100 * actions[:-1], atol=3)
    assert gymnasium.lamp.closed


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("render", lambda self: None, "renders NoneType of shape ()"),
        ("render", lambda self: np.zeros((4, 4), np.uint8), "renders ndarray of shape (4, 4)"),
        ("render", lambda self: np.zeros((4, 4, 3)), "expected pictures, uint8"),
        ("action_space", types.SimpleNamespace(seed=int, sample=lambda: {"a": 1}),
         "has actions as {'a': 1}, expected numbers"),
    ],
)  # fmt: skip
def test_environments_that_cannot_be_filmed(name, value, words, gymnasium, tmp_path, monkeypatch):
    monkeypatch.setattr(Lamp, name, value)
    with pytest.raises(UserError, match=re.escape(words)):
        recording.record("Lamp", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_actions_of_several_switches(gymnasium, tmp_path, monkeypatch):
    """Gymnasium's MultiBinary, which has ``n`` but no ``start``."""
    space = types.SimpleNamespace(n=2, seed=int, sample=lambda: np.array([1, 0], np.int8))
    monkeypatch.setattr(Lamp, "action_space", space)
    monkeypatch.setattr(Lamp, "step", lambda self, action: (None, 0.0, False, False, {}))
    recording.record("Lamp", tmp_path / "out", episodes=1, steps=2, size=16)
    assert (tmp_path / "out" / "actions.csv").read_text().endswith("0000.mp4,1,1,0\n")


def test_refusals(gymnasium, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="--environment=Moon cannot be filmed"):
        recording.record("Moon", tmp_path / "out")
    with pytest.raises(UserError, match="exists, expected a new folder"):
        recording.record("Lamp", tmp_path)
    monkeypatch.setattr(Lamp, "render", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recording.record("Lamp", tmp_path / "out")
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(UserError, match="pip install 'gymnasium"):
        recording.record("Lamp", tmp_path / "out")


def test_short_episodes_are_replaced(gymnasium, tmp_path):
    summary = recording.record("Lamp", tmp_path / "out", 3, steps=6, size=16, min_steps=5)
    assert summary.lengths == [6, 6, 6]
    assert summary.dropped == 1  # the second one, of 4 frames
    assert "3 videos of 6 to 6 frames (median 6), 18 in all, 8x16 pixels" in str(summary)
    with pytest.raises(UserError, match="--min_steps is 7, expected at most --steps=6"):
        recording.record("Lamp", tmp_path / "other", steps=6, min_steps=7)


def test_episodes_that_are_always_too_short(gymnasium, monkeypatch, tmp_path):
    monkeypatch.setattr(Lamp, "step", lambda self, action: (None, 0.0, True, False, {}))
    with pytest.raises(UserError, match="has episodes of fewer than --min_steps=3 frames"):
        recording.record("Lamp", tmp_path / "out", 1, steps=6, min_steps=3)
    assert not (tmp_path / "out").exists()


def test_policies(gymnasium, tmp_path):
    def actions(name, policy):
        recording.record("Lamp", tmp_path / name, 1, steps=4, hold=2, size=16, policy=policy)
        with open(tmp_path / name / "actions.csv") as file:
            rows = list(csv.reader(file))[1:]
        return np.array([row[2:] for row in rows], int).argmax(1).tolist()

    assert actions("random", "random") == [1, 2, 0, 1]
    own = tmp_path / "own.py"
    own.write_text("def act(observation, step, action_space, rng):\n    return step // 3\n")
    assert actions("own", str(own)) == [0, 0, 0, 1]
    own.write_text("def walk():\n    pass\n")
    for policy, words in {
        "greedy": "--policy is 'greedy', expected random, hold or PATH.py",
        str(tmp_path / "none.py"): "does not exist, expected a Python file",
        str(own): "has no function act",
    }.items():
        with pytest.raises(UserError, match=re.escape(words)):
            recording.record("Lamp", tmp_path / "out", 1, policy=policy)


def test_steps_before_the_first_frame(gymnasium, tmp_path):
    recording.record("Lamp", tmp_path / "out", 1, steps=3, hold=1, size=16, warmup=2)
    frames = video.read(tmp_path / "out" / "videos" / "0000.mp4")
    # Actions are 1, 2, 0, 1, 2, and show one step later; the first frame is that of step 2.
    np.testing.assert_allclose(frames.mean((1, 2, 3)), [200, 0, 100], atol=3)
    with open(tmp_path / "out" / "actions.csv") as file:
        rows = list(csv.reader(file))[1:]
    assert np.array([row[2:] for row in rows], int).argmax(1).tolist() == [0, 1, 2]
