"""Experiments from flags to results: every config, resume after kills, bad input."""

from __future__ import annotations

import functools
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import python
from commands import run as script

from kvae_tf import data
from kvae_tf.errors import UserError
from kvae_tf.experiments import presets, run
from kvae_tf.experiments.settings import Settings
from kvae_tf.training import build

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = presets.names()
TINY = ["--epochs=3", "--steps_per_epoch=4", "--batch_size=20", "--weight_epochs=2",
        "--settling_epochs=1", "--test_sequences=20", "--image_epochs=0"]  # fmt: skip

# Runs the training script with a kill built in: at an update, or between a checkpoint's data and
# its index.
KILLER = """
import os, runpy, signal, sys
moment, number = sys.argv[1], int(sys.argv[2])
sys.argv = ["scripts/train.py", *sys.argv[3:]]
def die_at(function, number):
    calls = []
    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped
if moment == "update":
    from kvae_tf.training import callbacks
    callbacks.NaNGuard.on_train_batch_end = die_at(callbacks.NaNGuard.on_train_batch_end, number)
if moment == "write":
    from tensorflow.python.checkpoint import checkpoint_management as management
    name = "update_checkpoint_state_internal"
    setattr(management, name, die_at(getattr(management, name), number))
runpy.run_path("scripts/train.py", run_name="__main__")
"""


@functools.cache
def tiny(dataset):
    return data.WORLDS[dataset].splits(0, num_sequences=(8, 1, 1), num_steps=6).train


@pytest.mark.parametrize("name", CONFIGS)
def test_one_training_step_of_every_config(name, tmp_path):
    values = presets.flags(name) | {"run_dir": str(tmp_path), "batch_size": 2}
    settings = Settings.from_dict(values)
    train = tiny(settings.data.dataset)
    model = build.build(settings.plan, train)
    build.compile_model(model, settings.plan, train, tmp_path / "checkpoints")
    rate = settings.data.missing_rate
    batch = next(iter(data.training_batches(train, 2, seed=0, missing_rate=rate)))
    if not rate:
        batch.pop("observed")
    before = [variable.numpy() for variable in model.trainable_variables]
    # Beside a linear encoder the network ends in zeros: its inner layers move from step 2 on.
    for _ in range(2 if getattr(settings.model, "linear_encoder", False) else 1):
        logs = model.train_step(batch)
    after = [variable.numpy() for variable in model.trainable_variables]
    assert all(np.isfinite(value) for value in logs.values())
    moved = [bool(np.any(old != new)) for old, new in zip(before, after, strict=True) if old.size]
    first = model.phases[0].variables
    assert np.mean(moved) > 0.8 * len(first) / len(before)


def test_drawn_walls_and_binarised_frames(tmp_path):
    values = {"dataset": "pong", "run_dir": str(tmp_path), "cache_dir": str(tmp_path / "cache")}
    few = {"num_sequences": (2, 1, 1), "num_steps": 3}
    plain, walls = (
        run.load_data(Settings.from_dict(values | {"draw_walls": drawn}), **few).train.frames
        for drawn in (False, True)
    )
    assert (walls >= plain).all()
    assert walls.sum() > 1.5 * plain.sum()
    values |= {"dataset": "pendulum", "binarise": True}
    frames = run.load_data(Settings.from_dict(values), **few).train.frames
    grey = run.load_data(Settings.from_dict(values | {"binarise": False}), **few)
    np.testing.assert_array_equal(frames, np.where(grey.train.frames > 0.5, 255, 0))


# VAE-RNN is compiled in least time.
@pytest.mark.parametrize(
    "model", ["vae_rnn", *(pytest.param(m, marks=pytest.mark.slow) for m in ("dkf", "kvae"))]
)
def test_killed_and_resumed_training_is_bit_equal(model, tmp_path):
    rng = np.random.default_rng(0)
    images, controls = rng.random((60, 4, 8, 8), np.float32), rng.normal(size=(60, 4, 1))
    dataset = npz(tmp_path / "mine.npz", images=images, controls=controls)
    own = [f"--model={model}", f"--dataset={dataset}"]
    own += ["--pretraining_epochs=1"] if model == "vae_rnn" else []
    own += ["--epochs=3", "--steps_per_epoch=4", "--batch_size=20", "--weight_epochs=2"]
    own += ["--units=8", "--missing_rate=0.3", "--test_sequences=6", "--image_epochs=0"]

    def train(*flags, killer=None):
        flags = [*own, *flags]
        return python(KILLER, *killer, *flags) if killer else script("train", *flags)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(f"--run_dir={whole}").returncode == 0
    # Killed in the middle of the second epoch, then while writing the checkpoint of the third.
    killed = train(f"--run_dir={parts}", killer=("update", 6))
    assert killed.returncode == -signal.SIGKILL
    killed = train(f"--run_dir={parts}", "--resume", killer=("write", 3))
    assert killed.returncode == -signal.SIGKILL
    finished = train(f"--run_dir={parts}", "--resume")
    assert finished.returncode == 0
    assert "resuming after epoch" in finished.stdout
    states = [
        tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run / "checkpoints" / "last")))
        for run in (whole, parts)
    ]
    names = states[0].get_variable_to_shape_map()
    assert names
    for name in names:
        if not name.startswith("_CHECKPOINTABLE") and "save_counter" not in name:
            np.testing.assert_array_equal(
                *(state.get_tensor(name) for state in states), err_msg=name
            )
    times = [json.loads((run / "time.json").read_text()) for run in (whole, parts)]
    assert times[0]["epochs"] == times[1]["epochs"] > 0
    assert min(time["seconds"] for time in times) > 0
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (whole, parts)]
    assert metrics[0] == metrics[1]
    assert np.isfinite(metrics[0]["test/elbo_per_frame"])
    assert (parts / "saved_model" / "1" / "saved_model.pb").exists()
    assert (parts / "saved_model" / "README.md").exists()
    # Of scores, where the model gives any.
    assert (parts / "saved_model" / "scores.json").exists() == (model != "dkf")


BAD_FLAGS = [
    (["--likelihood=poisson"], ["likelihood", "poisson"]),
    (["--num_modes=1001"], ["--num_modes", "1001", "1000"]),
    (["--newtonian_epochs=1"], ["--newtonian_epochs is set", "--model=kvae"]),
    (["--settling_epochs=3"], ["--settling_epochs is 3", "--epochs"]),
    (["--dynamics_network=constant"], ["num_modes", "constant"]),
    (["--draw_walls"], ["pendulum", "draw_walls"]),
    (["--mixed_rates", "--missing_rate=0"], ["--mixed_rates is set", "--missing_rate above 0"]),
    (["--model=vae_rnn"], ["--settling_epochs is set", "--model=vae_rnn"]),
    (["--units=a,b"], ["--units", "a,b"]),
    (["--dataset=/nowhere/x.npz"], ["x.npz"]),
    (["--dataset=moon"], ["moon", "pendulum"]),
    (["--run_dir=/dev/null/x"], ["--run_dir", "/dev/null/x"]),
    (["--no_such_flag=1"], ["no_such_flag"]),
    (["surplus"], ["surplus"]),
]


def test_bad_flags_give_one_line(tmp_path):
    # All in one folder: a run that was refused does not claim it.
    first = ["--flagfile=configs/pendulum_smoke.cfg", *TINY, f"--run_dir={tmp_path / 'run'}"]
    for flags, words in BAD_FLAGS:
        result = script("train", *first, *flags)
        assert result.returncode == 1, flags
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        assert all(word in lines[0] for word in words), lines[0]
    assert not (tmp_path / "run" / "metrics.json").exists()


def npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


IMAGES = np.zeros((12, 5, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"frames": IMAGES}, ["images"]),
        ({"images": IMAGES[0]}, ["images", "(5, 8, 8)"]),
        ({"images": IMAGES + 2.0}, ["images", "2"]),
        ({"images": IMAGES + np.inf}, ["images", "inf"]),
        ({"images": IMAGES, "controls": np.zeros((12, 4, 1))}, ["controls", "(12, 4, 1)"]),
        ({"images": IMAGES, "observed": np.ones((12, 6))}, ["observed", "(12, 6)"]),
        ({"images": IMAGES[:2]}, ["2"]),
    ],
)
def test_bad_files_give_one_line(arrays, words, tmp_path):
    path = npz(tmp_path / "mine.npz", **arrays)
    settings = Settings.from_dict({"dataset": path, "run_dir": str(tmp_path / "run")})
    with pytest.raises(UserError) as caught:
        run.run(settings)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
def test_a_users_file_with_missing_frames_trains(tmp_path):
    images = np.random.default_rng(0).random((30, 6, 8, 8)).astype(np.float32)
    images[3, 2] = np.nan
    path = npz(tmp_path / "mine.npz", images=images)
    values = {
        "dataset": path,
        "run_dir": str(tmp_path / "run"),
        "epochs": 1,
        "steps_per_epoch": 2,
        "batch_size": 8,
        "units": [8],
        "missing_rate": 0.2,
        "patience": 1,
        "test_sequences": 2,
    }
    metrics = run.run(Settings.from_dict(values))
    assert metrics["test/sequences"] == 2
    assert np.isfinite(metrics["test/elbo_per_frame"])
    # A second run in the same folder is refused, and so is another architecture.
    with pytest.raises(UserError, match="--resume"):
        run.run(Settings.from_dict(values))
    with pytest.raises(UserError, match="--latent_size is 7"):
        run.run(Settings.from_dict(values | {"latent_size": 7, "resume": True}))


def test_a_bound_that_is_not_a_number_stops_the_training(tmp_path):
    values = presets.flags("pendulum_smoke") | {
        "run_dir": str(tmp_path / "run"),
        "learning_rate": 1e20,
        "model": "dkf",
        "image_epochs": 0,
        "schedule": "constant",
        "steps_per_epoch": 20,
    }
    with pytest.raises(UserError, match=r"(reconstruction|regularisation).* not finite"):
        run.run(Settings.from_dict(values))
    assert not (tmp_path / "run" / "metrics.json").exists()
