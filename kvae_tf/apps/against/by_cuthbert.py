"""cuthbert: its Kalman filter, also parallel in time, and cuthbertlib's steps in ``jax.lax.scan``.

All see the first observation by cuthbertlib's update, since the filter begins with a prediction.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cuthbert
import jax
import jax.numpy as jnp
from cuthbert.gaussian import kalman
from cuthbertlib.kalman import filtering

from kvae_tf.apps.against import jax_calls
from kvae_tf.apps.against.problem import Problem


def paths(problem: Problem) -> dict[str, dict[str, Callable]]:
    """See ``libraries``."""
    return {
        "jit, vmap, filter": jax_calls.calls(_by_filter, problem),
        "jit, vmap, parallel": jax_calls.calls(
            functools.partial(_by_filter, parallel=True), problem
        ),
        "jit, vmap, steps": jax_calls.calls(_by_steps, problem),
    }


def _by_filter(given, parallel=False):
    (mean, factor), first = _first_update(given)
    method = kalman.build_filter(
        mean,
        factor,
        lambda x: (x["A"], jnp.zeros_like(mean), _factor(given["transition_noise"])),
        lambda x: (x["C"], jnp.zeros_like(x["y"]), _factor(given["emission_noise"]), x["y"]),
    )
    states = cuthbert.filter(method, _later_steps(given), method.init_prepare(), parallel=parallel)
    return first + states.log_normalizing_constant[-1]


def _by_steps(given):
    q, r = _factor(given["transition_noise"]), _factor(given["emission_noise"])

    def step(carry, x):
        state, total = carry
        state = filtering.predict(*state, x["A"], jnp.zeros(len(q)), q)
        return filtering.update(*state, x["C"], jnp.zeros(len(r)), r, x["y"], total), None

    return jax.lax.scan(step, _first_update(given), _later_steps(given))[0][1]


def _first_update(given):
    """Mean and factor of the covariance after the first observation, and its log density."""
    y = given["observations"][0]
    return filtering.update(
        given["initial_mean"],
        jnp.linalg.cholesky(given["initial_covariance"]),
        given["emission"][0],
        jnp.zeros_like(y),
        _factor(given["emission_noise"]),
        y,
    )


def _later_steps(given):
    return {
        "A": given["transition"][:-1],
        "C": given["emission"][1:],
        "y": given["observations"][1:],
    }


def _factor(variances):
    return jnp.diag(jnp.sqrt(variances))
