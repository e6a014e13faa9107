"""Scores of one video: blocks, thresholds, files, the script; and exports of earlier versions."""

import csv
import json

import numpy as np
import pytest
from commands import run
from conftest import SAVED_MODELS

from kvae_tf import data, evaluation
from kvae_tf.apps import scoring, videos
from kvae_tf.data import video
from kvae_tf.data.worlds import anomalies, pendulum
from kvae_tf.errors import UserError
from kvae_tf.experiments import run as experiment
from kvae_tf.experiments.load import load

PENDULUM = SAVED_MODELS / "pendulum" / "1"


@pytest.fixture(scope="module")
def trained():
    return load(PENDULUM, trainable=True)


def clip_of(sequences, row=0):
    return videos.Clip(sequences.unit_frames[row], sequences.observed[row], sequences.controls[row])


def test_a_trained_model_is_surprised(trained):
    """Scores of a jump and of a patch are below all others; thresholds hold what they say."""
    test = pendulum.simulate(40, 15, seed=5)
    normal = evaluation.frame_scores(trained, test)
    table = evaluation.score_quantiles(normal, test.observed)
    limit = evaluation.score_threshold(table, "scores", 0.02)
    for kind in ("jump", "cover"):
        found = anomalies.inject("pendulum", kind, test, seed=0)
        scores = evaluation.frame_scores(trained, found.data).scores
        for row, onset in enumerate(found.anomalous.argmax(1)):
            flagged = scoring.flag(scores[row], test.observed[row], limit)
            assert flagged[onset]
        assert evaluation.auroc(normal.scores.min(1), scores.min(1)) > 0.95
    flagged = scoring.flag(normal.scores, test.observed, limit)
    assert not flagged[:, :4].any()
    assert 0.01 < flagged[:, 4:].mean() < 0.03


def test_long_videos_are_scored_in_blocks(trained, monkeypatch):
    """A trained model forgets what lies further away than the context."""
    long = pendulum.simulate(1, 120, seed=2)
    observed = data.missing_at_random(1, 120, 0.3, 3, seed=0)
    clip = clip_of(long)._replace(observed=observed[0])
    whole = scoring.score(trained, clip)
    exact = trained.score(long.unit_frames, observed, long.controls)
    for one, other in zip(whole, exact, strict=True):
        np.testing.assert_allclose(one, other[0], rtol=1e-4, atol=1e-2)
    monkeypatch.setattr(videos, "_BLOCK", 40)
    monkeypatch.setattr(videos, "_CONTEXT", 40)
    parts = scoring.score(trained, clip)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=0.2)


@pytest.fixture
def folder(live, exported, tmp_path):
    """An export with the quantiles of its scores beside it."""
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "1").symlink_to(exported("kvae"))
    validation = pendulum.simulate(100, 15, seed=1)
    experiment.write_scores(tmp_path / "export" / "scores.json", live("kvae"), validation)
    return tmp_path / "export"


@pytest.mark.slow
def test_the_script_uses_the_quantiles_beside_an_export(folder, tmp_path):
    table = json.loads((folder / "scores.json").read_text())
    assert (table["sequences"], table["frames"], table["warm_up"]) == (100, 1100, 4)
    film = pendulum.simulate(2, 12, seed=7)
    frames = film.frames.copy()
    frames[1, 8] = frames[1, 8, ::-1]
    missing = np.ones((2, 12))
    missing[1, 5] = 0
    np.savez(tmp_path / "film.npz", images=frames, controls=film.controls, observed=missing)
    common = [
        f"--saved_model={folder / '1'}", f"--video={tmp_path / 'film.npz'}", "--sequence=1",
    ]  # fmt: skip
    output = tmp_path / "out"
    scored = run("score", *common, "--quantile=0.5", f"--output={output}")
    assert scored.returncode == 0, scored.stderr
    limit = table["quantiles"]["scores"][table["levels"].index(0.5)]
    assert f"scores below {limit:.6g}: " in scored.stdout
    with open(output / "scores.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(12))
    for t, row in enumerate(rows):
        total = float(row["encoding_scores"]) + float(row["reconstruction_scores"])
        assert abs(float(row["scores"]) - total) < 1e-2
        assert int(row["observed"]) == (t != 5)
        expected = t >= 4 and t != 5 and float(row["scores"]) < limit
        assert int(row["flagged"]) == expected
    assert float(rows[5]["scores"]) == 0.0
    assert len(video.read(output / "film.gif")) == 12
    assert (output / "scores.png").stat().st_size > 1000
    bad = run("score", *common, "--quantile=0.00001", f"--output={tmp_path / 'bad'}")
    assert bad.returncode == 1
    assert bad.stderr == (
        "error: --quantile is 1e-05, expected 0.001 to 0.5, as the 1100 frames of the validation "
        "part allow\n"
    )
    assert not (tmp_path / "bad").exists()


@pytest.mark.slow
def test_thresholds_without_quantiles(trained, loaded, tmp_path):
    with pytest.raises(UserError, match=r"scores\.json does not exist.*--dataset .*--threshold"):
        scoring.threshold(str(tmp_path / "1"), "scores")
    assert scoring.threshold(str(PENDULUM), "scores", value=-3.5) == -3.5
    with pytest.raises(UserError, match="--threshold and --dataset=box are given"):
        scoring.threshold(str(PENDULUM), "scores", value=-3.5, dataset="box")
    with pytest.raises(UserError, match="--threshold is nan"):
        scoring.threshold(str(PENDULUM), "scores", value=float("nan"))
    found = scoring.threshold(str(PENDULUM), "encoding_scores", 0.1, dataset="pendulum", live=True)
    validation = data.load("pendulum", seed=0).validation
    scores = evaluation.frame_scores(trained, validation).encoding_scores[:, 4:]
    np.testing.assert_allclose(found, np.quantile(scores, 0.1), atol=1e-3)
    beside = scoring.threshold(str(PENDULUM), "encoding_scores", 0.1)
    np.testing.assert_allclose(found, beside, atol=1e-3)
    clip = clip_of(validation)
    with pytest.raises(UserError, match="cannot score frames.*--live"):
        scoring.score(loaded(PENDULUM), clip)


def test_a_summary_names_runs_of_frames():
    flagged = np.zeros(12, bool)
    assert scoring.summary(flagged, "scores", 1.0) == "scores below 1: 0 of 12 frames (none)"
    flagged[[1, 4, 5, 6, 11]] = True
    assert scoring.summary(flagged, "scores", 1.0).endswith("5 of 12 frames (1, 4-6, 11)")
