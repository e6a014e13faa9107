"""A model in one file outside the package is trained, evaluated, carded, exported and reported."""

import json
from pathlib import Path

import numpy as np
from commands import run

import kvae_tf
from kvae_tf.data import WORLDS, missing_at_random

MODEL = Path(__file__).with_name("plugin_model.py")


def test_a_model_of_ones_own_goes_all_the_way(tmp_path):
    run_dir = tmp_path / "line"
    flags = [
        f"--plugin={MODEL}", "--flagfile=configs/pendulum_smoke.cfg", "--model=straight_line",
        f"--run_dir={run_dir}", "--line_noise=0.2", "--epochs=2", "--steps_per_epoch=30",
        "--test_sequences=20", "--image_epochs=0",
    ]  # fmt: skip
    trained = run("train", *flags)
    assert trained.returncode == 0, trained.stderr
    assert "epoch 2 of 2: " in trained.stdout
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert np.isfinite(metrics["test/joint_log_density_per_frame"])
    assert metrics["imputation/filter_rmse"] < 0.5

    card = (run_dir / "saved_model" / "README.md").read_text()
    assert "# Straight line on pendulum" in card
    assert "--line_noise=0.2" in card
    assert "| `impute_filter` | `frames`, `observed`, `controls` |" in card
    assert "`smooth`" not in card

    evaluated = run("evaluate", f"--plugin={MODEL}", f"--run={run_dir}", "--experiment=gap")
    assert evaluated.returncode == 0, evaluated.stderr
    assert (run_dir / "evaluation" / "gap.png").exists()
    reported = run("report", f"--run={run_dir}")
    assert reported.returncode == 0, reported.stderr
    assert "straight_line on pendulum" in (run_dir / "report.html").read_text()

    model = kvae_tf.load(run_dir / "saved_model" / "1")
    assert model.supports == {"encode", "decode", "impute", "forecast"}
    test = WORLDS["pendulum"].splits(0, num_sequences=(1, 1, 4)).test
    observed = missing_at_random(4, test.num_steps, 0.3, 3, seed=0)
    filled = model.impute(test.unit_frames, observed, test.controls)
    assert filled.frames.shape == test.frames.shape


def test_help_and_errors_know_it(tmp_path):
    told = run("train", f"--plugin={MODEL}", "--model=straight_line", "--help")
    assert told.returncode == 0
    assert "--line_noise" in told.stdout
    assert "--num_modes" not in told.stdout
    unknown = run("train", "--model=straight_line", f"--run_dir={tmp_path}")
    assert unknown.returncode == 1
    assert "--plugin" in unknown.stderr
    assert len(unknown.stderr.strip().splitlines()) == 1
