"""Runs one process a library, checks what each computed, and prints the table."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kvae_tf.apps.against import by_kvae_tf, libraries, tensorflow_calls
from kvae_tf.apps.against.problem import (
    LATENT_SIZE,
    OBSERVATION_SIZE,
    Problem,
    load,
    random_problem,
    save,
)
from kvae_tf.data import storage
from kvae_tf.errors import UserError

SIZES = ((32, 20), (256, 20), (32, 200))  # (B, T)

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
     "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1",
) | {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}  # fmt: skip
_HEADER = (
    f"{'B x T':<9}{'task':<11}{'library':<12}{'path':<20}{'minimum ms':>11}{'median ms':>11}"
    f"{'calls':>7}{'first s':>9}{'error':>10}"
)


def against(
    names: Sequence[str], sizes: Sequence[tuple[int, int]] = SIZES, repeats: int = 30
) -> dict[str, object]:
    """Prints a table of this engine's times beside those of other libraries, on one core.

    ``forward`` is the log-likelihood of B sequences, ``gradients`` the same with the gradients of
    its sum in A, C, Q and R. A and C vary with sequence and step, all steps are seen, n = 4, m = 2.

    Args:
      names: out of ``libraries.LIBRARIES``, or ``"installed"``; this package is timed in any case.
      sizes: pairs (B, T); by default ``SIZES``.
      repeats: number of timed calls, 30 by default; fewer where they would take over 10 seconds.

    Returns:
      ``processor``, ``threads``, ``dtype``, sizes ``n`` and ``m``, ``versions`` by package, and
      ``rows``: ``size`` as ``"BxT"``, ``task``, ``library``, ``path``, ``minimum_ms``,
      ``median_ms``, ``calls``, ``first_call_s`` (with compiling), and ``error`` by output, the
      largest deviation from the float64 engine relative to the largest entry.

    Raises:
      UserError: a name is unknown, a library is not installed or fails, or a number is not
        positive.
    """
    for name, numbers in (("sizes", [x for size in sizes for x in size]), ("repeats", [repeats])):
        if not numbers or min(numbers) < 1:
            raise UserError(f"--{name} is {list(numbers)}, expected positive whole numbers")
    chosen = libraries.chosen(names)
    print(
        f"one CPU core, float32, n = {LATENT_SIZE}, m = {OBSERVATION_SIZE}, all steps seen, A and "
        "C vary with sequence and step\ngradients: in A, C, Q and R; error: against float64, "
        "relative to the largest entry of each output\n"
    )
    print(_HEADER, flush=True)
    rows, versions = [], {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        references = {}
        for B, T in sizes:
            path = folder / f"{B}x{T}.npz"
            save(path, random_problem(B, T))
            references[path.stem] = reference(load(path))
        for name in chosen:
            found = _run(name, folder, repeats, list(references))
            versions |= found["versions"]
            for row in found["rows"]:
                with np.load(folder / row.pop("outputs")) as outputs:
                    row["error"] = errors(outputs, references[row["size"]])
                rows.append(row)
                print(_line(row), flush=True)
    return {
        "processor": processor(),
        "threads": 1,
        "dtype": "float32",
        "n": LATENT_SIZE,
        "m": OBSERVATION_SIZE,
        "versions": versions,
        "rows": rows,
    }


def reference(problem: Problem) -> dict[str, np.ndarray]:
    """Log-likelihood and gradients by this engine in float64, which tests check against NumPy."""
    function = tensorflow_calls.functions(by_kvae_tf.log_likelihood)["gradients"]
    given = {name: tf.constant(x, tf.float64) for name, x in problem._asdict().items()}
    return {name: x.numpy() for name, x in tf.function(function, autograph=False)(given).items()}


def errors(
    outputs: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """Name of an output -> max |output - exact| / max |exact|; None where it is not finite.

    Where the exact output is 0 everywhere, it is max |output|.

    Raises:
      UserError: an output has another shape than the exact one.
    """
    found = {}
    for name, output in outputs.items():
        if output.shape != exact[name].shape:
            raise UserError(
                f"{name} has shape {list(output.shape)}, expected {list(exact[name].shape)}"
            )
        scale = np.max(np.abs(exact[name])) or 1.0
        error = np.max(np.abs(output - exact[name])) / scale
        found[name] = float(error) if np.isfinite(error) else None
    return found


def processor(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as Linux has it; "unknown" elsewhere.

    Args:
      path: the file that has it, ``/proc/cpuinfo`` by default.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def _run(name, folder, repeats, sizes):
    """What the process of a library wrote."""
    command = [
        sys.executable, "-m", "kvae_tf.apps.against.child", name, str(folder), str(repeats), *sizes,
    ]  # fmt: skip
    child = subprocess.run(
        command, env=os.environ | _ONE_THREAD, capture_output=True, text=True, errors="replace"
    )
    if child.returncode:
        said = child.stderr.strip().splitlines() or ["nothing on stderr"]
        raise UserError(f"{name} ended with status {child.returncode}: {said[-1]}")
    return storage.read_json(folder / f"{name}.json", "the times of a library")


def _line(row):
    values = row["error"].values()
    worst = "not finite" if None in values else f"{max(values):.1e}"
    return (
        f"{row['size']:<9}{row['task']:<11}{row['library']:<12}{row['path']:<20}"
        f"{row['minimum_ms']:>11.3f}{row['median_ms']:>11.3f}{row['calls']:>7}"
        f"{row['first_call_s']:>9.1f}{worst:>10}"
    )
