"""Billiards: one to three balls in a box, that collide with its walls and with each other.

The physics of ``balls.two_balls`` (Sutskever and Hinton 2007) for any number of balls, with shorter
substeps: a box of 10 units, balls of radius 1.2 and of equal mass, elastic collisions, no gravity.
A unit is as many pixels as fit; row 0 of a frame is the top of the world.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kvae_tf.data import number_checks
from kvae_tf.data.sequence_data import SequenceData, Splits
from kvae_tf.data.worlds import counted, streams
from kvae_tf.data.worlds.balls import BOX, RADIUS

VERSION = 1  # of the generated data: raise it with every change that alters them

SPEED = 0.35  # units a frame, of a ball at the start, on average (root mean square)
SUBSTEPS = 10  # of a frame


def splits(
    seed: int,
    num_sequences: Sequence[int] = (5000, 500, 1000),
    num_steps: int = 30,
    size: int = 32,
    num_balls: Sequence[int] = (1, 2, 3),
) -> Splits:
    """Train, validation and test sequences, each from its own stream of random numbers.

    Args:
      seed: a non-negative int.
      num_sequences: numbers of sequences of the three parts; 5,000, 500 and 1,000 by default.
      num_steps: number T of frames of a sequence, 30 by default.
      size: height and width of a frame, pixels, 32 by default.
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
    size: int = 32,
    num_balls: Sequence[int] = (1, 2, 3),
) -> SequenceData:
    """Sequences from random starts.

    Args:
      num_sequences: number N of sequences.
      num_steps: number T of frames of a sequence, at least 2.
      seed: a non-negative int or a ``SeedSequence``.
      size: height and width of a frame, pixels, 32 by default.
      num_balls: numbers of balls, which the sequences have in turn; 1, 2 and 3 by default.

    Returns:
      ``SequenceData`` with ``frames [N, T, size, size, 1]`` uint8, ``num_objects [N]`` and
      ``states [N, T, 4 · most balls]``: for each ball the position (column from the left, row from
      the bottom, pixels) and the velocity (pixels a frame), 0 for absent balls.

    Raises:
      UserError: a number is out of its range.
    """
    num_sequences = number_checks.integer("num_sequences", num_sequences)
    num_steps = number_checks.integer("num_steps", num_steps, minimum=2)
    size = number_checks.integer("size", size, minimum=8)
    counts, there = counted.counts(num_balls, num_sequences)
    rng = streams.generator(seed)
    x, v = _starts(rng, there)
    states = []
    for _ in range(num_steps):
        states.append(np.concatenate([x, v], axis=-1))
        for _ in range(SUBSTEPS):
            x = x + v / SUBSTEPS
            v = np.where(x < RADIUS, np.abs(v), np.where(x > BOX - RADIUS, -np.abs(v), v))
            v = collide(x, v, there)
    states = np.stack(states, axis=1)  # [N, T, balls, 4]
    frames = np.round(255.0 * _draw(states[..., :2], there, size)[:, :, ::-1]).astype(np.uint8)
    # With s = size / BOX the centre of pixel i is at (i + 1/2) / s.
    pixels = states * (size / BOX) - np.array([0.5, 0.5, 0.0, 0.0])
    return counted.as_data(frames, pixels, counts)


def collide(x: np.ndarray, v: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Velocities ``[N, balls, 2]`` after elastic collisions of balls that overlap, pair by pair.

    Balls of equal mass exchange the parts of their velocities along the line between them, unless
    they move apart already.

    Args:
      x: positions, ``[N, balls, 2]``.
      v: velocities, ``[N, balls, 2]``.
      there: bool ``[N, balls]``; absent balls meet nobody.
    """
    v = v.copy()
    for i in range(x.shape[1]):
        for j in range(i):
            between = x[:, i] - x[:, j]
            distance = np.linalg.norm(between, axis=-1, keepdims=True)
            normal = between / np.maximum(distance, 1e-9)
            approach = np.sum((v[:, i] - v[:, j]) * normal, axis=-1, keepdims=True)
            meet = (distance < 2.0 * RADIUS) & (approach < 0.0)
            meet &= (there[:, i] & there[:, j])[:, np.newaxis]
            exchanged = np.where(meet, approach * normal, 0.0)
            v[:, i] -= exchanged
            v[:, j] += exchanged
    return v


def _starts(rng, there):
    """Positions inside the box that do not touch, uniform, and velocities: ``[N, balls, 2]``."""
    x = np.zeros((*there.shape, 2))
    wrong = np.ones(len(there), bool)
    while wrong.any():
        x[wrong] = rng.uniform(RADIUS, BOX - RADIUS, (wrong.sum(), there.shape[1], 2))
        wrong = _touch(x, there)
    v = rng.normal(size=x.shape) * there[..., np.newaxis]
    norm = np.sqrt(np.square(v).sum((1, 2)) / there.sum(axis=1))
    return x, SPEED * v / norm[:, np.newaxis, np.newaxis]


def _touch(x, there):
    """Whether any two balls of a sequence overlap, bool ``[N]``."""
    distance = np.linalg.norm(x[:, :, np.newaxis] - x[:, np.newaxis], axis=-1)
    both = there[:, :, np.newaxis] & there[:, np.newaxis] & ~np.eye(there.shape[1], dtype=bool)
    return ((distance < 2.0 * RADIUS) & both).any((1, 2))


def _draw(x, there, size):
    """Shades ``[N, T, size, size]`` of balls at ``[N, T, balls, 2]``; row 0 is the lowest.

    A ball's shade is exp(-(distance / radius)⁸), as that of ``balls.draw``; shades add up to at
    most 1.
    """
    pixel = (np.arange(size) + 0.5) * BOX / size
    total = 0.0
    for ball, is_there in zip(np.moveaxis(x, 2, 0), there.T, strict=True):
        squared = np.square((pixel - ball[..., np.newaxis]) / RADIUS).astype(np.float32)
        both = squared[..., 1, :, np.newaxis] + squared[..., 0, np.newaxis, :]
        total = total + np.exp(-(both**4)) * is_there[:, np.newaxis, np.newaxis, np.newaxis]
    return np.minimum(total, 1.0)
