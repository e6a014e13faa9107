"""The films, and what the benchmark keeps of a run."""

import json
import types

import numpy as np
import pytest

from kvae_tf.apps import foreign, foreign_films
from kvae_tf.data import framing, video
from kvae_tf.errors import UserError
from kvae_tf.evaluation import VERDICTS


@pytest.mark.parametrize("name", ["two_colours", "camera"])
def test_films(name):
    first, second = getattr(foreign_films, name)(0, 2, 12)
    assert first.shape == second.shape == (12, 96, 96, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()
    again = next(getattr(foreign_films, name)(0, 1, 12))
    np.testing.assert_array_equal(first, again)
    moved = np.abs(np.diff(first.astype(int), axis=0)).max((1, 2, 3))
    assert (moved > 50).all()


def test_a_still_wall_and_a_moving_one():
    corner = {
        name: next(getattr(foreign_films, name)(1, 1, 12))[:, :3, :3].astype(int)
        for name in ("two_colours", "camera")
    }
    assert np.ptp(corner["two_colours"], axis=0).max() == 0
    assert np.ptp(corner["camera"], axis=0).max() > 5


@pytest.fixture
def trained(monkeypatch):
    """A training command that writes what a run leaves, and is remembered."""
    commands = []

    def run(command, stdout, stderr):
        commands.append(command)
        folder = next(w.partition("=")[2] for w in command if w.startswith("--run_dir"))
        if "--fail" in command:
            return types.SimpleNamespace(returncode=1)
        metrics = {"verdict": "good", "verdict/smoothing": 0.12345, "train/updates": 7}
        path = foreign.Path(folder)
        (path / "saved_model").mkdir()
        (path / "saved_model" / "imputations.png").write_bytes(b"strip")
        (path / "metrics.json").write_text(json.dumps(metrics))
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(foreign.subprocess, "run", run)
    monkeypatch.setattr(foreign, "_EPISODES", 2)
    return commands


def test_results(trained, tmp_path):
    results = foreign.run(tmp_path, ["two_colours"])
    row = results["two_colours"]
    assert row["verdict"] in VERDICTS
    assert (row["smoothing"], row["updates"], row["kept_out"]) == (0.1235, 7, False)
    assert row["minutes"] >= 0
    assert (tmp_path / "pictures" / "two_colours.png").read_bytes() == b"strip"
    (command,) = trained
    assert {w.partition("=")[0] for w in command if w.startswith("--")} == {
        "--dataset", "--run_dir", "--seed", "--resume",
    }  # fmt: skip
    films = tmp_path / "data" / "two_colours" / "videos"
    assert len(video.find(films)) == 2
    assert framing.choose(films) == ((32, 32), 3, 20, 1)
    foreign.run(tmp_path, ["two_colours"])
    assert len(trained) == 1  # what is there is left alone


def test_errors(trained, tmp_path):
    with pytest.raises(UserError, match="--worlds has mars, expected some of: cartpole"):
        foreign.run(tmp_path, ["mars"])
    with pytest.raises(UserError, match="ended with status 1: see training.log"):
        foreign.run(tmp_path, ["camera"], flags=["--fail"])
    assert not (tmp_path / "results.json").exists()
