"""The torque-driven pendulum of "Deep Variational Bayes Filters" (arXiv:1605.06432), as frames.

    m l² φ'' = −μ φ' + m g l sin φ + u

φ = 0 is the unstable equilibrium, φ = π the stable one. A frame is 16×16 pixels with one Gaussian
blob, without noise. The paper's renderer was never published; this one is fixed so that results
stay comparable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kvae_tf.data import number_checks
from kvae_tf.data.sequence_data import SequenceData, Splits
from kvae_tf.data.worlds import streams

VERSION = 1  # of the generated data: raise it with every change that alters them

MASS = 1.0  # kg
LENGTH = 1.0  # m
FRICTION = 0.5  # N m s
GRAVITY = 9.81  # m/s²

FRAME_INTERVAL = 0.1  # s
SUBSTEPS = 10  # Runge-Kutta steps a frame interval; their error stays below 1e-7
MAX_VELOCITY = np.pi  # rad/s, initial
MAX_TORQUE = 2.0  # N m: too little to swing up, friction takes as much
STRONG_VELOCITY = 8.0  # rad/s, initial; a fall from the top ends with 6
STRONG_TORQUE = 5.0  # N m

SIZE = 16  # pixels
CENTRE = 7.5  # pixel coordinate of the pivot
RADIUS = 4.8  # pixels from the pivot to the blob
BLOB_STD = 1.5  # pixels

STATE_NAMES = ("angle", "angular_velocity")


def splits(
    seed: int, num_sequences: Sequence[int] = (500, 500, 500), num_steps: int = 15
) -> Splits:
    """Train, validation and test sequences, each from its own stream of random numbers.

    Args:
      seed: a non-negative int.
      num_sequences: numbers of sequences of the three parts; the size of one part does not change
        the other parts. 500 each by default.
      num_steps: number T of frames of a sequence, 15 by default.

    Raises:
      UserError: a number is no positive integer.
    """
    return streams.split(
        lambda size, stream: simulate(size, num_steps, stream), num_sequences, seed
    )


def strong_splits(
    seed: int, num_sequences: Sequence[int] = (2000, 500, 500), num_steps: int = 30
) -> Splits:
    """The parts of a world with torques of ±5 N m and initial velocities of ±8 rad/s.

    Such torques can swing the pendulum up, and such starts reach all states on the way.

    Args:
      seed: a non-negative int.
      num_sequences: numbers of sequences of the three parts, 2000, 500 and 500 by default.
      num_steps: number T of frames of a sequence, 30 by default.

    Raises:
      UserError: a number is no positive integer.
    """
    return streams.split(
        lambda size, stream: simulate(size, num_steps, stream, STRONG_TORQUE, STRONG_VELOCITY),
        num_sequences,
        seed,
    )


def simulate(
    num_sequences: int,
    num_steps: int,
    seed: int | np.random.SeedSequence,
    max_torque: float = MAX_TORQUE,
    max_velocity: float = MAX_VELOCITY,
) -> SequenceData:
    """Sequences from random starts under random torques.

    The start is uniform on the circle, its velocity and the torques are uniform, too.

    Args:
      num_sequences: number N of sequences.
      num_steps: number T of frames of a sequence.
      seed: a non-negative int or a ``SeedSequence``.
      max_torque: largest torque in either direction, N m; 2 by default.
      max_velocity: largest initial velocity in either direction, rad/s; π by default.

    Returns:
      ``SequenceData`` with ``frames [N, T, 16, 16, 1]`` float32, ``controls [N, T, 1]`` in N m and
      ``states [N, T, 2]``: angle in radians (not wrapped), angular velocity in rad/s.
    """
    num_sequences = number_checks.integer("num_sequences", num_sequences)
    num_steps = number_checks.integer("num_steps", num_steps)
    rng = streams.generator(seed)
    angle = rng.uniform(0.0, 2.0 * np.pi, num_sequences)
    velocity = rng.uniform(-max_velocity, max_velocity, num_sequences)
    # Rounded first, so that the torques in the data are the ones that acted.
    torque = rng.uniform(-max_torque, max_torque, (num_sequences, num_steps)).astype(np.float32)
    states = integrate(angle, velocity, torque)
    return SequenceData(
        frames=render(states[..., 0]),
        observed=np.ones((num_sequences, num_steps), np.float32),
        controls=torque[..., np.newaxis],
        states=states.astype(np.float32),
        state_names=STATE_NAMES,
    )


def integrate(angle: np.ndarray, velocity: np.ndarray, torque: np.ndarray) -> np.ndarray:
    """States at the frames, by the classical Runge-Kutta method.

    Args:
      angle: ``[N]`` radians, at frame 0.
      velocity: ``[N]`` rad/s, at frame 0.
      torque: ``[N, T]`` N m; ``torque[:, t]`` is held from frame t to t+1, the last one unused.

    Returns:
      ``[N, T, 2]`` float64, angle and angular velocity.
    """
    h = FRAME_INTERVAL / SUBSTEPS
    z = np.stack([angle, velocity], axis=-1).astype(np.float64)  # [N, 2]
    states = [z]
    for u in torque.T[:-1].astype(np.float64):
        for _ in range(SUBSTEPS):
            k1 = _derivative(z, u)
            k2 = _derivative(z + h / 2 * k1, u)
            k3 = _derivative(z + h / 2 * k2, u)
            k4 = _derivative(z + h * k3, u)
            z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(z)
    return np.stack(states, axis=1)


def _derivative(z, u):
    angle, velocity = z[..., 0], z[..., 1]
    torque = -FRICTION * velocity + MASS * GRAVITY * LENGTH * np.sin(angle) + u
    return np.stack([velocity, torque / (MASS * LENGTH**2)], axis=-1)


def render(angle: np.ndarray) -> np.ndarray:
    """Frames of a pendulum at some angles.

    The blob has peak 1 and its centre at column 7.5 + 4.8 sin φ, row 7.5 + 4.8 cos φ: row 0 is the
    bottom of the world, so plot with ``origin="lower"`` to see the unstable equilibrium on top.

    Args:
      angle: ``[...]`` radians.

    Returns:
      ``[..., 16, 16, 1]`` float32 in [0, 1].
    """
    angle = np.asarray(angle, np.float64)[..., np.newaxis]
    pixel = np.arange(SIZE)
    column = np.exp(-0.5 * ((pixel - CENTRE - RADIUS * np.sin(angle)) / BLOB_STD) ** 2)  # [..., 16]
    row = np.exp(-0.5 * ((pixel - CENTRE - RADIUS * np.cos(angle)) / BLOB_STD) ** 2)
    # A round Gaussian is the product of one along the rows and one along the columns.
    return (row[..., :, np.newaxis] * column[..., np.newaxis, :])[..., np.newaxis].astype(
        np.float32
    )
