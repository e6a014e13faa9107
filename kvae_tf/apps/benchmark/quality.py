"""How long a training takes, from a fresh process, until it is as good as asked."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.experiments import flagfiles

_VALUE = re.compile(r"^epoch (\d+) of .* val_elbo (-?[\d.]+)")
_CURVE, _HALF = "missing_at_random/smooth", 0.5


class Goals(NamedTuple):
    """What is asked of a config.

    Attributes:
      bounds: validation bounds in nats a sequence or frame, as the training prints them.
      errors: fractions of incorrect pixels on test sequences, half of whose frames are hidden.
    """

    bounds: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()


GOALS = {"pendulum_fast": Goals(bounds=(810.0, 935.0)), "box_fast": Goals(errors=(0.0075,))}


def quality(
    configs: Sequence[str], seeds: Sequence[int], run_dir: str | Path
) -> list[dict[str, object]]:
    """Trains, and prints when each goal was reached.

    Args:
      configs: names of configs, out of ``GOALS``.
      seeds: of data, initialisation and noise.
      run_dir: folder of the runs, which are overwritten.

    Returns:
      A row a goal: ``config``, ``seed``, ``goal`` (in words), ``seconds`` from the start of the
      process, None where it was not reached, and ``value`` then.

    Raises:
      UserError: a config has no goals, or a training fails.
    """
    for config in configs:
        if config not in GOALS:
            raise UserError(f"--configs has {config!r}, expected some of {', '.join(GOALS)}")
    rows = []
    for config in configs:
        for seed in seeds:
            for row in _training(config, seed, Path(run_dir) / f"{config}_{seed}"):
                rows.append({"config": config, "seed": seed} | row)
                when = "not reached" if row["seconds"] is None else f"{row['seconds']:.0f} s"
                print(f"{config}, seed {seed}: {row['goal']}: {when}", flush=True)
    return rows


def _training(config, seed, folder):
    """The rows of one training, in a process of its own."""
    flags = [f"--flagfile={flagfiles.find(config)}", f"--seed={seed}", f"--run_dir={folder}"]
    command = [sys.executable, "-m", "kvae_tf.apps.commands.train", *flags, "--overwrite"]
    goals = GOALS[config]
    start = time.perf_counter()
    # Complaints go to a file: a full pipe that nobody reads would stop the training.
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True)
        lines = ((time.perf_counter() - start, line) for line in process.stdout)
        yield from reached(lines, goals.bounds)
        failed = process.wait()
        seconds = time.perf_counter() - start
        complaints.seek(0)
        said = complaints.read().strip().splitlines()
    if failed:
        raise UserError(
            f"the training of {config} failed: {said[-1] if said else 'no reason given'}"
        )
    if goals.errors:
        metrics = storage.read_json(folder / "metrics.json", "the metrics of a run")
        where = metrics["missing_at_random/rates"].index(_HALF)
        error = metrics[_CURVE][where]
        for goal in goals.errors:
            yield {
                "goal": f"half of the frames hidden, error at most {goal:g}",
                "seconds": seconds if error <= goal else None,
                "value": error,
            }


def reached(
    lines: Iterable[tuple[float, str]], bounds: Sequence[float]
) -> Iterator[dict[str, object]]:
    """When a training's validation bounds reached goals, and stayed there to the end.

    Args:
      lines: what it printed, each after the seconds at which it did.
      bounds: the goals.

    Yields:
      A row for each goal, in their order; all lines are read.
    """
    found = dict.fromkeys(bounds, (None, None))
    for seconds, line in lines:
        if match := _VALUE.match(line):
            value = float(match[2])
            for bound in bounds:
                if value < bound:
                    found[bound] = None, None
                elif found[bound][0] is None:
                    found[bound] = seconds, value
    for bound, (seconds, value) in found.items():
        goal = f"validation bound from then on at least {bound:g}"
        yield {"goal": goal, "seconds": seconds, "value": value}
