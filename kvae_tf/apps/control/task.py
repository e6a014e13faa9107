"""What a task is: a simulated world, frames of it, a goal, and a measure of success."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf

from kvae_tf.planning import Box, OneOf


class Task(Protocol):
    """A task for a batch of episodes. States are seen by the simulator's planner only.

    Attributes:
      actions: the controls that are allowed.
      steps: number of steps of an episode.
      orientation: 1 where row 0 of a frame is the top of the world, -1 where it is the bottom.
    """

    actions: Box | OneOf
    steps: int
    orientation: int

    def start(self, seeds: np.ndarray) -> np.ndarray:
        """Initial states ``[B, S]`` float64, each from its own seed."""

    def frames(self, states: np.ndarray) -> np.ndarray:
        """Frames ``[B, H, W, C]`` of states, uint8 or float32 in [0, 1]."""

    def goals(self) -> np.ndarray:
        """Goal frames ``[G, H, W, C]``."""

    def advance(self, states: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """States a step later, ``[B, S]``; controls ``[B, U]``."""

    def cost(self, states: tf.Tensor, controls: tf.Tensor) -> tf.Tensor:
        """Costs ``[B, N]`` of controls ``[B, N, K, U]``, by the true equations of motion."""

    def returns(self, states: np.ndarray) -> np.ndarray:
        """What an episode earned, ``[B]``; states ``[B, T + 1, S]``."""

    def succeeded(self, states: np.ndarray) -> np.ndarray:
        """Whether an episode reached its end, ``[B]`` bool; states ``[B, T + 1, S]``."""
