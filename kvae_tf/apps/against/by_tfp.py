"""TensorFlow Probability: ``LinearGaussianStateSpaceModel``, in a graph and compiled."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kvae_tf.apps.against import by_kvae_tf, tensorflow_calls
from kvae_tf.apps.against.problem import Problem


def paths(problem: Problem) -> dict[str, dict[str, Callable]]:
    """See ``libraries``."""
    return {
        name: tensorflow_calls.calls(_log_likelihood, problem, wrap)
        for name, wrap in {
            "tf.function": lambda function: tf.function(function, autograph=False),
            "jit_compile": lambda function: tf.function(
                function, autograph=False, jit_compile=True
            ),
        }.items()
    }


def _log_likelihood(given):
    y = given["observations"]
    return by_kvae_tf.model(given).to_tfp(y.shape[1]).log_prob(y)
