"""Trainings that are killed at random moments, and trainings from many seeds; run by hand.

    python tests/robustness/kills.py kills --count=40 --output=kills.json
    python tests/robustness/kills.py seeds --count=50 --output=seeds.json

``kills`` trains, evaluates and exports each model at a tiny size, undisturbed. Then it starts the
same command again and again, ends it with SIGKILL at a random moment, and resumes it. The resumed
run has to give the same checkpoint, metrics and export, bit for bit, and leave no other files.
``seeds`` trains each model at a small size from one seed after another. Each validation bound has
to be finite, and the last one better than the first.

Both write a JSON file with what failed, and exit with status 1 where something did. One process
works at a time; ``--jobs=2`` lets two models go side by side.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from kvae_tf import data
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.experiments import presets
from kvae_tf.models import registry
from kvae_tf.training import build
from kvae_tf.training.checkpoints import Checkpoints
from kvae_tf.training.fit import train

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--epochs=3", "--steps_per_epoch=2", "--batch_size=8", "--test_sequences=2",
        "--image_epochs=2", "--jit=off"]  # fmt: skip
OWN = {
    "ae_rnn": {"pretraining_epochs": 1, "units": 8},
    "vae_rnn": {"pretraining_epochs": 1, "units": 8},
    "cannonball": {"state_size": 16},
}
_POLL = 0.01  # seconds


def train_command(model: str, folder: Path, run_dir: Path) -> list[str]:
    """The command that trains a tiny model on ``folder/controlled.npz`` or ``counted.npz``."""
    own = [f"--{name}={value}" for name, value in OWN.get(model, {"units": 8}).items()]
    dataset = folder / ("counted.npz" if model == "cannonball" else "controlled.npz")
    named = [f"--dataset={dataset}", f"--model={model}", f"--run_dir={run_dir}"]
    return [sys.executable, "scripts/train.py", *named, *TINY, *own]


def start(command: list[str], log) -> subprocess.Popen:
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def wait_for(process: subprocess.Popen, path: Path) -> float:
    """Waits until a process has written a file or folder, or ended; the time of that, seconds."""
    while not path.exists() and process.poll() is None:
        time.sleep(_POLL)
    return time.perf_counter()


def tensors(path: Path) -> dict[str, bytes]:
    reader = tf.train.load_checkpoint(str(path))
    names = reader.get_variable_to_shape_map()
    values = {n: np.asarray(reader.get_tensor(n)) for n in names if "save_counter" not in n}
    return {n: x.tobytes() for n, x in values.items() if not n.startswith("_CHECKPOINTABLE")}


def outcome(run_dir: Path) -> dict[str, object]:
    """What two runs have to share: names of files but for logs, and the contents that count."""
    files = [path.relative_to(run_dir) for path in run_dir.rglob("*") if path.is_file()]
    found = {"files": sorted(str(path) for path in files if path.parts[0] != "logs")}
    last = tf.train.latest_checkpoint(str(run_dir / "checkpoints" / "last"))
    found["checkpoint"] = tensors(last)
    found["export"] = tensors(run_dir / "saved_model" / "1" / "variables" / "variables")
    for name in ("metrics.json", "data.json", "saved_model/metrics.json"):
        found[name] = json.loads((run_dir / name).read_text())
    return found


def kill_one_model(model: str, count: int, seed: int, folder: Path) -> list[dict[str, object]]:
    """Kills ``count`` trainings of a model; one entry for each of them."""
    rng = np.random.default_rng(seed)
    whole, results = folder / model / "whole", []
    whole.parent.mkdir()
    with open(folder / model / "log.txt", "w+", encoding="utf-8") as log:
        process = start(train_command(model, folder, whole), log)
        began = wait_for(process, whole / "settings.json")
        trained = wait_for(process, whole / "logs/validation/projector_config.pbtxt") - began
        if process.wait():
            return [{"model": model, "failed": f"the undisturbed run: see {log.name}"}]
        length = time.perf_counter() - began
        expected = outcome(whole)
        for number in range(count):
            run_dir = folder / model / str(number)
            command = [*train_command(model, folder, run_dir), "--resume"]
            # Half of the kills strike before the evaluation, which takes longest.
            status, moment = 0, length if number % 2 else trained
            while not status:  # a run that was done before its moment is not a killed one
                shutil.rmtree(run_dir, ignore_errors=True)
                moment = float(rng.uniform(0, moment))
                process = start(command, log)
                wait_for(process, run_dir / "settings.json")
                time.sleep(moment)
                process.send_signal(signal.SIGKILL)
                status = process.wait()
            result = {"model": model, "seconds": round(moment, 2), "status": status}
            result["finished epochs"] = finished_epochs(run_dir)
            if status != -signal.SIGKILL:
                result["failed"] = f"it ended by itself: see {log.name}"
            elif start(command, log).wait():
                result["failed"] = f"the resumed run: see {log.name}"
            else:
                found = outcome(run_dir)
                differing = [name for name in expected if found[name] != expected[name]]
                if differing:
                    result["failed"] = f"not as undisturbed: {', '.join(differing)}"
            print(json.dumps(result), flush=True)
            results.append(result)
    return results


def finished_epochs(run_dir: Path) -> int:
    path = run_dir / "time.json"
    return json.loads(path.read_text())["epochs"] if path.exists() else 0


def kills(models: list[str], count: int, jobs: int, seed: int) -> dict[str, object]:
    """Kills ``count`` trainings, divided among the models."""
    rng = np.random.default_rng(seed)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    images = rng.random((30, 4, 8, 8), np.float32)
    np.savez(folder / "controlled.npz", images=images, controls=rng.normal(size=(30, 4, 1)))
    np.savez(folder / "counted.npz", images=images, num_objects=rng.integers(1, 3, 30))
    shares = [len(range(i, count, len(models))) for i in range(len(models))]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        several = pool.map(
            lambda i: kill_one_model(models[i], shares[i], seed + i, folder), range(len(models))
        )
        results = [result for found in several for result in found]
    return {"folder": str(folder), "runs": results}


def seeds_of_one_model(model: str, count: int) -> list[dict[str, object]]:
    """Trains a model from the seeds 0 … ``count - 1``, in this process.

    All trainings share one compiled step: weights, optimiser and seed are put into its variables.
    """
    balls = model == "cannonball"
    world = "cannonballs_small" if balls else "pendulum"
    splits = data.WORLDS[world].splits(0, num_sequences=(100, 40, 1), num_steps=10)
    values = {"model": model, "dataset": world, "network": "mlp", "jit": "off", "image_epochs": 0}
    own = {name: value for name, value in OWN.get(model, {}).items() if name != "units"}
    shared, results = None, []
    for seed in range(count):
        plan = presets.settings("pendulum_smoke", **values | own, seed=seed).plan
        fresh, result = build.build(plan, splits.train), {"model": model, "seed": seed}
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Path(folder) / "checkpoints"
            if shared is None:
                shared, fresh.noise_seed = fresh, tf.Variable(seed, dtype=tf.int64)
                progress = build.compile_model(shared, plan, splits.train, checkpoints)
                blank = [variable.numpy() for variable in shared.optimizer.variables]
            else:
                progress = Checkpoints(checkpoints, shared)
                shared.set_weights(fresh.get_weights())
                shared.noise_seed.assign(seed)
                for variable, value in zip(shared.optimizer.variables, blank, strict=True):
                    variable.assign(value)
                shared.stop_training = False
            try:
                train(shared, progress, plan, splits, Path(folder))
                bounds = [float(bound) for bound in shared.history.history["val_elbo"]]
                result["bounds"] = bounds
                if not all(map(math.isfinite, bounds)) or not bounds[-1] > bounds[0]:
                    result["failed"] = "the bound does not improve"
            except UserError as error:
                result["failed"] = str(error)
        results.append(result)
    return results


def seeds(models: list[str], count: int, jobs: int) -> dict[str, object]:
    """Trains every model from ``count`` seeds, each model in a process of its own."""

    def of_model(model):
        command = [sys.executable, __file__, "seeds", f"--count={count}", f"--models={model}"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "found.json"
            subprocess.run([*command, f"--output={path}", "--here"], cwd=ROOT)
            found = json.loads(path.read_text())["runs"] if path.exists() else []
        return found or [{"model": model, "failed": "the process ended early"}]

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return {"runs": [result for found in pool.map(of_model, models) for result in found]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("mode", choices=("kills", "seeds"))
    parser.add_argument("--count", type=int, default=0, help="kills in all, or seeds of each model")
    parser.add_argument("--models", default=",".join(registry.names()), help="with commas between")
    parser.add_argument("--jobs", type=int, default=1, help="models at the same time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    models = given.models.split(",")
    began = time.perf_counter()
    if given.mode == "kills":
        found = kills(models, given.count or 40, given.jobs, given.seed)
    elif given.here:
        found = {"runs": seeds_of_one_model(models[0], given.count)}
    else:
        found = seeds(models, given.count or 50, given.jobs)
    failed = [result for result in found["runs"] if "failed" in result]
    found |= {"failed": failed, "minutes": round((time.perf_counter() - began) / 60, 1)}
    storage.write_json(given.output, found)
    print(f"{len(found['runs'])} runs, {len(failed)} failed: {given.output}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
