"""What worlds with several balls share: how many each sequence shows, and their data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kvae_tf.data.sequence_data import SequenceData
from kvae_tf.errors import UserError

_MAX_BALLS = 3
_STATES = ("x", "y", "velocity_x", "velocity_y")


def counts(num_balls: Sequence[int], num_sequences: int) -> tuple[np.ndarray, np.ndarray]:
    """The number of balls of each sequence ``[N]`` int32, and which are there, bool ``[N, balls]``.

    Args:
      num_balls: numbers of balls, which the sequences have in turn.
      num_sequences: number N of sequences.

    Raises:
      UserError: a number is out of its range.
    """
    numbers = tuple(num_balls)
    if not numbers or not all(number in range(1, _MAX_BALLS + 1) for number in numbers):
        raise UserError(f"num_balls is {num_balls!r}; expected numbers from 1 to {_MAX_BALLS}")
    found = np.resize(np.array(numbers, np.int32), num_sequences)
    return found, np.arange(max(numbers)) < found[:, np.newaxis]


def as_data(frames: np.ndarray, states: np.ndarray, num_objects: np.ndarray) -> SequenceData:
    """Sequences in which all is seen, without controls.

    Args:
      frames: ``[N, T, H, W]`` uint8.
      states: ``[N, T, balls, 4]``: positions and velocities; those of absent balls become 0.
      num_objects: ``[N]`` int32.
    """
    N, T, most = states.shape[:3]
    there = np.arange(most) < num_objects[:, np.newaxis]
    return SequenceData(
        frames=frames[..., np.newaxis],
        observed=np.ones((N, T), np.float32),
        controls=np.zeros((N, T, 0), np.float32),
        states=(states * there[:, np.newaxis, :, np.newaxis]).reshape(N, T, -1).astype(np.float32),
        state_names=tuple(f"{name}_{n + 1}" for n in range(most) for name in _STATES),
        num_objects=num_objects,
    )
