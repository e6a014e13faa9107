"""Episodes: a policy acts in a task, frame by frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kvae_tf.apps.control.policies import Policy
from kvae_tf.apps.control.task import Task


class Episodes(NamedTuple):
    """What happened.

    Attributes:
      frames: ``[F, T + 1, H, W, C]``, of the first F episodes.
      states: ``[B, T + 1, S]``, true states.
      controls: ``[B, T, U]``.
    """

    frames: np.ndarray
    states: np.ndarray
    controls: np.ndarray


def play(
    task: Task, policy: Policy, seeds: np.ndarray, steps: int, num_filmed: int = 0
) -> Episodes:
    """Plays one episode a seed, all at once.

    Args:
      task: the task.
      policy: acts in it.
      seeds: B ints, of the initial states.
      steps: number T of steps.
      num_filmed: number F of episodes whose frames are kept, 0 by default.
    """
    policy.start(len(seeds))
    states = [task.start(seeds)]
    filmed, controls = [], []
    for _ in range(steps):
        frames = task.frames(states[-1])
        filmed.append(frames[:num_filmed])
        controls.append(policy.act(frames, states[-1]))
        states.append(task.advance(states[-1], controls[-1]))
    filmed.append(task.frames(states[-1][: max(num_filmed, 1)])[:num_filmed])
    return Episodes(*(np.stack(x, axis=1) for x in (filmed, states, controls)))
