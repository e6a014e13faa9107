"""DVBF and DKF from flags to trained runs, exports and studies, on the pendulum."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from commands import run as script


@pytest.fixture(scope="module", params=["dvbf", "dkf"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    # The DKF filters by smoothing every prefix, which takes its time.
    own = {"dvbf": "--num_modes=4", "dkf": "--test_sequences=60"}[request.param]
    result = script(
        "train", "--dataset=pendulum", f"--run_dir={folder}", f"--model={request.param}",
        "--units=32", "--likelihood=gaussian", "--latent_size=3", "--dynamics_units=16",
        "--epochs=2", "--steps_per_epoch=20", "--batch_size=50",
        "--learning_rate=0.003", "--image_epochs=2", own,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return request.param, folder


@pytest.mark.slow
def test_metrics(run):
    kind, folder = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"r2/sin", "r2/cos", "r2/velocity", "test/elbo_per_frame"} <= set(metrics)
    assert ("test/parameters_per_frame" in metrics) == (kind == "dvbf")
    assert ("imputation/smooth_rmse" in metrics) == (kind == "dkf")
    assert metrics["train/updates"] == 40


@pytest.mark.slow
def test_export_answers_as_the_model(run):
    kind, folder = run
    model = tf.saved_model.load(str(folder / "saved_model" / "1"))
    names = set(model.signatures)
    assert {"filter", "impute", "forecast", "generate", "decode", "elbo"} <= names
    assert ("smooth" in names) == (kind == "dkf")
    drawn = model.generate(tf.constant(2), tf.constant(12))["frames"]
    seen = tf.constant([[1.0] * 6 + [0.0] * 6] * 2)
    filled = model.impute(drawn, seen)
    assert filled["frames"].shape == (2, 12, 16, 16, 1)
    assert np.isfinite(filled["encoding_stds"]).all()


@pytest.mark.slow
def test_studies(run, tmp_path):
    kind, folder = run
    names = ["controls"] + ["regression", "walk"] * (kind == "dvbf")
    result = script(
        "evaluate", f"--saved_model={folder}/saved_model/1", f"--output={tmp_path}",
        f"--experiment={','.join(names)}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in names}
    rmse = found["controls"]["pixel_rmse"]
    assert set(rmse) == {"true", "zero", "one step late"}
    assert len(rmse["true"]) == 20
    if kind == "dkf":
        return
    assert set(found["regression"]["r_squared"]) == {"sin", "cos", "velocity"}
    metrics = json.loads((folder / "metrics.json").read_text())
    np.testing.assert_allclose(
        found["regression"]["r_squared"]["cos"], metrics["r2/cos"], atol=0.02
    )
    assert set(found["walk"]["r_squared"]) == {"forecast", "filtered"}
    assert found["walk"]["step"] == 45
    of_angle = found["walk"]["r_squared_of_angle"]
    assert set(of_angle) == {"forecast", "filtered"}
    assert set(of_angle["forecast"]) == {"sin", "cos"}
    assert max(of_angle["filtered"].values()) <= 1.0
    rows = list(csv.reader((tmp_path / "walk.csv").open()))
    warmup = 4  # steps whose filtered states know the first five frames
    assert len(rows) == 1 + 2 * (100 - warmup) * 3
