"""Comparison of several runs: flags that differ, metrics, means and standard deviations."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from kvae_tf import evaluation
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.training import callbacks

# Flags that set where a run is stored, not what it computes.
_PLACES = ("run_dir", "export_dir", "cache_dir", "resume", "overwrite", "image_epochs")


def compare(runs: list[Path], output: Path) -> dict[str, object]:
    """Writes the metrics of several runs into one file.

    Args:
      runs: folders of runs, with ``settings.json`` and ``metrics.json``.
      output: the JSON file: ``flags`` that all runs share; ``runs``, for each run the ``flags``
        that differ, its ``metrics`` and, where known, its training time in ``seconds``; ``mean``
        and ``sd`` (with n - 1) over the runs of the metrics that all runs have.

    Returns:
      The contents of the JSON file.

    Raises:
      UserError: a run lacks a file, or no run is given.
    """
    if not runs:
        raise UserError("--runs is empty, expected the folders of finished runs")
    settings = [storage.read_json(run / "settings.json", "a finished run") for run in runs]
    metrics = [evaluation.read(run / "metrics.json", "a finished run") for run in runs]
    names = [name for name in dict.fromkeys(chain(*settings)) if name not in _PLACES]
    shared = {
        n: settings[0][n]
        for n in names
        if all(n in s and s[n] == settings[0].get(n) for s in settings)
    }
    numbers = {
        name: np.array([one[name] for one in metrics], float)
        for name in metrics[0]
        if all(_shape(one.get(name)) == _shape(metrics[0][name]) for one in metrics)
        and not isinstance(metrics[0][name], str)
    }
    spread = 1 if len(runs) > 1 else 0
    comparison = {
        "flags": shared,
        "runs": [
            {"flags": {n: s.get(n) for n in names if n not in shared}, "metrics": m, **_time(run)}
            for run, s, m in zip(runs, settings, metrics, strict=True)
        ],
        "mean": {name: values.mean(axis=0).tolist() for name, values in numbers.items()},
        "sd": {name: values.std(axis=0, ddof=spread).tolist() for name, values in numbers.items()},
    }
    storage.write_json(output, comparison)
    return comparison


def _time(run):
    path = run / "time.json"
    return {"seconds": callbacks.seconds(path)} if path.exists() else {}


def _shape(value):
    return None if value is None else np.shape(value)
