"""The process of one library: times it on every problem of a folder.

``python -m kvae_tf.apps.against.child LIBRARY FOLDER REPEATS BxT...`` reads each ``BxT.npz`` in the
folder, and writes ``LIBRARY.json`` there with a row for each call, and its results as ``.npz``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kvae_tf.apps.against import problem
from kvae_tf.apps.against.libraries import LIBRARIES

_WARM_UP = 3  # calls
_BUDGET, _FEWEST = 10.0, 5  # seconds of a call's repeats; calls that take place in any case


def times_of(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Times of a call.

    Args:
      call: a function without arguments, whose results are there when it returns.
      repeats: number of timed calls; fewer, at least 5, where they would take over 10 seconds.

    Returns:
      ``first_call_s``, with what is compiled then; ``minimum_ms`` and ``median_ms`` after a warm-up
      of 3 calls; ``calls``, their number.
    """
    first = _seconds(call)
    for _ in range(_WARM_UP):
        _seconds(call)
    times, start = [], time.perf_counter()
    while len(times) < repeats and (len(times) < _FEWEST or time.perf_counter() - start < _BUDGET):
        times.append(_seconds(call))
    return {
        "first_call_s": first,
        "minimum_ms": 1e3 * min(times),
        "median_ms": 1e3 * float(np.median(times)),
        "calls": len(times),
    }


def run(library: str, folder: Path, repeats: int, sizes: Sequence[str]) -> None:
    """Times a library on the problems of a folder.

    Args:
      library: a name out of ``LIBRARIES``.
      folder: where the problems are, and the results go.
      repeats: number of timed calls.
      sizes: names of the problems, each ``"BxT"``.
    """
    caller = importlib.import_module(f"kvae_tf.apps.against.{LIBRARIES[library].caller}")
    rows = []
    for size in sizes:
        for name, tasks in caller.paths(problem.load(folder / f"{size}.npz")).items():
            for task, call in tasks.items():
                row = {"size": size, "task": task, "library": library, "path": name}
                outputs = f"{library}-{len(rows)}.npz"
                rows.append(row | times_of(call, repeats) | {"outputs": outputs})
                np.savez(folder / outputs, **call())
    versions = {name: _version(name) for name in LIBRARIES[library].packages}
    (folder / f"{library}.json").write_text(json.dumps({"rows": rows, "versions": versions}))


def _version(package):
    """That of the module that ran: a nightly build may lie over the package of the same module."""
    module = sys.modules.get(package.replace("-", "_"))
    return getattr(module, "__version__", None) or importlib.metadata.version(package)


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
