"""Filter, smoother and likelihood in float32 on the default device, and in float64 on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.apps.benchmark import random_problem
from kvae_tf.apps.device_check.rows import CPU, Row, compare

SIZES = ((32, 20), (256, 20), (1, 1000))  # (B, T)

_LATENT_SIZE = 4
_LONGEST_PARALLEL = 20  # steps: the method is compiled for long
_TOLERANCE = 1e-5  # of float32 results, computed in float64 inside


def rows(sizes: Sequence[tuple[int, int]], repeats: int) -> Iterator[Row]:
    """The rows of the engine.

    Args:
      sizes: pairs (B, T).
      repeats: the most calls to time.
    """
    for B, T in sizes:
        problem = random_problem(B, T, _LATENT_SIZE)
        for task in (_filter, _smooth, _gradients):
            name = task.__name__.lstrip("_")
            exact = functools.cache(functools.partial(_exact, task, problem))
            for method in ("sequential", "parallel"):
                if method == "parallel" and T > _LONGEST_PARALLEL:
                    continue
                for jit in (False, True):
                    yield compare(
                        f"{name}, {method}, B={B} T={T} n={_LATENT_SIZE}{', jit' * jit}",
                        functools.partial(_call, task, problem, method, jit),
                        exact,
                        _TOLERANCE,
                        repeats,
                    )


def _call(task, problem, method, jit):
    """A function without arguments, whose inputs are on the current device."""
    given = tf.nest.map_structure(tf.identity, problem)
    compiled = tf.function(
        lambda *arguments: task(*arguments, method), jit_compile=jit, autograph=False
    )
    return lambda: compiled(*given)


def _exact(task, problem):
    with tf.device(CPU):
        return _call(
            task, tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), problem),
            "sequential", False,
        )()  # fmt: skip


def _filter(model, y, observed, method):
    return lgssm.filter(model, y, observed, method=method)._asdict()


def _smooth(model, y, observed, method):
    outputs = lgssm.smooth(model, y, observed, method=method)._asdict()
    return outputs | outputs.pop("filter")._asdict()


def _gradients(model, y, observed, method):
    """The log-likelihood and its gradients in A, C and y."""
    sources = {"A": model.transition, "C": model.emission, "y": y}
    with tf.GradientTape() as tape:
        tape.watch(sources)
        value = lgssm.log_likelihood(model, y, observed, method=method)
    return {"log_likelihood": value, **tape.gradient(value, sources)}
