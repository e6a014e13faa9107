"""Rows of the table: a comparison each, or the one line of its failure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from kvae_tf.apps.benchmark import max_error, milliseconds_within

CPU = "CPU:0"
HEADER = f"{'':<64}{'device':<8}{'ms':>10}{'error':>10}{'at most':>10}"

_BUDGET = 2.0  # seconds of timing
_LONGEST = 160  # letters of an error


class Row(NamedTuple):
    """One comparison.

    Attributes:
      name: what was compared.
      device: where it was computed, ``"CPU:0"`` or ``"GPU:0"``.
      milliseconds: median time of a call; None: it raised.
      error: largest relative difference from the CPU; None: it raised, or is no number.
      tolerance: the largest error that is accepted; None: it raised.
      ok: whether the error is at most the tolerance.
      message: what was raised, in one line; empty: nothing.
    """

    name: str
    device: str
    milliseconds: float | None
    error: float | None
    tolerance: float | None
    ok: bool
    message: str = ""


def default_device() -> str:
    """``"GPU:0"`` where TensorFlow sees a GPU, else ``"CPU:0"``."""
    return "GPU:0" if tf.config.list_logical_devices("GPU") else CPU


def rounded_products(device: str) -> bool:
    """Whether a device multiplies float32 matrices to three digits (TensorFloat-32).

    Args:
      device: as ``default_device`` gives it.
    """
    return device != CPU and tf.config.experimental.tensor_float_32_execution_enabled()


def compare(
    name: str,
    function: Callable[[], Callable[[], Mapping[str, tf.Tensor]]],
    reference: Callable[[], Mapping[str, tf.Tensor]],
    tolerance: float,
    repeats: int,
) -> Row:
    """Runs something on the default device, compares it with the CPU, and times it.

    Args:
      name: what it is.
      function: makes a function that returns name -> tensor; it is compared at its first call.
      reference: gives the same outputs, computed on the CPU.
      tolerance: the largest relative error that is accepted.
      repeats: the most calls to time; none begins after two seconds.

    Returns:
      A ``Row``; whatever is raised becomes its message.
    """
    device = default_device()
    try:
        exact = reference()
        with tf.device(device):
            call = function()
            outputs = call()
            device = _device(outputs)
            error = max_error(outputs, exact)
            milliseconds = milliseconds_within(call, [], repeats, _BUDGET)
    except Exception as raised:  # the other rows go on
        words = " ".join(f"{type(raised).__name__}: {raised}".split())
        return Row(name, device, None, None, None, False, words[:_LONGEST])
    if not math.isfinite(error):
        return Row(name, device, milliseconds, None, tolerance, False, f"the error is {error}")
    return Row(name, device, milliseconds, error, tolerance, error <= tolerance)


def line(row: Row) -> str:
    """A row of the table.

    Args:
      row: what ``compare`` returned.
    """
    numbers = "".join(
        f"{'-' if value is None else format(value, form):>10}"
        for value, form in ((row.milliseconds, ".3f"), (row.error, ".1e"), (row.tolerance, ".1e"))
    )
    end = "ok" if row.ok else f"NOT OK {row.message}".rstrip()
    return f"{row.name:<64}{row.device:<8}{numbers}  {end}"


def _device(outputs):
    """Where the outputs were computed."""
    spec = tf.DeviceSpec.from_string(next(iter(outputs.values())).device)
    return f"{spec.device_type}:{spec.device_index}"
