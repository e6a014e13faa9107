"""The guess of one who knows the simulator exactly: errors of hidden frames of one sequence."""

from __future__ import annotations

import numpy as np

from kvae_tf.data.worlds.bouncing_ball import SIZE
from kvae_tf.studies.least_error import starts

_PAIRS = 4000  # of a start along x and one along y


class Guesser:
    """Lit pixels of frames of one sequence, given some of its frames.

    A pixel is guessed as lit where its posterior probability is above one half, which no other
    guess surpasses in the fraction of incorrect pixels.

    Args:
      world: "box" or "gravity".
      pixels: ``[T, 2]`` int, the true pixel of the ball at each frame.
      first_seen: number of first frames that are always seen.
      enough: draw until so many starts along each axis get all T frames right.
      most_batches: batches of draws along each axis, at most.
      rng: random numbers.

    Raises:
      UserError: the closed form does not hold in that world.
    """

    def __init__(
        self,
        world: str,
        pixels: np.ndarray,
        first_seen: int,
        enough: int,
        most_batches: int,
        rng: np.random.Generator,
    ):
        self._world, self._rng = world, rng
        self._balls = starts.all_balls()
        truth = pixels[:, 0] * SIZE + pixels[:, 1]
        self._truth = self._balls[truth] > 0  # [T, 32 · 32]
        self._axes = [
            starts.draw(world, axis, pixels[:, axis], first_seen, enough, most_batches, rng)
            for axis in (0, 1)
        ]
        self._pairs = {}

    def num_draws(self) -> int:
        """Number of starts that get all frames right, along the axis that has fewer of them."""
        return min(int(axis.right.all(axis=1).sum()) for axis in self._axes)

    def errors(self, seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Fractions of incorrect pixels.

        Args:
          seen: ``[T]`` bool, the frames that are known; the first ones are among them.
          wanted: ``[F]`` int, the frames to guess.

        Returns:
          ``[F]``.
        """
        x, y, weights = self._given(seen)
        balls = self._axes[0].pixels[x][:, wanted] * SIZE + self._axes[1].pixels[y][:, wanted]
        cells = balls + np.arange(len(wanted)) * SIZE**2  # [pairs, F]
        shares = np.bincount(
            cells.ravel(), np.repeat(weights, len(wanted)), len(wanted) * SIZE**2
        ).reshape(len(wanted), SIZE**2)
        lit = shares.astype(np.float32) @ self._balls > 0.5 * weights.sum()  # [F, 32 · 32]
        return (lit != self._truth[wanted]).mean(axis=1)

    def _given(self, seen):
        """Pairs of starts given frames: indices along x and along y, and weights."""
        key = seen.tobytes()
        if key not in self._pairs:
            x, y = (self._rng.choice(axis.given(seen), _PAIRS) for axis in self._axes)
            velocities = (axis.velocities[i] for axis, i in zip(self._axes, (x, y), strict=True))
            weights = starts.speed_weights(self._world, *velocities)
            self._pairs[key] = x, y, weights if weights.any() else np.ones(_PAIRS)
        return self._pairs[key]
