"""This package's engine: eager, in graphs, and as an export that was loaded again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.apps.against import tensorflow_calls
from kvae_tf.apps.against.problem import Problem

EAGER, GRAPH, JIT, EXPORT = "eager call", "tf.function", "jit_compile", "loaded export"


def paths(problem: Problem) -> dict[str, dict[str, Callable]]:
    """See ``libraries``."""
    given = tensorflow_calls.tensors(problem)
    wraps = {
        EAGER: lambda function: function,
        GRAPH: lambda function: tf.function(function, autograph=False),
        JIT: lambda function: tf.function(function, autograph=False, jit_compile=True),
        EXPORT: lambda function: _exported(function, given),
    }
    return {
        name: tensorflow_calls.calls(log_likelihood, problem, wrap) for name, wrap in wraps.items()
    }


def log_likelihood(given: dict[str, tf.Tensor]) -> tf.Tensor:
    """log p(y) ``[B]`` of tensors by name."""
    return lgssm.log_likelihood(model(given), given["observations"])


def model(given: dict[str, tf.Tensor]) -> lgssm.LGSSM:
    """The engine's model of tensors by name."""
    return lgssm.LGSSM(
        transition_offset=None,
        **{name: x for name, x in given.items() if name != "observations"},
    )


def _exported(function, given):
    """The function compiled, saved and loaded."""
    module = tf.Module()
    module.call = tf.function(function, autograph=False, jit_compile=True)
    module.call.get_concrete_function(
        {name: tf.TensorSpec(x.shape, x.dtype) for name, x in given.items()}
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder)
        return tf.saved_model.load(folder).call
