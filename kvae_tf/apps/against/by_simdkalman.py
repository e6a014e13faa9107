"""simdkalman: NumPy, all sequences at once; a filter for each step, since matrices vary in time.

It has no gradients, and leaves out the constant of the normal density, which is added here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simdkalman

from kvae_tf.apps.against.problem import Problem


def paths(problem: Problem) -> dict[str, dict[str, Callable]]:
    """See ``libraries``."""
    given = problem.cast(np.float32)
    B, T, m = given.observations.shape
    constant = np.float32(0.5 * T * m * np.log(2 * np.pi))
    filters = [
        simdkalman.KalmanFilter(
            given.transition[:, t],
            np.diag(given.transition_noise),
            given.emission[:, t],
            np.diag(given.emission_noise),
        )
        for t in range(T)
    ]
    start = np.tile(given.initial_mean[:, None], (B, 1, 1))  # [B, n, 1]
    spread = np.tile(given.initial_covariance, (B, 1, 1))
    y = given.observations[..., None]

    def forward():
        mean, covariance, total = start, spread, -constant
        for t, step in enumerate(filters):
            mean, covariance, _, terms = step.update(mean, covariance, y[:, t], True)
            total = total + terms
            if t < T - 1:
                mean, covariance = step.predict_next(mean, covariance)
        return {"log_likelihood": total}

    return {"NumPy": {"forward": forward}}
