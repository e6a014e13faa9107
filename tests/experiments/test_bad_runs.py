"""Runs, sweeps and comparisons of bad files and settings: one line each that says what is wrong."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT
from PIL import Image

from kvae_tf import data, evaluation
from kvae_tf.apps import cli, simulation
from kvae_tf.data import storage, video
from kvae_tf.data.fingerprint import fingerprint
from kvae_tf.data.settings import LARGEST_SEED
from kvae_tf.errors import UserError
from kvae_tf.experiments import compare, locks, presets, report, results_tables, run, sweep
from kvae_tf.experiments import flags as settings_flags
from kvae_tf.experiments.settings import Settings, read
from kvae_tf.export.loading import LoadedModel
from kvae_tf.training import callbacks, checkpoints

GOOD = {"model": "ae_rnn", "pretraining_epochs": 1, "epochs": 2, "units": [4], "batch_size": 8}
METRICS = {"test/elbo_per_frame": -1.0, "gap/smooth": [0.1, 0.2]}


def mine(folder, **changes):
    """Settings of a small run."""
    values = GOOD | {"dataset": str(folder / "mine.npz"), "run_dir": str(folder / "run")}
    return values | changes


@pytest.fixture
def folder(tmp_path):
    """A folder with a data set ``mine.npz`` and a finished run ``run``."""
    images = np.random.default_rng(0).random((12, 2, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", images=images)
    settings = Settings.from_dict(mine(tmp_path))
    storage.write_json(tmp_path / "run" / "settings.json", settings.to_dict())
    storage.write_json(tmp_path / "run" / "metrics.json", METRICS)
    storage.write_json(tmp_path / "run" / "time.json", {"seconds": 1.0, "epochs": 2})
    return tmp_path


def resumed(folder, **changes):
    return run.run(Settings.from_dict(mine(folder, resume=True, **changes)))


def swept(folder, *points, fixed=()):
    return sweep.run("pendulum_smoke", list(points), folder / "sweep", fixed)


def tables(folder, name):
    (folder / "README.md").write_text(f"<!-- table {name} -->\n<!-- /table -->\n")
    results_tables.update(folder / "README.md", folder)


def older_facts(folder):
    model = LoadedModel.__new__(LoadedModel)
    model.path = folder / "run" / "1"
    return model._older_facts()


def cropped(folder, *crop):
    Image.new("L", (8, 8)).save(folder / "frames.png")
    (folder / "frames").mkdir()
    os.rename(folder / "frames.png", folder / "frames" / "1.png")
    return video.read(folder / "frames", data.FrameTransform(crop))


# What reads a run's settings, with the name of the file.
READERS = {
    "resume": resumed,
    "restore": lambda folder: run.restore(folder / "run"),
    "read": lambda folder: read(folder / "run" / "settings.json"),
    "report": lambda folder: report.write(folder / "run", folder / "report.html"),
    "compare": lambda folder: compare.compare([folder / "run"], folder / "compared.json"),
    "export": older_facts,
}


@pytest.mark.parametrize("content", ["[1, 2]", "null", '"text"', "3", "{", "", "\x00", "[" * 10**5])
@pytest.mark.parametrize("reader", READERS)
def test_settings_of_another_form(reader, content, folder):
    (folder / "run" / "settings.json").write_text(content)
    with pytest.raises(
        UserError, match=r"settings\.json (holds .*|is not JSON), expected"
    ) as error:
        READERS[reader](folder)
    assert "\n" not in str(error.value)


SETTINGS = [
    ({"epochs": "many"}, "--epochs is 'many', expected a whole number"),
    ({"epochs": None}, "--epochs is None, expected a whole number"),
    ({"batch_size": True}, "--batch_size is True, expected a whole number"),
    ({"epochs": 2.5}, "--epochs is 2.5, expected a whole number"),
    ({"epochs": {}}, "--epochs is {}, expected a whole number"),
    ({"learning_rate": "fast"}, "--learning_rate is 'fast', expected a finite number"),
    ({"learning_rate": float("nan")}, "--learning_rate is nan, expected a finite number"),
    ({"learning_rate": float("inf")}, "--learning_rate is inf, expected a finite number"),
    ({"units": "wide"}, "--units is 'wide', expected whole numbers"),
    ({"units": [4, "b"]}, "--units is (4, 'b'), expected whole numbers"),
    ({"units": [1.5]}, "--units is (1.5,), expected whole numbers"),
    ({"binarise": "yes"}, "--binarise is 'yes', expected true or false"),
    ({"dataset": 5}, "--dataset is 5, expected text"),
    ({"model": ["kvae"]}, "--model is ('kvae',), expected text"),
    ({"model": {}}, "--model is {}, expected text"),
    ({"seed": 2**32}, "--seed is 4294967296, expected 0 to 4294967295"),
    ({"seed": -1}, "--seed is -1, expected 0 to 4294967295"),
    ({"no_such": 1}, "unknown settings: no_such"),
]


@pytest.mark.parametrize(("changes", "words"), SETTINGS, ids=[words for _, words in SETTINGS])
def test_settings_of_another_kind(changes, words, folder):
    path = folder / "run" / "settings.json"
    path.write_text(json.dumps(mine(folder, **changes)))
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: {words}")


METRICS_READERS = {
    "report": READERS["report"],
    "compare": READERS["compare"],
    "read": lambda folder: evaluation.read(folder / "run" / "metrics.json", "metrics"),
}


@pytest.mark.parametrize(("content", "words"), [
    ([1.0], "metrics.json holds [1.0], expected"),
    ({"a": "b"}, "metrics.json has a 'b', expected a number"),
    ({"a": None}, "metrics.json has a None, expected a number"),
    ({"a": {"b": 1}}, "metrics.json has a {'b': 1}, expected a number"),
    ({"a": [1.0, "b"]}, "metrics.json has a 'b', expected a number"),
], ids=["list", "text", "null", "object", "text in a list"])  # fmt: skip
@pytest.mark.parametrize("reader", METRICS_READERS)
def test_metrics_of_another_form(reader, content, words, folder):
    (folder / "run" / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        METRICS_READERS[reader](folder)
    assert words in str(error.value)
    assert not (folder / "compared.json").exists()
    assert not (folder / "report.html").exists()


def changed(name, content, call):
    """A call after a file of the run was replaced."""

    def changed_call(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        return call(folder)

    return changed_call


point = functools.partial(dict, seed="0")
LONG = "x" * 300
CALLS = {
    "time: text": (
        changed("run/time.json", '{"seconds": "long"}', READERS["compare"]),
        "time.json has seconds 'long', expected a number",
    ),
    "time: list": (
        changed("run/time.json", "[]", READERS["compare"]),
        "time.json holds [], expected a run's time",
    ),
    "time: resumed": (
        changed("time.json", "{}", lambda folder: callbacks.Clock(folder / "time.json", 1)),
        "time.json has seconds None, expected a number",
    ),
    "older export": (
        changed("run/settings.json", '{"model": "dvbf", "initial_frames": "x"}', older_facts),
        "settings.json does not hold the settings of an export",
    ),
    "table: no metric": (
        changed("box/seeds.json", "{}", lambda f: tables(f, "seeds")),
        "table seeds cannot be made (KeyError('runs')), expected",
    ),
    "table: other form": (
        changed("pendulum/systems.json", '{"runs": 3}', lambda f: tables(f, "pendulum_bounds")),
        "table pendulum_bounds cannot be made (TypeError(",
    ),
    "table: list": (
        changed("box/seeds.json", "[]", lambda f: tables(f, "seeds")), "seeds.json holds [], exp",
    ),
    "data: changed": (
        changed("run/data.json", '{"fingerprint": "0"}', resumed),
        "mine.npz has other contents now than those that --run_dir=",
    ),
    "data: restored": (
        changed("run/data.json", '{"fingerprint": "0"}', READERS["restore"]),
        "mine.npz has other contents now than those that --run_dir=",
    ),
    "data: list": (changed("run/data.json", "[]", resumed), "data.json holds [], expected"),
    "no checkpoint": (READERS["restore"], "holds no checkpoint, expected a run with a finished"),
    "other seed": (lambda f: resumed(f, seed=1), "--seed is 1, but the checkpoint"),
    "crop: nothing": (lambda f: cropped(f, 0, 0, 0, 0), "--crop=0,0,0,0 (top, left"),
    "crop: no width": (lambda f: cropped(f, 0, 0, 4, 0), "--crop=0,0,4,0 (top, left"),
    "crop: outside": (lambda f: cropped(f, 5, 0, 4, 4), "is no part of"),
    "crop: negative": (lambda f: cropped(f, -1, 0, 4, 4), "is no part of"),
    "crop: two": (lambda f: cropped(f, 1, 2), "--crop=1,2 (top, left, height, width)"),
    "integer: nan": (lambda f: sweep.draws("a=integer:nan:3", 1), "a=integer:nan:3 is no range"),
    "integer: inf": (lambda f: sweep.draws("a=integer:1:inf", 1), "a=integer:1:inf is no range"),
    "integer: half": (lambda f: sweep.draws("a=integer:1.5:3", 1), "a=integer:1.5:3 is no range"),
    "integer: huge": (lambda f: sweep.draws("a=integer:1:1e30", 1), "a=integer:1:1e30 is no range"),
    "uniform: nan": (lambda f: sweep.draws("a=uniform:nan:1", 1), "a=uniform:nan:1 is no range"),
    "uniform: wide": (lambda f: sweep.draws("a=uniform:-1e308:1e308", 1), "is no range"),
    "log: inf": (lambda f: sweep.draws("a=log:1:inf", 1), "a=log:1:inf is no range"),
    "flag twice": (lambda f: sweep.grid("seed=0;seed=1"), "seed is given twice"),
    "flag twice, dashes": (lambda f: sweep.grid("seed=0; --seed=1"), "seed is given twice"),
    "flag of all and of each": (
        lambda f: swept(f, point(), fixed=["--seed=1"]), "--seed is set twice",
    ),
    "set twice": (
        lambda f: swept(f, point(), fixed=["--epochs=1", "--epochs=2"]), "--epochs is set twice",
    ),
    "long name": (lambda f: swept(f, point(dataset=LONG)), "has a name of 315 bytes, expected at"),
    "sweep: metrics": (
        changed("sweep/seed=0/metrics.json", "[]", lambda f: swept(f, point())),
        "metrics.json holds [], expected the metrics of a run",
    ),
    "sweep: settings": (
        changed("sweep/seed=0/settings.json", "[]", lambda f: swept(f, point())),
        "settings.json holds [], expected the settings of a run",
    ),
    "output below a file": (
        lambda f: simulation.write("box", f / "mine.npz" / "x.npz", num_sequences=(1, 1, 1)),
        "cannot write",
    ),
    "output is a folder": (
        lambda f: report.write(f / "run", f / "run"), "cannot write",
    ),
    "film is a folder": (
        changed("x.gif/y", "", lambda f: simulation.write("box", f / "x.gif", num_steps=2)),
        "cannot write",
    ),
    "comparison below a file": (
        lambda f: compare.compare([f / "run"], f / "mine.npz" / "x.json"), "cannot write",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_bad_calls(name, folder):
    call, words = CALLS[name]
    with pytest.raises(UserError) as error:
        call(folder)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not [path for path in folder.rglob("*") if path.suffix in (".tmp", ".old")]


def test_a_finished_run_of_a_sweep_has_the_settings_that_are_asked_for(folder, capsys):
    values = presets.flags("pendulum_smoke") | {"epochs": 2, "run_dir": "elsewhere"}
    path = folder / "sweep" / "seed=0"
    storage.write_json(path / "settings.json", Settings.from_dict(values).to_dict())
    storage.write_json(path / "metrics.json", METRICS)
    table = swept(folder, point(), fixed=["--epochs=2"])
    assert "seed=0: is finished already" in capsys.readouterr().out
    assert "-1.0" in table.read_text()
    for fixed, words in (
        (["--epochs=3"], "--epochs=2, but this sweep has 3"),
        ([], "--epochs=2, but this sweep has 3"),
        (["--epochs=2", "--units=8"], r"--units=\[32\], but this sweep has \[8\]"),
        (["--epochs=2", "--units=b"], "--units is 'b', expected whole numbers"),
    ):
        with pytest.raises(UserError, match=words):
            swept(folder, point(), fixed=fixed)
    config = folder / "other.cfg"
    config.write_text("--flagfile=pendulum_smoke\n--epochs=2\n--nolearn_noise\n")
    with pytest.raises(UserError, match="with --learn_noise=True, but this sweep has False"):
        sweep.run(str(config), [point()], folder / "sweep")


def test_runs_of_other_values_have_other_folders():
    points = sweep.grid("dataset=a/b.npz,a_b.npz,a%2Fb.npz,a%b.npz")
    assert len({sweep._name(point) for point in points}) == 4
    assert all("/" not in sweep._name(point) for point in points)


def test_a_folder_is_used_by_one_process(folder):
    pytest.importorskip("fcntl")
    with locks.held(folder / "run", "run_dir"):
        with pytest.raises(UserError, match="--run_dir=.* is in use by another process"):
            resumed(folder)
        assert (folder / "run" / "metrics.json").exists()
    (folder / "sweep").mkdir()
    with (
        locks.held(folder / "sweep", "sweep_dir"),
        pytest.raises(UserError, match="--sweep_dir=.* is in use by another process"),
    ):
        swept(folder, point())
    with locks.held(folder / "run", "run_dir"):
        pass  # free again


def test_without_locks_of_the_system_nothing_is_locked(folder, monkeypatch):
    def no_locks(file, kind):
        raise OSError(95, "Operation not supported")

    for replaced in (None, type("fcntl", (), {"flock": no_locks, "LOCK_EX": 2, "LOCK_NB": 4})):
        monkeypatch.setattr(locks, "fcntl", replaced)
        with locks.held(folder, "run_dir"), locks.held(folder, "run_dir"):
            pass


def parts(folder, frames):
    np.savez(folder / "some.npz", images=frames)
    return data.load(folder / "some.npz", seed=0)


def test_fingerprints_tell_contents(folder):
    frames = np.random.default_rng(0).random((12, 2, 4, 4)).astype(np.float32)
    first = fingerprint(parts(folder, frames))
    assert fingerprint(parts(folder, frames.copy())) == first
    frames[3, 1, 2, 2] = 0.0
    second = fingerprint(parts(folder, frames))
    assert second != first
    splits = parts(folder, frames)
    data.save_records(folder / "shards", splits, 2)
    shards = fingerprint(data.load(folder / "shards", seed=0))
    assert shards == fingerprint(data.load(folder / "shards", seed=0))
    path = next((folder / "shards").glob("train-00001*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # beyond what is read of the training part when it is loaded
    path.write_bytes(content)
    try:
        changed_shards = fingerprint(data.load(folder / "shards", seed=0))
    except UserError:  # the reader sees it by itself
        changed_shards = None
    assert changed_shards != shards


def test_superscripts_are_no_numbers(folder):
    (folder / "frames").mkdir()
    for number, name in enumerate(("1.png", "2.png", "10.png", "²1.png")):
        Image.new("L", (4, 4), number).save(folder / "frames" / name)
    frames = video.read(folder / "frames")
    assert sorted(frames[:, 0, 0, 0]) == [0, 1, 2, 3]
    assert [value for value in frames[:, 0, 0, 0] if value < 3] == [0, 1, 2]
    with pytest.raises(UserError, match="--units is '²', expected whole numbers"):
        settings_flags.read(["--units=²"])
    with pytest.raises(UserError, match="--epochs=²"):
        settings_flags.read(["--epochs=²"])


def test_fewer_epochs_than_are_finished_are_refused(folder, monkeypatch):
    class Finished:
        progress = checkpoints.Progress()

        def restore_last(self):
            return True

    Finished.progress.epoch.assign(3)
    monkeypatch.setattr(run, "compile_model", lambda *_: Finished())
    with pytest.raises(UserError, match="--epochs is 2, expected at least 3"):
        resumed(folder)


@pytest.mark.parametrize(("error", "expected", "words"), [
    (KeyboardInterrupt(), KeyboardInterrupt, "there is no checkpoint; go on with --resume"),
    (OSError(28, "No space left on device"), UserError, "No space left on device; no epoch"),
    (tf.errors.UnknownError(None, None, "x; No space left on device"), UserError, "No space left"),
    (OSError(5, "Input/output error"), OSError, "Input/output error"),
], ids=["interrupt", "Python", "TensorFlow", "other"])  # fmt: skip
def test_a_run_that_ends_says_what_is_kept(error, expected, words, folder, monkeypatch):
    def end(*_):
        raise error

    monkeypatch.setattr(run, "_train", end)
    with pytest.raises(expected, match=words):
        resumed(folder)
    # The metrics of the run before do not stand for the one that has begun.
    assert not (folder / "run" / "metrics.json").exists()


def test_a_bound_that_is_not_a_number_says_what_is_kept(folder):
    guard = callbacks.NaNGuard(folder / "checkpoints")
    guard.set_model(
        types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=tf.Variable(7)))
    )
    with pytest.raises(UserError, match="loss not finite after update 7: .*there is no checkpoint"):
        guard.on_train_batch_end(0, {"loss": float("nan")})


def test_an_interrupted_sweep_ends_its_runs_and_starts_no_others(folder, monkeypatch):
    children, start = [], subprocess.Popen

    def sleep(command, **pipes):
        children.append(start([sys.executable, "-c", "import time; time.sleep(600)"], **pipes))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        return children[-1]

    monkeypatch.setattr(sweep.subprocess, "Popen", sleep)
    with pytest.raises(KeyboardInterrupt, match="finished runs are kept in .*the same command"):
        swept(folder, point(seed="0"), point(seed="1"), point(seed="2"))
    assert [child.returncode for child in children] == [-signal.SIGTERM]


ENDING = """
import os, signal, sys
from kvae_tf.apps import cli
def call():
    os.kill(os.getpid(), getattr(signal, sys.argv.pop()))
cli.run(call)
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals_give_one_line(name, status):
    code = ENDING.replace("sys.argv.pop()", repr(name))
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (status, "interrupted: nothing more is written\n")


@pytest.mark.parametrize(
    ("name", "flag"), [("record", "seed"), ("simulate", "seed"), ("sweep", "draw_seed")]
)
def test_seeds_have_a_range(name, flag):
    command = [sys.executable, "-m", f"kvae_tf.apps.commands.{name}", f"--{flag}=4294967296"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert f"--{flag}=4294967296" in result.stderr
    assert result.stderr.count("\n") == 1
    assert cli.LARGEST_SEED == LARGEST_SEED == 2**32 - 1


def test_what_only_imputations_follow_may_change_after_training(tmp_path, monkeypatch):
    def goes_on(*_):
        raise InterruptedError

    def again(**changes):
        run.run(presets.settings("box_state", run_dir=str(tmp_path), resume=True, **changes))

    monkeypatch.setattr(run, "_prepared", goes_on)
    settings = presets.settings("box_state", run_dir=str(tmp_path))
    storage.write_json(tmp_path / "settings.json", settings.to_dict())
    with pytest.raises(InterruptedError):
        again(paths=128, decoded_paths=32)
    with pytest.raises(UserError, match="--training_paths is 4, but the checkpoint in"):
        again(training_paths=4)
