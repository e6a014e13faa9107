"""Calls of a log-likelihood in JAX: compiled, all sequences at once by ``vmap``."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kvae_tf.apps.against.problem import SOURCES, Problem

_OF_ONE_SEQUENCE = ("transition", "emission", "observations")  # the others hold for all


def calls(log_likelihood: Callable, problem: Problem) -> dict[str, Callable]:
    """Task -> a call without arguments that returns NumPy arrays.

    Args:
      log_likelihood: a function of one sequence's arrays, by name, to a scalar.
      problem: the arrays.
    """
    given = {name: jnp.asarray(x, jnp.float32) for name, x in problem._asdict().items()}
    axes = ({name: 0 if name in _OF_ONE_SEQUENCE else None for name in given},)
    of_all = jax.vmap(log_likelihood, in_axes=axes)

    def total(sources, given):
        results = of_all(given | sources)
        return results.sum(), results

    @jax.jit
    def forward(given):
        return {"log_likelihood": of_all(given)}

    @jax.jit
    def gradients(given):
        sources = {name: given[name] for name in SOURCES}
        (_, results), found = jax.value_and_grad(total, has_aux=True)(sources, given)
        return {"log_likelihood": results, **found}

    def call(function):
        return lambda: {
            name: np.asarray(x) for name, x in jax.block_until_ready(function(given)).items()
        }

    return {"forward": call(forward), "gradients": call(gradients)}
