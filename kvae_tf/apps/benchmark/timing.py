"""Median times of a function on one core, with results read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

SLOW_CALL, SLOW_TOTAL = 0.5, 10.0  # seconds
_WARM_UP = 3  # calls


class Timing(NamedTuple):
    """Times of one function.

    Attributes:
      milliseconds: median time of a call after the warm-up.
      calls: number of timed calls.
      compile_seconds: time of the first call, with tracing and compilation.
    """

    milliseconds: float
    calls: int
    compile_seconds: float


def use_one_core() -> None:
    """Restricts TensorFlow to one thread on one core, no GPU; call it before any computation."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")


def measure(function: Callable, arguments: Sequence, repeats: int) -> Timing:
    """Times ``function(*arguments)``, whose smallest output is read each time.

    Args:
      function: returns a structure of tensors.
      arguments: arguments of ``function``.
      repeats: number of timed calls; fewer (at least 3) where a call takes more than 0.5 seconds.

    Returns:
      A ``Timing``.
    """
    first = _seconds(function, arguments)
    warm = min(_seconds(function, arguments) for _ in range(_WARM_UP))
    if warm > SLOW_CALL:
        repeats = min(repeats, max(3, round(SLOW_TOTAL / warm)))
    times = [_seconds(function, arguments) for _ in range(repeats)]
    return Timing(1e3 * float(np.median(times)), repeats, first)


def milliseconds_within(
    function: Callable, arguments: Sequence, repeats: int, budget: float
) -> float:
    """The median time of a call of a function that has been called before, milliseconds.

    Args:
      function: returns a structure of tensors; the smallest one is read each time.
      arguments: arguments of ``function``.
      repeats: the most calls to time.
      budget: seconds after which no further call begins; the first call always takes place.
    """
    times, start = [], time.perf_counter()
    while not times or (len(times) < repeats and time.perf_counter() - start < budget):
        times.append(_seconds(function, arguments))
    return 1e3 * float(np.median(times))


def least_cpu_milliseconds(function: Callable, arguments: Sequence, budget: float) -> float:
    """The least processor time of a call of a function that has been called before, milliseconds.

    On one thread that is the time of a call on an idle machine.

    Args:
      function: returns a structure of tensors; the smallest one is read each time.
      arguments: arguments of ``function``.
      budget: seconds of processor time after which no further call begins; two calls always do.
    """
    times = []
    while len(times) < 2 or sum(times) < budget:
        start = time.process_time()
        _seconds(function, arguments)
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def _seconds(function, arguments):
    """The time of one call."""
    start = time.perf_counter()
    outputs = tf.nest.flatten(function(*arguments))
    min(outputs, key=lambda x: x.shape.num_elements()).numpy()
    return time.perf_counter() - start
