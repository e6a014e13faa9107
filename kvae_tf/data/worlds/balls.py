"""Grey balls in a square box: one that is pushed at random, and two that collide.

``controlled_ball`` is the bouncing ball of Karl et al. (2017), section 4.2: 16×16 pixels, a
two-dimensional control is added to the velocity. Its renderer and its constants were never
published; these are fixed so that results stay comparable.

``two_balls`` are those of Sutskever and Hinton (2007), which section 4.3 uses: 20×20 pixels, a box
of 10 units, radius 1.2, elastic collisions with walls and with each other, two substeps of half a
unit of time a frame.

A frame's row 0 is the bottom of the world, y = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kvae_tf.data import number_checks
from kvae_tf.data.sequence_data import SequenceData, Splits
from kvae_tf.data.worlds import streams

VERSION = 1  # of the generated data: raise it with every change that alters them

# controlled_ball; lengths are pixels, times frames.
SIZE = 16
MARGIN = 3.0  # the centre's distance from the frame's edge at a bounce
BLOB_STD = 1.2
MAX_SPEED = 1.0  # of the start, along each axis
MAX_PUSH = 0.25  # a control, along each axis

# two_balls; lengths are units of the box.
BOX = 10.0
PIXELS = 20
RADIUS = 1.2
SPEED = 0.5  # length of the vector of all start velocities
SUBSTEPS = 2


def splits(
    name: str, seed: int, num_sequences: Sequence[int] | None = None, num_steps: int = 15
) -> Splits:
    """Train, validation and test sequences, each from its own stream of random numbers.

    Args:
      name: a name out of ``WORLDS``.
      seed: a non-negative int.
      num_sequences: numbers of sequences of the three parts; None: as in the paper, 500 each, but
        2,000 for training with two balls (default).
      num_steps: number T of frames of a sequence, 15 by default.

    Raises:
      UserError: a number is no positive integer.
    """
    simulate = WORLDS[name]
    sizes = num_sequences or ((2000, 500, 500) if name == "two_balls" else (500, 500, 500))
    return streams.split(lambda size, stream: simulate(size, num_steps, stream), sizes, seed)


def controlled_ball(
    num_sequences: int, num_steps: int, seed: int | np.random.SeedSequence
) -> SequenceData:
    """One ball from a random start under random pushes.

    Args:
      num_sequences: number N of sequences.
      num_steps: number T of frames of a sequence.
      seed: a non-negative int or a ``SeedSequence``.

    Returns:
      ``SequenceData`` with ``frames [N, T, 16, 16, 1]`` float32, ``controls [N, T, 2]`` and
      ``states [N, T, 4]``: position in pixels, velocity in pixels a frame.
    """
    num_sequences = number_checks.integer("num_sequences", num_sequences)
    num_steps = number_checks.integer("num_steps", num_steps)
    rng = streams.generator(seed)
    x = rng.uniform(MARGIN, SIZE - MARGIN, (num_sequences, 2))
    v = rng.uniform(-MAX_SPEED, MAX_SPEED, (num_sequences, 2))
    # Drawn step by step, so that longer sequences continue shorter ones.
    pushes = rng.uniform(-MAX_PUSH, MAX_PUSH, (num_steps, num_sequences, 2)).astype(np.float32)
    states = []
    for push in pushes:
        states.append(np.concatenate([x, v], axis=-1))
        x, v = bounce(x + v + push, v + push, MARGIN, SIZE - MARGIN)
    states = np.stack(states, axis=1)
    pixel = np.arange(SIZE) + 0.5
    shade = np.exp(-0.5 * ((pixel - states[..., :2, np.newaxis]) / BLOB_STD) ** 2)  # [N, T, 2, 16]
    frames = shade[..., 1, :, np.newaxis] * shade[..., 0, np.newaxis, :]
    return _data(frames, pushes.transpose(1, 0, 2), states, ("x", "y", "velocity_x", "velocity_y"))


def two_balls(
    num_sequences: int, num_steps: int, seed: int | np.random.SeedSequence
) -> SequenceData:
    """Two balls of equal mass from random starts.

    Args:
      num_sequences: number N of sequences.
      num_steps: number T of frames of a sequence.
      seed: a non-negative int or a ``SeedSequence``.

    Returns:
      ``SequenceData`` with ``frames [N, T, 20, 20, 1]`` float32, no controls and
      ``states [N, T, 8]``: both positions, both velocities, in units of the box and of time.
    """
    num_sequences = number_checks.integer("num_sequences", num_sequences)
    num_steps = number_checks.integer("num_steps", num_steps)
    rng = streams.generator(seed)
    x = _apart(rng, num_sequences)  # [N, 2 balls, 2]
    v = rng.normal(size=x.shape)
    v *= SPEED / np.linalg.norm(v.reshape(num_sequences, -1), axis=1)[:, np.newaxis, np.newaxis]
    states = []
    for _ in range(num_steps):
        states.append(np.concatenate([x, v], axis=1).reshape(num_sequences, 8))
        for _ in range(SUBSTEPS):
            x = x + v / SUBSTEPS
            v = np.where(x < RADIUS, np.abs(v), np.where(x > BOX - RADIUS, -np.abs(v), v))
            v = collide(x, v)
    states = np.stack(states, axis=1)
    names = [f"{name}_{i}" for name in ("position", "velocity") for i in (1, 2)]
    return _data(
        draw(states[..., :4].reshape(*states.shape[:2], 2, 2)),
        np.zeros((num_sequences, num_steps, 0)),
        states,
        tuple(f"{name}_{axis}" for name in names for axis in "xy"),
    )


def bounce(x: np.ndarray, v: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions folded back into [low, high], and velocities turned round as often."""
    width = high - low
    phase = np.mod(x - low, 2.0 * width)
    inside = phase <= width
    return low + np.where(inside, phase, 2.0 * width - phase), np.where(inside, v, -v)


def collide(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Velocities ``[N, 2, 2]`` after an elastic collision of balls at ``x [N, 2, 2]`` that overlap.

    Balls of equal mass exchange the parts of their velocities along the line between them, unless
    they move apart already. (The original script exchanges velocities even then, so that balls may
    stick to each other for a while.)
    """
    between = x[:, 0] - x[:, 1]
    distance = np.linalg.norm(between, axis=-1, keepdims=True)
    normal = between / np.maximum(distance, 1e-9)
    along = np.sum(v * normal[:, np.newaxis], axis=-1)  # [N, 2 balls]
    exchanged = (along[:, ::-1] - along)[..., np.newaxis] * normal[:, np.newaxis]
    meet = (distance[:, 0] < 2.0 * RADIUS) & (along[:, 0] < along[:, 1])
    return v + np.where(meet[:, np.newaxis, np.newaxis], exchanged, 0.0)


def draw(x: np.ndarray) -> np.ndarray:
    """Frames ``[N, T, 20, 20]`` of balls ``[N, T, balls, 2]``.

    A ball's shade is exp(-(distance / radius)⁸); shades add up to at most 1.
    """
    pixel = (np.arange(PIXELS) + 0.5) * BOX / PIXELS
    squared = np.square((pixel - x[..., np.newaxis]) / RADIUS)  # [N, T, balls, 2, 20]
    both = squared[..., 1, :, np.newaxis] + squared[..., 0, np.newaxis, :]
    return np.minimum(np.exp(-(both**4)).sum(axis=2), 1.0)


def _apart(rng, num_sequences):
    """Uniform positions of two balls inside the box that do not touch."""
    x = np.empty((num_sequences, 2, 2))
    for i in range(num_sequences):
        while True:
            x[i] = rng.uniform(RADIUS, BOX - RADIUS, (2, 2))
            if np.linalg.norm(x[i, 0] - x[i, 1]) > 2.0 * RADIUS:
                break
    return x


def _data(frames, controls, states, state_names):
    return SequenceData(
        frames=frames[..., np.newaxis].astype(np.float32),
        observed=np.ones(frames.shape[:2], np.float32),
        controls=controls.astype(np.float32),
        states=states.astype(np.float32),
        state_names=state_names,
    )


WORLDS: dict[str, Callable[..., SequenceData]] = {
    "controlled_ball": controlled_ball,
    "two_balls": two_balls,
}
