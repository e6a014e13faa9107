"""When the ball of a bouncing-ball world bounces, from its true states.

pymunk finds a collision after the step: at the frame of a bounce the ball overlaps the wall, and
its velocity has turned already.
"""

from __future__ import annotations

import numpy as np

from kvae_tf.data.worlds.bouncing_ball import INTERVAL, SCENES
from kvae_tf.errors import UserError

_TOLERANCE = 1e-3  # pixels per unit of time; float32 velocities are exact to 1e-6


def bounces(world: str, states: np.ndarray) -> np.ndarray:
    """Whether the velocity of a frame is another than free flight from the frame before gives.

    Args:
      world: a name out of ``bouncing_ball.SCENES``.
      states: ``[N, T, 4]``: position in pixels, velocity in pixels per unit of time.

    Returns:
      ``[N, T]`` bool; False at frame 0.

    Raises:
      UserError: the world is unknown, or states have another shape.
    """
    if world not in SCENES:
        raise UserError(f"world is {world!r}, expected one of {', '.join(sorted(SCENES))}")
    states = np.asarray(states)
    if states.ndim != 3 or states.shape[2] != 4:
        raise UserError(f"states have shape {list(states.shape)}, expected [N, T, 4]")
    velocity = states[..., 2:].astype(float)
    free = velocity[:, :-1] + INTERVAL * np.array([0.0, SCENES[world].gravity])
    found = np.zeros(states.shape[:2], bool)
    found[:, 1:] = np.abs(velocity[:, 1:] - free).max(axis=-1) > _TOLERANCE
    return found


def steps_to_bounce(world: str, states: np.ndarray) -> np.ndarray:
    """Number of steps from a frame to the nearest bounce of its sequence, before or after it.

    Args:
      world: a name out of ``bouncing_ball.SCENES``.
      states: ``[N, T, 4]``, as for ``bounces``.

    Returns:
      ``[N, T]`` int; 0 at a bounce, T in a sequence without one.

    Raises:
      UserError: as for ``bounces``.
    """
    found = bounces(world, states)
    steps = np.where(found, 0, found.shape[1])
    for t in range(1, found.shape[1]):
        steps[:, t] = np.minimum(steps[:, t], steps[:, t - 1] + 1)
    for t in range(found.shape[1] - 2, -1, -1):
        steps[:, t] = np.minimum(steps[:, t], steps[:, t + 1] + 1)
    return np.minimum(steps, found.shape[1])
