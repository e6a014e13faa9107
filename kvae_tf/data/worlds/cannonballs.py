"""Cannonballs: up to three balls, shot from the left or the right, that do not meet.

Chiappa and Paquet, section 3.1. A ball's state h = (x, y, velocity_x, velocity_y) and the noisy
position a at which it is drawn follow

    h_{t+1} = A h_t + u            A = [I, δI; 0, I],  u = -g (0, δ²/2, 0, δ)
    a_t     = (x, y)_t + noise     noise ~ N(0, NOISE · I)

One affine map, the same for all sequences, maps positions to pixels: all positions that balls can
reach, with a margin of the radius, fill the frame. Positions beyond it, by rare noise, are clipped,
so that every ball is drawn whole. Row 0 of a frame is the top of the world.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kvae_tf.data import number_checks
from kvae_tf.data.sequence_data import SequenceData, Splits
from kvae_tf.data.worlds import counted, streams

VERSION = 1  # of the generated data: raise it with every change that alters them

STEP = 0.015  # δ, seconds
GRAVITY = 9.81
NOISE = 0.001  # Σ_A
ANGLES = 40.0, 60.0  # degrees
SPEEDS = 2.0, 3.0
LEFT = -0.5, -0.1  # initial x of balls that are shot from the left
HEIGHTS = -0.5, 0.5
RIGHT_SHIFT = 0.9  # shift of the initial x on the right, as a share of the largest x
RADIUS = 2  # pixels
_DRAWN_AT_ONCE = 256  # sequences: distances of all pixels are eight times as large as their frames


def splits(
    seed: int,
    num_sequences: Sequence[int] = (5000, 500, 1000),
    num_steps: int = 30,
    size: int = 48,
    num_balls: Sequence[int] = (1, 2, 3),
) -> Splits:
    """Train, validation and test sequences, each from its own stream of random numbers.

    Args:
      seed: a non-negative int.
      num_sequences: numbers of sequences of the three parts; 5,000, 500 and 1,000 by default.
      num_steps: number T of frames of a sequence, 30 by default.
      size: height and width of a frame, pixels, 48 by default.
      num_balls: numbers of balls, which the sequences have in turn; 1, 2 and 3 by default.

    Raises:
      UserError: a number is out of its range.
    """
    return streams.split(
        lambda count, stream: simulate(count, num_steps, stream, size, num_balls),
        num_sequences,
        seed,
    )


def simulate(
    num_sequences: int,
    num_steps: int,
    seed: int | np.random.SeedSequence,
    size: int = 48,
    num_balls: Sequence[int] = (1, 2, 3),
) -> SequenceData:
    """Sequences of random shots.

    Args:
      num_sequences: number N of sequences.
      num_steps: number T of frames of a sequence, at least 2.
      seed: a non-negative int or a ``SeedSequence``.
      size: height and width of a frame, pixels, 48 by default.
      num_balls: numbers of balls, which the sequences have in turn; 1, 2 and 3 by default.

    Returns:
      ``SequenceData`` with ``frames [N, T, size, size, 1]`` uint8, 0 or 255, ``num_objects [N]``
      and ``states [N, T, 4 · most balls]``: for each ball the true position (column from the left,
      row from the bottom, pixels) and the velocity (pixels a frame), 0 for absent balls.

    Raises:
      UserError: a number is out of its range.
    """
    num_sequences = number_checks.integer("num_sequences", num_sequences)
    num_steps = number_checks.integer("num_steps", num_steps, minimum=2)
    size = number_checks.integer("size", size, minimum=4 * RADIUS)
    counts, there = counted.counts(num_balls, num_sequences)
    rng = streams.generator(seed)
    shots = _shots(rng, there.shape, num_steps)
    states = _fly(shots, num_steps)  # [N, T, balls, 4]
    noise = np.sqrt(NOISE) * rng.normal(size=states[..., :2].shape)
    scale, offset = pixels(num_steps, size)
    drawn = np.clip((states[..., :2] + noise) * scale + offset, RADIUS, size - 1 - RADIUS)
    frames = draw(drawn, there[:, np.newaxis], size)
    positions, velocities = states[..., :2] * scale + offset, states[..., 2:] * scale * STEP
    return counted.as_data(
        frames.astype(np.uint8) * np.uint8(255),
        np.concatenate([positions, velocities], axis=-1),
        counts,
    )


def pixels(num_steps: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The map from positions to pixels: ``column_row_from_below = position * scale + offset``.

    Args:
      num_steps: number T of frames, on which the reach of the balls depends.
      size: height and width of a frame, pixels.

    Returns:
      scale and offset, ``[2]`` each; pixels are numbered from 0, a pixel's centre is at its number.
    """
    time = STEP * np.arange(num_steps)
    reach = _reach(num_steps)
    right = _right(num_steps)
    x = LEFT[0], LEFT[1] + reach, right[0] - reach, right[1]
    steep, flat = (np.sin(np.radians(angle)) for angle in (ANGLES[1], ANGLES[0]))
    falling = GRAVITY * time**2 / 2.0
    y = (
        HEIGHTS[1] + np.max(SPEEDS[1] * steep * time - falling),
        HEIGHTS[0] + np.min(SPEEDS[0] * flat * time - falling),
    )
    low = np.array([min(x), min(y)])
    high = np.array([max(x), max(y)])
    scale = (size - 1 - 2 * RADIUS) / (high - low)
    return scale, RADIUS - low * scale


def draw(centres: np.ndarray, there: np.ndarray, size: int) -> np.ndarray:
    """Discs: pixels within ``RADIUS`` of a centre, bool ``[N, T, size, size]``.

    Args:
      centres: ``[N, T, balls, 2]``, column and row from below, pixels.
      there: ``[N, 1 or T, balls]`` bool, which balls to draw.
      size: height and width of a frame, pixels.
    """
    frames = np.zeros((*centres.shape[:2], size, size), bool)
    for first in range(0, len(frames), _DRAWN_AT_ONCE):
        part = slice(first, first + _DRAWN_AT_ONCE)
        for ball in range(centres.shape[2]):
            disc = _disc(centres[part, :, ball], size)
            frames[part] |= disc & there[part, :, ball, np.newaxis, np.newaxis]
    return frames


def _disc(centres, size):
    """Pixels ``[N, T, size, size]`` of a disc at ``[N, T, 2]``."""
    pixel = np.arange(size)
    column, row = (np.square(pixel - centres[..., axis, np.newaxis]) for axis in (0, 1))
    return row[..., ::-1, np.newaxis] + column[..., np.newaxis, :] <= RADIUS**2


def _shots(rng, shape, num_steps):
    """First states ``[*shape, 4]``."""
    angle = np.radians(rng.uniform(*ANGLES, shape))
    speed = rng.uniform(*SPEEDS, shape)
    left = rng.random(shape) < 0.5
    x = rng.uniform(*LEFT, shape)
    x = np.where(left, x, x + RIGHT_SHIFT * _largest(num_steps))
    y = rng.uniform(*HEIGHTS, shape)
    sign = np.where(left, 1.0, -1.0)
    return np.stack([x, y, sign * speed * np.cos(angle), speed * np.sin(angle)], axis=-1)


def _fly(state, num_steps):
    """States of all steps ``[N, T, balls, 4]`` from the first ``[N, balls, 4]``."""
    transition = np.eye(4) + STEP * np.eye(4, k=2)
    push = -GRAVITY * np.array([0.0, STEP**2 / 2.0, 0.0, STEP])
    states = [state]
    for _ in range(num_steps - 1):
        states.append(states[-1] @ transition.T + push)
    return np.stack(states, axis=1)


def _reach(num_steps):
    """The largest displacement along x."""
    return SPEEDS[1] * np.cos(np.radians(ANGLES[0])) * STEP * (num_steps - 1)


def _largest(num_steps):
    """The largest x that a ball from the left reaches."""
    return LEFT[1] + _reach(num_steps)


def _right(num_steps):
    """Limits of the initial x of balls that are shot from the right."""
    return tuple(x + RIGHT_SHIFT * _largest(num_steps) for x in LEFT)
