"""Cannonballs end to end: training, metrics, pictures, an export that counts objects."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from commands import run as script

from kvae_tf import data, evaluation, studies
from kvae_tf.export.loading import LoadedModel
from kvae_tf.studies import EvaluationTarget

COMMON = [
    "--epochs=2",
    "--steps_per_epoch=4",
    "--batch_size=6",
    "--test_sequences=20",
    "--state_size=16",
    "--image_epochs=2",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file with few sequences, so that evaluation is short."""
    path = tmp_path_factory.mktemp("data") / "balls.npz"
    parts = data.WORLDS["cannonballs_small"].splits(0, num_sequences=(30, 10, 20), num_steps=14)
    data.save_npz(path, parts)
    return path


def train(path, run, *flags):
    return script("train", *flags, *COMMON, f"--dataset={path}", f"--run_dir={run}")


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A trained, evaluated and exported cannonball model."""
    run = tmp_path_factory.mktemp("cannonball") / "run"
    flags = ["--flagfile=configs/cannonball_small.cfg", "--frozen_epochs=1", "--jit=off"]
    flags += ["--kl_epochs=1"]
    flags += ["--curriculum_epochs=1", "--settling_epochs=1"]
    result = train(files, run, *flags)
    assert result.returncode == 0, result.stderr[-3000:]
    return run


@pytest.mark.slow
def test_cannonball_end_to_end(files, run):
    metrics = json.loads((run / "metrics.json").read_text())
    keys = {"position_r2/1", "position_r2/2", "identity_switch_rate", "acceleration/ratio"}
    keys |= {"generation/position_error", "interpolation/nats", "test/elbo_per_frame"}
    assert keys <= metrics.keys()
    assert np.isfinite([value for key in keys for value in np.ravel(metrics[key])]).all()
    for name in ("imputations.png", "objects.png", "stages.png", "generated.gif", "README.md"):
        assert (run / "saved_model" / name).stat().st_size > 0

    loaded = LoadedModel(run / "saved_model" / "1")
    assert loaded.max_objects == 2
    test = data.load(str(files), 0, None).test
    again = evaluation.bound(loaded, test)
    np.testing.assert_allclose(
        again["test/elbo_per_frame"], metrics["test/elbo_per_frame"], rtol=1e-4
    )
    counts = tf.constant([1, 2, 1])
    drawn = loaded.generate(3, 5, num_objects=counts)
    assert drawn.frames.shape == (3, 5, 32, 32, 1)
    found = loaded.impute(test.unit_frames[:3], num_objects=counts).encodings.numpy()
    np.testing.assert_array_equal(found[0, :, 2:], 0.0)
    assert np.abs(found[1, :, 2:]).min() > 0


@pytest.mark.slow
def test_studies(files, run, tmp_path):
    loaded = LoadedModel(run / "saved_model" / "1")
    subject = EvaluationTarget(
        loaded, data.load(str(files), 0, None), lambda steps: None, str(files)
    )
    studies.run(["objects", "continuations"], subject, tmp_path)
    for name in ("objects.png", "continuations.png", "continuations.gif", "continuations.csv"):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.slow
def test_ed_lstm_end_to_end(files, tmp_path):
    run = tmp_path / "run"
    flags = ["--flagfile=configs/ed_lstm_small.cfg", "--units=16", "--jit=off"]
    result = train(files, run, *flags)
    assert result.returncode == 0, result.stderr[-3000:]
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"generation/position_error", "test/log_likelihood_per_frame"} <= metrics.keys()
    assert not any(key.startswith(("position_r2", "interpolation")) for key in metrics)
    assert LoadedModel(run / "saved_model" / "1").bound_name == "log_likelihood"
