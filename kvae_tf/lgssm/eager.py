"""Eager calls as compiled functions, kept for the next call of the same kind.

Operation by operation, a loop over time costs a hundred times what it costs in a compiled graph. So
an eager call of this package checks its input, and then runs a function that XLA has compiled
once for these shapes (see ``padding`` for how few they are). ``compile_eager_calls(False)``, or the
environment variable ``KVAE_TF_EAGER_JIT=0``, switches this off. Calls inside a graph are untouched.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import warnings
from collections.abc import Callable, Sequence

import tensorflow as tf

# Nothing public tells what tapes watch.
from tensorflow.python.eager import record
from tensorflow.python.ops import gradients_util

_MOST_PROGRAMS = 256
# What TensorFlow raises where XLA is missing, or does not know an operation on this device.
_NOT_COMPILED = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.NotFoundError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnknownError,
)


def on_by_default() -> bool:
    """Whether the environment leaves compiled calls on."""
    return os.environ.get("KVAE_TF_EAGER_JIT", "1") != "0"


class _Switch:
    on = on_by_default()
    warned = False


def compile_eager_calls(on: bool = True) -> contextlib.ExitStack:
    """Whether eager calls of this package run compiled functions; they do by default.

    A new shape is compiled once, which takes one to three seconds; numbers of sequences and steps
    are rounded up, so that there are few. Off, eager calls run operation by operation.

    >>> with compile_eager_calls(False):
    ...     pass  # calls in here are not compiled

    Args:
      on: True (default) or False, from now on.

    Returns:
      A context manager that goes back, at its end, to what was set before; it may be ignored.
    """
    back = contextlib.ExitStack()
    back.callback(setattr, _Switch, "on", _Switch.on)
    _Switch.on = bool(on)
    return back


def compiles(tensors: Sequence | None, differentiable: bool = False) -> bool:
    """Whether a call from here is eager and is to run a compiled function.

    It is not inside a graph, under a distribution strategy, or where functions run eagerly. Nor
    under a tape that watches one of the tensors, but for functions with a gradient of their own:
    these are compiled for a tape that can ask for first derivatives only.

    Args:
      tensors: tensors that the call depends on, some of them None. None in place of all: it depends
        on variables too, and then any tape counts.
      differentiable: whether the function has a gradient of its own, False by default.
    """
    if (
        not _Switch.on
        or not tf.executing_eagerly()
        or tf.config.functions_run_eagerly()
        or tf.distribute.has_strategy()
    ):
        return False
    if tensors is None:
        return not record.could_possibly_record()
    given = [x for x in tensors if x is not None]
    kind = gradients_util.PossibleTapeGradientTypes(given)
    if kind == gradients_util.POSSIBLE_GRADIENT_TYPES_NONE:
        return True
    one_order = kind == gradients_util.POSSIBLE_GRADIENT_TYPES_FIRST_ORDER
    # Forward accumulators count as tapes in the first test, not in this.
    return differentiable and one_order and record.should_record_backprop(given)


def call(function: Callable, tensors: Sequence, xla: bool = True, **static):
    """``function(*tensors, **static)``, compiled, and differentiable once.

    Args:
      function: a function of a module, since it is kept; of tensors and None, and static settings.
        It returns a nest of tensors.
      tensors: tensors of known shapes, or None.
      xla: compile; False: a plain graph, for what XLA compiles slowly. True by default.
      **static: what can be hashed.
    """
    given = [x for x in tensors if x is not None]
    signature = tuple((x.shape, x.dtype) for x in given)
    there = tuple(x is not None for x in tensors)
    return _program(function, xla, there, signature, tuple(sorted(static.items())))(*given)


@functools.lru_cache(_MOST_PROGRAMS)
def _program(function, xla, there, signature, static):
    """A program for tensors of this signature alone."""

    def run(*given):
        given = iter(given)
        return function(*[next(given) if is_there else None for is_there in there], **dict(static))

    return _Program(run, xla)


class _Program:
    """A function of tensors, traced and compiled when first called."""

    def __init__(self, function, xla):
        self._function = function
        self._graph = tf.function(_compile(function) if xla else function, autograph=False)
        self._has_run = not xla

    def __call__(self, *tensors):
        if not self._has_run:
            try:
                outputs = self._graph(*tensors)
            except _NOT_COMPILED as error:
                _warn(error)
                self._graph = tf.function(self._function, autograph=False)
            else:
                self._has_run = True
                return outputs
        return self._graph(*tensors)


def _compile(function):
    """``function`` compiled by XLA, for a graph that is not; so is its gradient.

    Outside of XLA nothing can read what a compiled loop leaves for its gradient, so the gradient
    computes ``function`` again.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @tf.custom_gradient
    def evaluate(*tensors):
        is_source = [x.dtype.is_floating for x in tensors]

        @tf.function(jit_compile=True, autograph=False)
        def differentiate(tensors, upstream):
            sources = list(itertools.compress(tensors, is_source))
            with tf.GradientTape() as tape:
                tape.watch(sources)
                outputs = tf.nest.flatten(function(*tensors))
            return tape.gradient(
                outputs, sources, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )

        def gradient(*upstream):
            gradients = iter(differentiate(tensors, upstream))
            return [next(gradients) if is_float else None for is_float in is_source]

        return compiled(*tensors), gradient

    return evaluate


def _warn(error):
    if not _Switch.warned:
        _Switch.warned = True
        reason = str(error).strip().splitlines()[0]
        warnings.warn(
            f"XLA does not compile eager calls of kvae_tf.lgssm here ({reason}); they run as plain "
            "graphs, which is slower",
            RuntimeWarning,
            stacklevel=2,
        )
