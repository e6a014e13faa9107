"""Calls of a log-likelihood in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kvae_tf.apps.against.problem import SOURCES, Problem

LogLikelihood = Callable[[dict[str, tf.Tensor]], tf.Tensor]
Wrap = Callable[[Callable], Callable]


def tensors(problem: Problem) -> dict[str, tf.Tensor]:
    """The arrays as float32 tensors, by name."""
    return {name: tf.constant(x, tf.float32) for name, x in problem._asdict().items()}


def functions(log_likelihood: LogLikelihood) -> dict[str, Callable]:
    """Task -> a function of tensors by name to outputs by name.

    Args:
      log_likelihood: a function of tensors by name to ``[B]``.
    """

    def forward(given):
        return {"log_likelihood": log_likelihood(given)}

    def gradients(given):
        sources = {name: given[name] for name in SOURCES}
        with tf.GradientTape() as tape:
            tape.watch(sources)
            result = log_likelihood(given)
        return {"log_likelihood": result, **tape.gradient(result, sources)}

    return {"forward": forward, "gradients": gradients}


def calls(log_likelihood: LogLikelihood, problem: Problem, wrap: Wrap) -> dict[str, Callable]:
    """Task -> a call without arguments that returns NumPy arrays.

    Args:
      log_likelihood: a function of tensors by name to ``[B]``.
      problem: the arrays.
      wrap: what makes a function of tensors fast, such as ``tf.function``.
    """
    given = tensors(problem)

    def call(function):
        return lambda: {name: x.numpy() for name, x in function(given).items()}

    return {task: call(wrap(function)) for task, function in functions(log_likelihood).items()}
