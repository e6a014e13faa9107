"""Draws of a sequence's start given the pixels of its first frames, by rejection.

A ball is drawn at whole pixels, so a frame that is seen says in which pixel the ball is, and no
more. Both axes of ``box`` and ``gravity`` move on their own, so each is drawn alone: position and
velocity at frame 0 from the simulator's own distribution, kept where the path that follows goes
through the right pixels. That is exact, and there is no chain that might not mix. The one thing
that joins the axes, the distribution of the speed, is in the weights of pairs: ``speed_weights``.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from kvae_tf.data.worlds import bouncing_ball, box_motion
from kvae_tf.data.worlds.bouncing_ball import CENTRE, SIZE, START_MARGIN

_BATCH = 200_000  # draws at once
# Pixels. A ball from a clipped start may come back to it, to the edge between two pixels, where the
# rounding of pymunk's numbers decides.
_ROUNDING = 1e-6
_LOW, _HIGH = START_MARGIN, SIZE - START_MARGIN  # of a start


class AxisStarts(NamedTuple):
    """Starts along one axis whose first frames are right.

    Attributes:
      velocities: ``[D]`` at frame 0, pixels per unit of time. They are draws from a uniform
        distribution: see ``speed_weights``.
      pixels: ``[D, T]`` int16, the pixel of the ball at each frame.
      right: ``[D, T]`` bool, whether it is the true one.
    """

    velocities: np.ndarray
    pixels: np.ndarray
    right: np.ndarray

    def given(self, seen: np.ndarray) -> np.ndarray:
        """Indices of the starts that are right at all frames that are ``seen [T]`` bool.

        Those with the fewest wrong frames where none is, as in the rare sequences whose true path
        the closed form misses.
        """
        wrong = (~self.right[:, seen]).sum(axis=1)
        return np.flatnonzero(wrong == wrong.min())


def draw(
    world: str,
    axis: int,
    pixels: np.ndarray,
    first_seen: int,
    enough: int,
    most_batches: int,
    rng: np.random.Generator,
) -> AxisStarts:
    """Starts along one axis given the first frames.

    Args:
      world: "box" or "gravity".
      axis: 0 for x, 1 for y.
      pixels: ``[T]`` int, the true pixel of the ball at each frame.
      first_seen: number of first frames that every start has to get right.
      enough: draw until so many starts get all T frames right ...
      most_batches: ... or so many batches of 200,000 draws are made.
      rng: random numbers.

    Raises:
      UserError: the closed form does not hold in that world.
    """
    found = []
    for _ in range(most_batches):
        found.append(_batch(world, axis, pixels, first_seen, rng))
        if sum(int(right.all(axis=1).sum()) for *_, right in found) >= enough:
            break
    return AxisStarts(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _batch(world, axis, pixels, first_seen, rng):
    scene = box_motion.scene(world)
    acceleration = box_motion.accelerations(world)[axis]
    x = _start(scene.start_std, pixels[0], rng.random(_BATCH))
    v = scene.speeds[1] * rng.uniform(-1.0, 1.0, _BATCH)
    first = v
    path = [np.full(_BATCH, pixels[0])]
    right = [np.full(_BATCH, True)]
    for t in range(1, len(pixels)):
        x, v = box_motion.step(x, v, acceleration)
        path.append(np.floor(x))
        right.append((x >= pixels[t] - _ROUNDING) & (x < pixels[t] + 1 + _ROUNDING))
        if t < first_seen:
            kept = right[-1]
            x, v, first = x[kept], v[kept], first[kept]
            path, right = ([values[kept] for values in each] for each in (path, right))
    return first, np.stack(path, axis=1).astype(np.int16), np.stack(right, axis=1)


def _start(std, pixel, share):
    """Positions at frame 0 inside a pixel, from uniform numbers: clipped, as the simulator does."""
    # All that is clipped lies in the first and in the last pixel.
    low = 0.0 if pixel == _LOW else ndtr((pixel - CENTRE) / std)
    high = 1.0 if pixel == _HIGH else ndtr((pixel + 1 - CENTRE) / std)
    return np.clip(CENTRE + std * ndtri(low + share * (high - low)), _LOW, _HIGH)


def speed_weights(world: str, velocity_x: np.ndarray, velocity_y: np.ndarray) -> np.ndarray:
    """Density of pairs of velocities, up to a factor: the speed is uniform, and the direction.

    Args:
      world: "box" or "gravity".
      velocity_x: ``[D]`` at frame 0, pixels per unit of time.
      velocity_y: ``[D]``.

    Returns:
      ``[D]``: 1 / speed between the limits of the speed, 0 elsewhere.
    """
    speed = np.hypot(velocity_x, velocity_y)
    low, high = box_motion.scene(world).speeds
    return np.where((speed >= low) & (speed <= high), 1.0 / np.maximum(speed, low), 0.0)


def ball_pixels(frames: np.ndarray) -> np.ndarray:
    """The pixel that each frame shows the ball in.

    Args:
      frames: ``[N, T, 32, 32, 1]``, above 0 = lit, without walls.

    Returns:
      ``[N, T, 2]`` int: the whole parts of x and y.
    """
    lit = (frames.reshape(-1, SIZE * SIZE) > 0).astype(np.float32)
    balls = all_balls()
    # A ball at the edge has fewer pixels: what it lacks counts, too.
    agreeing = lit @ (2.0 * balls - 1.0).T - balls.sum(axis=1)
    x, y = np.divmod(agreeing.argmax(axis=1), SIZE)
    return np.stack([x, y], axis=-1).reshape(*frames.shape[:2], 2)


@functools.cache
def all_balls() -> np.ndarray:
    """``[32 · 32, 32 · 32]`` float32: row x · 32 + y has the frame of a ball in pixel (x, y)."""
    corner = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij"), axis=-1)
    return bouncing_ball.draw_ball(corner + 0.5).reshape(SIZE * SIZE, -1).astype(np.float32)
