"""The motion of the bouncing-ball worlds ``box`` and ``gravity`` in closed form, without pymunk.

Both axes move on their own. Where x is the ball's centre along one axis, v its velocity, g the
acceleration and Δt the interval of a frame, a step of pymunk is

    x ← x + v Δt + c (clip(x, LOW - SLOP, HIGH + SLOP) - x)
    v ← max(v + g Δt, -v)  where x < LOW,  min(v + g Δt, -v)  where x > HIGH,  v + g Δt  elsewhere

with the new x in the second line: a bounce turns the velocity as it was before gravity acted, and
the ball is pushed out of the wall, by c = 0.718 of its overlap beyond 0.1 px, a frame later.

It agrees with pymunk to 1e-6 px over 40 frames. The exception is a ball that sinks by more than
3 px into a wall beside a corner, where pymunk's walls are round: one of 3,000 sequences of
``gravity``, and none of ``box``; it is off by 0.01 px.
"""

from __future__ import annotations

import numpy as np

from kvae_tf.data.worlds import bouncing_ball
from kvae_tf.data.worlds.bouncing_ball import INTERVAL, SCENES, Scene
from kvae_tf.errors import UserError

WORLDS = ("box", "gravity")
WALL = 2.0  # pixels from the frame's edge to the wall's face
LOW, HIGH = WALL + bouncing_ball.RADIUS, bouncing_ball.SIZE - WALL - bouncing_ball.RADIUS
SLOP = 0.1  # pixels of overlap that pymunk leaves
# pymunk leaves 0.9 of an overlap after a 60th of a unit of time.
PUSH = 1.0 - (0.9**60) ** INTERVAL


def scene(world: str) -> Scene:
    """Parameters of a world out of ``WORLDS``.

    Raises:
      UserError: the closed form does not hold in that world.
    """
    if world not in WORLDS:
        raise UserError(f"world is {world!r}, expected one of {', '.join(WORLDS)}")
    return SCENES[world]


def accelerations(world: str) -> tuple[float, float]:
    """Acceleration along x and y, pixels per squared unit of time."""
    return 0.0, scene(world).gravity


def step(
    position: np.ndarray, velocity: np.ndarray, acceleration: float
) -> tuple[np.ndarray, np.ndarray]:
    """One frame on along one axis.

    Args:
      position: ``[...]`` float64, pixels.
      velocity: ``[...]`` float64, pixels per unit of time.
      acceleration: pixels per squared unit of time.

    Returns:
      Position and velocity at the next frame, ``[...]`` each.
    """
    pushed = PUSH * (np.clip(position, LOW - SLOP, HIGH + SLOP) - position)
    position = position + INTERVAL * velocity + pushed
    free, turned = velocity + INTERVAL * acceleration, -velocity
    velocity = np.where(position < LOW, np.maximum(free, turned), free)
    return position, np.where(position > HIGH, np.minimum(free, turned), velocity)


def states(world: str, position: np.ndarray, velocity: np.ndarray, num_steps: int) -> np.ndarray:
    """States at the frames, as ``bouncing_ball.integrate`` gives them.

    Args:
      world: a name out of ``WORLDS``.
      position: ``[N, 2]`` at frame 0, pixels.
      velocity: ``[N, 2]`` at frame 0, pixels per unit of time.
      num_steps: number T of frames.

    Returns:
      ``[N, T, 4]`` float64: x, y, and the velocities along them.

    Raises:
      UserError: the closed form does not hold in that world.
    """
    acceleration = np.array(accelerations(world))
    path = [(position, velocity)]
    for _ in range(num_steps - 1):
        path.append(step(*path[-1], acceleration))
    return np.stack([np.concatenate(pair, axis=-1) for pair in path], axis=1)


def transitions(world: str, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The affine map that holds at each step of given paths: z_{t+1} = A_t z_t + b_t.

    Args:
      world: a name out of ``WORLDS``.
      states: ``[N, T, 4]``, the true states.

    Returns:
      A ``[N, T, 4, 4]`` and b ``[N, T, 4]`` float64. Their last entry, which leads beyond the
      frames, is that of free flight.

    Raises:
      UserError: the closed form does not hold in that world.
    """
    matrices = np.zeros((*states.shape[:2], 4, 4))
    offsets = np.zeros((*states.shape[:2], 4))
    for axis, acceleration in enumerate(accelerations(world)):
        x, v = states[..., axis].astype(float), states[..., 2 + axis].astype(float)
        edge = np.clip(x, LOW - SLOP, HIGH + SLOP)
        pushed = PUSH * (edge != x)
        matrices[..., axis, axis] = 1.0 - pushed
        matrices[..., axis, 2 + axis] = INTERVAL
        offsets[..., axis] = pushed * edge
        free = v + INTERVAL * acceleration
        after = np.concatenate([x[:, 1:], np.full_like(x[:, :1], bouncing_ball.CENTRE)], axis=1)
        turns = (after < LOW) & (free < -v) | (after > HIGH) & (free > -v)
        matrices[..., 2 + axis, 2 + axis] = np.where(turns, -1.0, 1.0)
        offsets[..., 2 + axis] = np.where(turns, 0.0, INTERVAL * acceleration)
    return matrices, offsets
