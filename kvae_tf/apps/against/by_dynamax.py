"""dynamax: its filters, one step after another and by a scan that is parallel in time."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax.numpy as jnp
from dynamax.linear_gaussian_ssm import inference, parallel_inference

from kvae_tf.apps.against import jax_calls
from kvae_tf.apps.against.problem import Problem


def paths(problem: Problem) -> dict[str, dict[str, Callable]]:
    """See ``libraries``."""
    filters = {
        "jit, vmap": inference.lgssm_filter,
        "jit, vmap, parallel": parallel_inference.lgssm_filter,
    }
    return {
        name: jax_calls.calls(functools.partial(_log_likelihood, method), problem)
        for name, method in filters.items()
    }


def _log_likelihood(method, given):
    parameters = inference.make_lgssm_params(
        given["initial_mean"],
        given["initial_covariance"],
        # Its entry t leads to step t, ours leads from there. The first is not used.
        jnp.roll(given["transition"], 1, axis=0),
        jnp.diag(given["transition_noise"]),
        given["emission"],
        jnp.diag(given["emission_noise"]),
    )
    return method(parameters, given["observations"]).marginal_loglik
