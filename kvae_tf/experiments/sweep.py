"""Many runs over a grid, or over random draws, of flags: resumable, results in one CSV."""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kvae_tf import evaluation
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.experiments import flags as settings_flags
from kvae_tf.experiments import initial, locks
from kvae_tf.experiments.settings import PLACES, Settings

_TRAIN = "kvae_tf.apps.commands.train"
_LONGEST = 255  # bytes of a folder's name
_LARGEST = 2**53  # the whole numbers that a float holds
# Settings that change no result.
_FREE = {*PLACES, "max_memory", "image_epochs", "profile_updates"}


def grid(space: str) -> list[dict[str, str]]:
    """Every combination of the values of some flags.

    Args:
      space: ``"learning_rate=0.001,0.002;seed=0,1,2"``.

    Raises:
      UserError: it is not of this form.
    """
    choices = {name: _values(name, text) for name, text in _parse(space).items()}
    return [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]


def draws(space: str, count: int, seed: int = 0) -> list[dict[str, str]]:
    """Random values of some flags.

    Args:
      space: as of ``grid``, or with ranges: ``"learning_rate=log:1e-4:1e-2"`` (uniform in the
        logarithm), ``"clip_norm=uniform:1:100"``, ``"num_modes=integer:2:9"``.
      count: how many draws.
      seed: of the draws, of which the first ones are the same for every ``count``.

    Raises:
      UserError: it is not of this form.
    """
    choices = _parse(space)
    found = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        found.append({name: _draw(name, text, rng) for name, text in choices.items()})
    return found


def run(
    config: str,
    points: list[dict[str, str]],
    folder: Path,
    fixed: Sequence[str] = (),
    jobs: int = 1,
) -> Path:
    """Trains every point in a folder of its own; those that are finished already are left alone.

    Args:
      config: the flagfile of all runs, or the name of a config of the package.
      points: flag values of each run.
      folder: of the sweep; a run's folder is named by its values.
      fixed: further flags of all runs, as ``--epochs=3``.
      jobs: runs at the same time.

    Returns:
      The CSV file: a row a run, its flags and all metrics that are numbers.

    Raises:
      UserError: runs failed, of which the message names the first one and its log; a flag is given
        twice; a run's name is too long; a folder holds a run with other settings; or another sweep
        is at work in the folder.
    """
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}, expected at least 1")
    named = [word.lstrip("-").partition("=")[0] for word in fixed]
    for name in {*named, *points[0]} - {"plugin", "flagfile"}:
        if [*named, *points[0]].count(name) > 1:
            raise UserError(
                f"--{name} is set twice, expected it once: for all runs or in the space"
            )
    storage.make_folder(folder, "sweep_dir")
    runs = {_name(point): point for point in points}
    with locks.held(folder, "sweep_dir"):
        for name, point in runs.items():
            _check(folder / name, [f"--flagfile={config}", *fixed, *_flags(point)])
        return _run(config, runs, folder, fixed, jobs)


def _run(config, runs, folder, fixed, jobs):
    """What ``run`` does in a folder that is locked and checked."""
    children = set()

    def train(name):
        if (folder / name / "metrics.json").exists():
            print(f"{name}: is finished already", flush=True)
            return 0
        (folder / name).mkdir(exist_ok=True)
        command = [sys.executable, "-m", _TRAIN, f"--flagfile={config}", *fixed]
        command += [*_flags(runs[name]), f"--run_dir={folder / name}", "--resume"]
        with open(folder / name / "log.txt", "w", encoding="utf-8") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log)
            children.add(child)
            status = child.wait()
            children.remove(child)
        print(f"{name}: {'finished' if not status else f'failed, status {status}'}", flush=True)
        return status

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            statuses = dict(zip(runs, pool.map(train, runs), strict=True))
        except KeyboardInterrupt as end:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):
                child.terminate()
            end.args = (f"finished runs are kept in {folder}; the same command goes on",)
            raise
    table = folder / "results.csv"
    storage.write_csv(table, *_table(folder, runs))
    failed = [name for name, status in statuses.items() if status]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed, the first is {failed[0]}: see "
            f"{folder / failed[0] / 'log.txt'}"
        )
    return table


def _flags(point):
    return [f"--{flag}={value}" for flag, value in point.items()]


def _check(run_dir, flags):
    """Raises a ``UserError`` where a folder holds a run with other settings than these flags."""
    path = run_dir / "settings.json"
    if not path.exists():
        return
    values = settings_flags.read(flags) | {"run_dir": str(run_dir)}
    mine = Settings.from_dict(initial.complete(values)).to_dict()
    for name, value in storage.read_json(path, "the settings of a run").items():
        if name not in _FREE and mine.get(name, value) != value:
            raise UserError(
                f"{run_dir} holds a run with --{name}={value}, but this sweep has {mine[name]}: "
                "expected the same settings, or another --sweep_dir"
            )


def _parse(space):
    found = {}
    for part in filter(None, space.split(";")):
        name, sign, text = part.strip().partition("=")
        name = name.strip().lstrip("-")
        if not sign or not text or not name:
            raise UserError(f"{part!r} is no flag with values, expected NAME=VALUE,VALUE")
        if name in found:
            raise UserError(
                f"{name} is given twice, expected all its values in one place: "
                f"{name}={found[name]},{text}"
            )
        found[name] = text
    if not found:
        raise UserError("the space is empty, expected NAME=VALUE,VALUE;NAME=VALUE,VALUE")
    return found


def _values(name, text):
    if ":" in text:
        raise UserError(f"{name}={text} is a range, expected values for a grid: VALUE,VALUE")
    return text.split(",")


def _draw(name, text, rng):
    if ":" not in text:
        return str(rng.choice(text.split(",")))
    kind, _, limits = text.partition(":")
    try:
        low, high = map(float, limits.split(":"))
    except ValueError:
        low, high = math.nan, math.nan
    is_whole = low % 1 == high % 1 == 0 and max(-low, high) < _LARGEST
    if (
        kind not in ("uniform", "log", "integer")
        or not (low <= high and math.isfinite(high - low))
        or (kind == "log" and low <= 0)
        or (kind == "integer" and not is_whole)
    ):
        raise UserError(
            f"{name}={text} is no range, expected log:LOW:HIGH, uniform:LOW:HIGH or "
            "integer:LOW:HIGH with finite numbers"
        )
    if kind == "integer":
        return str(rng.integers(int(low), int(high) + 1))
    if kind == "log":
        return f"{np.exp(rng.uniform(np.log(low), np.log(high))):.4g}"
    return f"{rng.uniform(low, high):.4g}"


def _name(point):
    """The folder of a run; other points have other names."""
    name = ",".join(f"{flag}={value}" for flag, value in point.items())
    name = name.replace("%", "%25").replace("/", "%2F")
    length = len(name.encode())
    if length > _LONGEST:
        raise UserError(
            f"the run {name[:40]}… has a name of {length} bytes, expected at most {_LONGEST}: "
            "name fewer flags, or shorter values"
        )
    return name


def _table(folder, runs):
    """Header and rows: the flags and metrics of the runs that are finished."""
    found = {
        name: evaluation.read(folder / name / "metrics.json", "the metrics of a run")
        for name in runs
        if (folder / name / "metrics.json").exists()
    }
    metrics = sorted({key for values in found.values() for key, value in values.items()
                      if isinstance(value, (int, float))})  # fmt: skip
    flags = list(dict.fromkeys(flag for point in runs.values() for flag in point))
    rows = [
        [
            name,
            *(runs[name].get(flag, "") for flag in flags),
            *(values.get(metric, "") for metric in metrics),
        ]
        for name, values in found.items()
    ]
    return ["run", *flags, *metrics], rows
