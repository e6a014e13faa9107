"""Several replicas do what one does: devices of one process, processes, a worker that dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from training_cases import CASES

from kvae_tf.errors import UserError
from kvae_tf.training import distribution

ROOT = Path(__file__).parents[2]

# Trains a few updates on so many logical CPUs and saves the weights.
DEVICES = """
import sys
import numpy as np, tensorflow as tf
from kvae_tf import data
from kvae_tf.experiments import presets
from kvae_tf.training import build, distribution
number, path, model = int(sys.argv[1]), sys.argv[2], sys.argv[3]
cpu = tf.config.list_physical_devices("CPU")[0]
if number > 1:
    logical = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(cpu, logical)
settings = presets.settings(
    "pendulum_smoke", model=model, batch_size=12, steps_per_epoch=5, epochs=1, clip_norm=5.0,
    strategy="mirrored" if number > 1 else "none", jit="off",
)
splits = data.WORLDS["pendulum"].splits(0, num_sequences=(36, 2, 2), num_steps=8)
strategy = distribution.create(settings.training.strategy)
with strategy.scope():
    model = build.build(settings.plan, splits.train)
    model.compile(optimizer=build.optimizer(model, settings.plan, splits.train))
    def batches(rows):
        return data.training_batches(splits.train, 12, 0, missing_rate=0.3, rows=rows)
    model.fit(distribution.deal_out(batches, 12, strategy), steps_per_epoch=5, verbose=0)
np.savez(path, *[variable.numpy() for variable in model.trainable_variables])
"""
# Differentiates on two logical CPUs, whole and in parts, and on one.
GRADIENTS = """
import sys
import numpy as np, tensorflow as tf
from kvae_tf.models import replicas
from training_cases import B, build
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
case = sys.argv[1]
model, batch = build(case)
expected = model.training_gradients(batch, (0, 1))[2]
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model, _ = build(case)
def step(rows):
    return replicas.mean(model.training_gradients(rows, (0, 1))[2])
def dealt(context):
    first = context.replica_id_in_sync_group * B // 2
    return {name: x[first : first + B // 2] for name, x in batch.items()}
rows = strategy.experimental_distribute_values_from_function(dealt)
scale = max(np.abs(g).max() for g in expected)
assert scale > 0
for model.batch_parts in (1, 2):
    for found, one in zip(strategy.run(step, args=(rows,)), expected, strict=True):
        for two in strategy.experimental_local_results(found):
            np.testing.assert_allclose(two, one, atol=1e-5 * scale, err_msg=case)
"""
# Trains a whole run on two logical CPUs from given weights.
FROM_WEIGHTS = """
import sys
import numpy as np, tensorflow as tf
import kvae_tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
splits = kvae_tf.data.WORLDS["pendulum"].splits(0, num_sequences=(24, 4, 4), num_steps=8)
def train(**more):
    return kvae_tf.train(splits, run_dir=sys.argv[1], init_from="dkf_pendulum", batch_size=12,
                         steps_per_epoch=2, image_epochs=0, learning_rate=1e-5,
                         strategy="mirrored", **more)
train(epochs=1)
model = train(epochs=2, resume=True)
assert model.history.history["val_elbo"][-1] > 900
for found in (kvae_tf.load(sys.argv[1]),
              kvae_tf.load(sys.argv[1] + "/saved_model", trainable=True)):
    for one, two in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
"""
TINY = ["--flagfile=configs/pendulum_smoke.cfg", "--batch_size=16", "--steps_per_epoch=6",
        "--test_sequences=10", "--clip_norm=5", "--jit=off"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", ["kvae", "dvbf"])
def test_devices_share_a_batch(model, tmp_path):
    found = []
    for number in (1, 2):
        path = tmp_path / f"{number}.npz"
        command = [sys.executable, "-c", DEVICES, str(number), str(path), model]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
        assert result.returncode == 0, result.stderr[-2000:]
        with np.load(path) as arrays:
            found.append([arrays[name] for name in arrays.files])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.slow
def test_devices_start_from_weights(tmp_path):
    command = [sys.executable, "-c", FROM_WEIGHTS, str(tmp_path / "run")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    "case",
    ["vae_rnn", *(pytest.param(x, marks=pytest.mark.slow) for x in CASES if x != "vae_rnn")],
)
def test_gradients_of_devices_are_those_of_the_whole_batch(case):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    result = subprocess.run(
        [sys.executable, "-c", GRADIENTS, case], cwd=ROOT, env=os.environ | {"PYTHONPATH": paths},
        capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]


def test_bad_clusters(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="lists no workers"):
        distribution.create("multiworker")
    with pytest.raises(UserError, match="one device, .*CPU:0, expected several"):
        distribution.create("mirrored")
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(UserError, match="TF_CONFIG is no JSON object"):
        distribution.create("auto")
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["localhost:1"]}}))
    assert distribution.create("auto").num_replicas_in_sync == 1
    assert distribution.is_chief(tf.distribute.get_strategy())


def ports():
    with socket.socket() as one, socket.socket() as two:
        for free in (one, two):
            free.bind(("localhost", 0))
        return [free.getsockname()[1] for free in (one, two)]


def start(index, cluster, run, log, *flags):
    task = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, "scripts/train.py", *TINY, f"--run_dir={run}", *flags],
        cwd=ROOT, env=os.environ | {"TF_CONFIG": json.dumps(task)}, stdout=log, stderr=log,
    )  # fmt: skip


def weights(run):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run / "checkpoints" / "last")))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("model/")]
    return {name: reader.get_tensor(name) for name in names}


@pytest.mark.slow
def test_processes_share_a_batch_and_survive_a_kill(tmp_path):
    """Two processes; and two of which one is killed and started again: as one undisturbed one."""
    alone = subprocess.run(
        [sys.executable, "scripts/train.py", *TINY, f"--run_dir={tmp_path / 'alone'}"],
        cwd=ROOT, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr[-2000:]
    expected = weights(tmp_path / "alone")
    for kill in (False, True):
        run = tmp_path / f"kill_{kill}"
        cluster = [f"localhost:{port}" for port in ports()]
        with open(tmp_path / "log.txt", "w") as log:
            workers = [start(index, cluster, run, log) for index in range(2)]
            if kill:
                while not (run / "checkpoints" / "last" / "checkpoint").exists():
                    time.sleep(0.05)
                workers[1].send_signal(signal.SIGKILL)
                workers[1].wait()
                workers[1] = start(1, cluster, run, log, "--resume")
            for worker in workers:
                assert worker.wait(timeout=3600) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        assert (run / "metrics.json").exists()
        found = weights(run)
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
