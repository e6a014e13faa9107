"""How the engine's cost grows with the number of sequences, steps, states and observations."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.apps.benchmark.engine import TASKS, random_problem, task_of
from kvae_tf.apps.benchmark.timing import least_cpu_milliseconds
from kvae_tf.visualisation import charts

POWERS = (1, 2, 4, 8, 16, 32, 64)
SWEEPS = {  # axis -> values; all other sizes are those of the base
    "B": (1, 4, 16, 64, 256, 1024),
    "T": (10, 100, 1000, 10_000, 100_000, 1_000_000),
    "n": POWERS,
    "m": POWERS,
}
CHUNK = 10_000  # steps
IN_CHUNKS = "sequential, chunks"
EMPTY = "no arithmetic"

_BASE = {"B": 32, "T": 20, "n": 4, "m": 2}
_BASE_OF_TIME = _BASE | {"B": 1}
_LONGEST_WHOLE = 100_000  # steps; longer series are read in chunks only
_LABELS = {"B": "sequences B", "T": "steps T", "n": "state size n", "m": "observation size m"}
_BUDGET = 1.0  # seconds a point


def cost(sweeps: Mapping[str, Sequence[int]] = SWEEPS, chunk: int = CHUNK) -> list[dict]:
    """Prints and returns the least processor time of calls, one size changed at a time.

    ``forward`` and ``gradients`` are those of ``engine``. Method ``"parallel"`` and chunks, which
    smooth, are timed against T; against B also ``EMPTY``, a call that reads the inputs of
    ``forward`` and writes outputs as large as its own, but computes nothing. All calls are
    compiled; the models are those of ``random_problem``, float32, B = 32, T = 20, n = 4 and m = 2
    (against T: B = 1).

    Args:
      sweeps: letter of a size -> its values; ``SWEEPS`` by default.
      chunk: number of steps of a chunk, 10,000 by default.

    Returns:
      Rows: ``axis``, the sizes ``B``, ``T``, ``n`` and ``m``, ``task``, ``method``,
      ``milliseconds``, and ``peak_mib``, the largest memory of the process so far. Chunks come
      first, so that their memory can be told from that of others.
    """
    print(f"{'B':>6}{'T':>9}{'n':>4}{'m':>4}  {'task':<10}{'method':<20}{'ms/call':>12}{'MiB':>8}")
    rows = []
    for T in sweeps.get("T", ()):
        sizes = _BASE_OF_TIME | {"T": T}
        rows.append(_row("T", sizes, "forward", IN_CHUNKS, _in_chunks(sizes, chunk)))
    for axis, values in sweeps.items():
        for value in values:
            sizes = (_BASE_OF_TIME if axis == "T" else _BASE) | {axis: value}
            if sizes["T"] > _LONGEST_WHOLE:
                continue
            problem = _problem(sizes)
            for method in ("sequential", "parallel") if axis == "T" else ("sequential",):
                for task in TASKS:
                    function = tf.function(task_of(task, method), jit_compile=True, autograph=False)
                    rows.append(_row(axis, sizes, task, method, _least(function, problem)))
                    if axis == "B" and task == "forward":
                        empty = _empty(function(*problem))
                        rows.append(_row(axis, sizes, task, EMPTY, _least(empty, problem)))
    return rows


def cost_figure(rows: Sequence[Mapping]) -> np.ndarray:
    """The rows of ``cost`` as curves over logarithmic axes, uint8 ``[height, width, 3]``."""
    panels = {}
    for row in sorted(rows, key=lambda row: row["method"] in (IN_CHUNKS, EMPTY)):  # equal colours
        name = row["task"] if row["method"] == "sequential" else f"{row['task']}, {row['method']}"
        name = name.replace("sequential, ", "")
        x, y = panels.setdefault(_LABELS[row["axis"]], {}).setdefault(name, ([], []))
        x.append(row[row["axis"]])
        y.append(row["milliseconds"])
    order = [label for label in _LABELS.values() if label in panels]
    return charts.growth({label: panels[label] for label in order}, "ms a call")


def _problem(sizes):
    return random_problem(sizes["B"], sizes["T"], sizes["n"], observation_size=sizes["m"])


def _least(function, problem):
    """The processor time of a compiled function, milliseconds."""
    function(*problem)
    return least_cpu_milliseconds(function, problem, _BUDGET)


def _empty(outputs):
    """A compiled function that reads a problem and writes one number over all of the outputs."""

    @tf.function(jit_compile=True, autograph=False)
    def empty(*problem):
        value = tf.add_n([tf.reshape(x, [-1])[0] for x in tf.nest.flatten(problem)])
        return tf.nest.map_structure(lambda x: tf.fill(x.shape, value), outputs)

    return empty


class _Repeated:
    """A long series: the same chunk again and again, which is made when it is read."""

    def __init__(self, problem, number):
        self._problem, self._number = problem, number

    def __len__(self):
        return self._number

    def __getitem__(self, index):
        return tf.nest.map_structure(tf.identity, self._problem)


def _in_chunks(sizes, chunk):
    """The processor time of smoothing in chunks, results read and dropped."""
    steps = min(chunk, sizes["T"])
    series = _Repeated(_problem(sizes | {"T": steps}), -(-sizes["T"] // steps))

    def run():
        with lgssm.compile_eager_calls():
            return [result.log_likelihood for result in lgssm.smooth_chunks(series)]

    # Chunks after the first start at moments of sequences: two chunks compile all that is needed.
    with lgssm.compile_eager_calls():
        list(lgssm.smooth_chunks(_Repeated(series[0], min(len(series), 3))))
    return least_cpu_milliseconds(run, (), _BUDGET)


def _row(axis, sizes, task, method, milliseconds):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux: KiB
    print(
        f"{sizes['B']:>6}{sizes['T']:>9}{sizes['n']:>4}{sizes['m']:>4}  {task:<10}{method:<20}"
        f"{milliseconds:>12.3f}{peak:>8.0f}",
        flush=True,
    )
    row = {"axis": axis, **sizes, "task": task, "method": method}
    return row | {"milliseconds": round(milliseconds, 3), "peak_mib": round(peak)}
