"""The problem that every library is given, as NumPy arrays in a file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

LATENT_SIZE, OBSERVATION_SIZE = 4, 2
SOURCES = ("transition", "emission", "transition_noise", "emission_noise")  # of the gradients


class Problem(NamedTuple):
    """A model whose transition and emission vary with sequence and step, and a draw from it.

    Attributes:
      transition: ``[B, T, n, n]``; entry t maps step t to t + 1.
      transition_noise: ``[n]`` variances.
      emission: ``[B, T, m, n]``.
      emission_noise: ``[m]`` variances.
      initial_mean: ``[n]``.
      initial_covariance: ``[n, n]``.
      observations: ``[B, T, m]``, all of them seen.
    """

    transition: np.ndarray
    transition_noise: np.ndarray
    emission: np.ndarray
    emission_noise: np.ndarray
    initial_mean: np.ndarray
    initial_covariance: np.ndarray
    observations: np.ndarray

    def cast(self, dtype: type) -> Problem:
        """The same problem with every array in this dtype."""
        return Problem(*(x.astype(dtype) for x in self))


def random_problem(batch_size: int, num_steps: int, seed: int = 0) -> Problem:
    """A problem whose numbers are exact in float32 and float64, so that all compute with the same.

    Transitions are orthogonal matrices times gains in (0.8, 1): states neither vanish nor grow.

    Args:
      batch_size: number B of sequences.
      num_steps: number T of steps.
      seed: an int, 0 by default.

    Returns:
      A ``Problem`` in float64, with n = 4 and m = 2.
    """
    rng = np.random.default_rng(seed)
    B, T, n, m = batch_size, num_steps, LATENT_SIZE, OBSERVATION_SIZE
    rotations = np.linalg.qr(np.eye(n) + 0.2 * rng.normal(size=(B, T, n, n)))[0]
    model = Problem(
        transition=rotations * rng.uniform(0.8, 1.0, size=(B, T, 1, n)),
        transition_noise=rng.uniform(0.05, 0.1, size=n),
        emission=rng.normal(size=(B, T, m, n)),
        emission_noise=rng.uniform(0.02, 0.04, size=m),
        initial_mean=rng.normal(size=n),
        initial_covariance=np.eye(n),
        observations=np.empty((B, T, m)),
    )
    z = model.initial_mean + rng.normal(size=(B, n))
    for t in range(T):
        v, w = rng.normal(size=(B, m)), rng.normal(size=(B, n))
        model.observations[:, t] = np.einsum("bmn,bn->bm", model.emission[:, t], z)
        model.observations[:, t] += model.emission_noise**0.5 * v
        z = np.einsum("bij,bj->bi", model.transition[:, t], z) + model.transition_noise**0.5 * w
    return model.cast(np.float32).cast(np.float64)


def save(path: Path, problem: Problem) -> None:
    """Writes a problem as ``.npz``."""
    np.savez(path, **problem._asdict())


def load(path: Path) -> Problem:
    """A problem that ``save`` wrote."""
    with np.load(path) as arrays:
        return Problem(**arrays)
