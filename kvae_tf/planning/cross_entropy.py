r"""The cross-entropy method over sequences of controls, for a batch of episodes at once.

Candidates are drawn from a Gaussian, whose next mean and standard deviation are those of the best
of them (Rubinstein and Kroese 2004; as a planner Chua et al. 2018, section 5). From iCEM (Pinneri
et al. 2020, section 3) come correlated noise, which does not average out before it moves anything,
elites that stay candidates, and the best candidate as the one that acts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import Sampler


class Box(NamedTuple):
    """Controls that may have any values between two bounds.

    Attributes:
      low: smallest value of each entry, U numbers.
      high: largest value of each entry, U numbers.
    """

    low: Sequence[float]
    high: Sequence[float]

    @property
    def size(self) -> int:
        """Number U of entries."""
        return len(self.low)

    @property
    def centre(self) -> np.ndarray:
        """``[U]``, about which candidates are drawn first."""
        return (np.asarray(self.low, np.float32) + np.asarray(self.high, np.float32)) / 2

    @property
    def spread(self) -> np.ndarray:
        """``[U]``, standard deviations with which candidates are drawn first."""
        return (np.asarray(self.high, np.float32) - np.asarray(self.low, np.float32)) / 2

    def allowed(self, values: tf.Tensor) -> tf.Tensor:
        """The nearest controls that are allowed, ``[..., U]``."""
        return tf.clip_by_value(values, tf.constant(self.low), tf.constant(self.high))


class OneOf(NamedTuple):
    """One out of U actions, as a control with a single 1.

    Attributes:
      size: number U of actions.
    """

    size: int

    @property
    def centre(self) -> np.ndarray:
        """``[U]``, about which the actions' scores are drawn first."""
        return np.zeros(self.size, np.float32)

    @property
    def spread(self) -> np.ndarray:
        """``[U]``, standard deviations with which the actions' scores are drawn first."""
        return np.ones(self.size, np.float32)

    def allowed(self, values: tf.Tensor) -> tf.Tensor:
        """The action with the highest score, ``[..., U]``."""
        return tf.one_hot(tf.argmax(values, axis=-1), self.size)


class Search(NamedTuple):
    """Settings of the cross-entropy method.

    Attributes:
      horizon: number K of steps that a plan looks ahead, 20 by default.
      candidates: number N of candidates that an iteration draws, 200 by default.
      elites: number of candidates that make the next mean and standard deviation, 20 by default.
      iterations: number of iterations at each step of an episode, 4 by default.
      kept: number of elites that are candidates of the next iteration, too, at least 1; 6 by
        default.
      correlation: of the noise of two successive steps, 0 to below 1, 0.7 by default.
      finest: scale of the noise of the last candidate, above 0 and at most 1, where that of the
        first is 1; 0.03 by default. What has to be held needs small corrections, what has to be
        reached large ones.
      smoothing: share of the earlier mean and standard deviation in the next, 0 to below 1, 0.1 by
        default.
    """

    horizon: int = 20
    candidates: int = 200
    elites: int = 20
    iterations: int = 4
    kept: int = 6
    correlation: float = 0.7
    finest: float = 0.03
    smoothing: float = 0.1

    def check(self) -> None:
        """Raises a ``UserError`` that names a setting out of its range."""
        for name in ("horizon", "candidates", "elites", "iterations", "kept"):
            value = getattr(self, name)
            if value < 1:
                raise UserError(f"{name} is {value}, expected at least 1")
        for name, most in (("elites", "candidates"), ("kept", "elites")):
            value, limit = getattr(self, name), getattr(self, most)
            if value > limit:
                raise UserError(f"{name} is {value}, expected at most {limit}, as {most}")
        for name in ("correlation", "smoothing"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UserError(f"{name} is {value}, expected at least 0 and below 1")
        if not 0 < self.finest <= 1:
            raise UserError(f"finest is {self.finest}, expected above 0 and at most 1")


class Plan(NamedTuple):
    """The best candidate of a search.

    Attributes:
      values: ``[B, K, U]``, as it was drawn: controls before ``allowed``.
      controls: ``[B, K, U]``, the controls that are allowed.
      cost: ``[B]``.
    """

    values: tf.Tensor
    controls: tf.Tensor
    cost: tf.Tensor


def minimise(
    cost: Callable[[tf.Tensor], tf.Tensor],
    guess: tf.Tensor,
    actions: Box | OneOf,
    search: Search,
    sampler: Sampler,
) -> Plan:
    """The plan of lowest cost that is found, of each episode.

    Args:
      cost: maps allowed controls ``[B, C, K, U]`` of C candidates to costs ``[B, C]``.
      guess: ``[B, K, U]``, about which the first candidates are drawn; it is one itself.
      actions: the controls that are allowed.
      search: settings.
      sampler: of the noise; its rows are the B episodes.

    Returns:
      A ``Plan``, whose cost is at most that of the guess.
    """
    shape = [tf.shape(guess)[0], search.candidates, search.horizon, actions.size]
    factor = tf.constant(_factor(search.horizon, search.correlation))
    scales = np.geomspace(1.0, search.finest, search.candidates)[:, np.newaxis, np.newaxis]
    mean, std, kept = guess, tf.zeros_like(guess) + actions.spread, guess[:, tf.newaxis]
    # Few iterations, so the loop is unrolled.
    for part in sampler.split(search.iterations):
        noise = tf.einsum("kl,bnlu->bnku", factor, part.normal(shape)) * tf.constant(
            scales, tf.float32
        )
        drawn = mean[:, tf.newaxis] + std[:, tf.newaxis] * noise
        drawn = tf.concat([kept, mean[:, tf.newaxis], drawn], axis=1)
        controls = actions.allowed(drawn)
        costs = cost(controls)
        # A forecast that left all bounds has no cost; no such candidate is an elite.
        costs = tf.where(tf.math.is_finite(costs), costs, costs.dtype.max)
        lowest, order = tf.math.top_k(-costs, search.elites)
        elites = tf.gather(drawn, order, batch_dims=1)
        mean = _mixed(mean, tf.reduce_mean(elites, axis=1), search.smoothing)
        std = _mixed(std, tf.math.reduce_std(elites, axis=1), search.smoothing)
        kept = elites[:, : search.kept]
    return Plan(kept[:, 0], actions.allowed(kept[:, 0]), -lowest[:, 0])


def next_guess(plan: Plan, actions: Box | OneOf) -> tf.Tensor:
    """The plan a step later, as the first guess there: ``[B, K, U]``, its last step at the centre.

    Args:
      plan: what was found a step before.
      actions: the controls that are allowed.
    """
    last = tf.zeros_like(plan.values[:, :1]) + actions.centre
    return tf.concat([plan.values[:, 1:], last], axis=1)


def _mixed(old, new, share):
    return share * old + (1.0 - share) * new


def _factor(length, correlation):
    """L with L Lᵀ the correlations ρ^|k - l|, ``[K, K]`` float32."""
    steps = np.arange(length)
    return np.linalg.cholesky(correlation ** np.abs(steps[:, None] - steps)).astype(np.float32)
