"""Sequences of the worlds ``box`` and ``pendulum`` in which something goes wrong.

At a random step, the onset, one of these happens; the world's own simulator goes on from there.

======  ======================================================================================
kind    what happens
======  ======================================================================================
jump    the object is elsewhere, with the same velocity: at least 4 px away, or 45°
faster  the object goes on with twice its velocity
slower  the object goes on with half its velocity
cover   a black patch, fixed in the frame, covers the place of the object for four frames
still   the film stands still from the frame before the onset on, while the world should move
======  ======================================================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kvae_tf.data.sequence_data import SequenceData
from kvae_tf.data.worlds import bouncing_ball, pendulum
from kvae_tf.errors import UserError

KINDS = ("jump", "faster", "slower", "cover", "still")
FIRST_ONSET = 5  # steps, from which position and velocity are known
LAST_STEPS = 5  # at least so many frames from the onset on
LEAST_STEPS = FIRST_ONSET + LAST_STEPS
COVERED = 4  # frames
LEAST_JUMP = 4.0  # pixels, in the box
LEAST_TURN = np.pi / 4  # radians, of the pendulum


class Anomalies(NamedTuple):
    """Sequences with an anomaly each.

    Attributes:
      data: the sequences.
      anomalous: ``[N, T]`` bool, the frames that differ from what the past lets expect: of a jump
        the onset alone, of another velocity all frames after the onset, of a patch or a film that
        stands still the frames that show it.
    """

    data: SequenceData
    anomalous: np.ndarray


class _World(NamedTuple):
    """A world's simulator, from the middle of a sequence on.

    Attributes:
      resume: states ``[n, S]`` and controls ``[n, k, U]`` -> states ``[n, k, S]``, the first ones
        as given.
      draw: states ``[..., S]`` -> frames ``[..., H, W, 1]`` in [0, 1].
      elsewhere: states ``[n, S]`` and a random generator -> states with another position.
      velocities: the columns of the states that are velocities.
      place: states ``[..., S]`` -> row and column of the object's centre, pixels.
      cover_size: side of the patch, an odd number of pixels.
    """

    resume: Callable
    draw: Callable
    elsewhere: Callable
    velocities: slice
    place: Callable
    cover_size: int


def inject(world: str, kind: str, data: SequenceData, seed: int) -> Anomalies:
    """The same sequences, each with one anomaly; before its onset nothing changes.

    Args:
      world: ``"box"`` or ``"pendulum"``.
      kind: out of ``KINDS``.
      data: sequences of the world, with their states, of ``LEAST_STEPS`` frames or more.
      seed: a non-negative int, of the onsets and places.

    Raises:
      UserError: the world or the kind is unknown, or the data are not sequences of the world.
    """
    if world not in _WORLDS:
        raise UserError(f"world is {world!r}, expected one of {', '.join(_WORLDS)}")
    if kind not in KINDS:
        raise UserError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    simulator = _WORLDS[world]
    N, T = data.frames.shape[:2]
    if T < LEAST_STEPS:
        raise UserError(f"sequences have {T} frames, expected at least {LEAST_STEPS}")
    _check(world, simulator, data)
    rng = np.random.default_rng(seed)
    onsets = rng.integers(FIRST_ONSET, T - LAST_STEPS + 1, N)
    states, frames = data.states.astype(np.float64), data.frames.copy()
    anomalous = np.zeros((N, T), bool)
    for onset in np.unique(onsets):
        rows = np.flatnonzero(onsets == onset)
        if kind == "cover":
            place = simulator.place(states[rows, onset])
            _cover(frames, rows, onset, place, simulator.cover_size)
            anomalous[rows, onset : onset + COVERED] = True
        elif kind == "still":
            frames[rows, onset:] = frames[rows, onset - 1 : onset]
            anomalous[rows, onset:] = True
        else:
            changed = states[rows, onset]
            if kind == "jump":
                changed = simulator.elsewhere(changed, rng)
                anomalous[rows, onset] = True
            else:
                changed[:, simulator.velocities] *= 2.0 if kind == "faster" else 0.5
                anomalous[rows, onset + 1 :] = True
            states[rows, onset:] = simulator.resume(changed, data.controls[rows, onset:])
            drawn = simulator.draw(states[rows, onset:])
            frames[rows, onset:] = _as_dtype(drawn, frames.dtype)
    changed = dataclasses.replace(data, frames=frames, states=states.astype(np.float32))
    return Anomalies(changed, anomalous)


def _check(world, simulator, data):
    """Refuses sequences that the world's simulator does not draw as they are."""
    size = simulator.velocities.stop
    if data.states is None or data.states.shape[-1] != size:
        raise UserError(f"the data have no states of {world}, expected its {size} numbers a frame")
    first = data.select(slice(0, 1))
    drawn = simulator.draw(first.states)
    same = drawn.shape == first.frames.shape
    # A ball at a pixel's edge may be drawn beside it, as states are rounded.
    if not same or np.mean(np.abs(drawn - first.unit_frames) > 0.01) > 0.01:
        raise UserError(f"the data have other frames than {world}, expected those it draws")


def _cover(frames, rows, onset, place, size):
    """Draws a black square of ``size`` pixels over a few frames."""
    first = np.rint(np.stack(place, axis=-1)).astype(int) - size // 2
    for row, (top, left) in zip(rows, first, strict=True):
        down = slice(max(top, 0), top + size)
        across = slice(max(left, 0), left + size)
        frames[row, onset : onset + COVERED, down, across] = 0


def _as_dtype(frames, dtype):
    """Frames in [0, 1] as the data have them: bytes, or float32."""
    return np.rint(255 * frames).astype(dtype) if dtype == np.uint8 else frames.astype(dtype)


def _resume_box(states, controls):
    scene = bouncing_ball.SCENES["box"]
    return bouncing_ball.integrate(scene, states[:, :2], states[:, 2:], controls.shape[1])[0]


def _elsewhere_box(states, rng):
    """Uniform over the places from which a ball may start, but not near its own."""
    margin = bouncing_ball.START_MARGIN
    states, near = states.copy(), np.ones(len(states), bool)
    position = states[:, :2].copy()
    while near.any():
        states[near, :2] = rng.uniform(margin, bouncing_ball.SIZE - margin, (near.sum(), 2))
        near = np.linalg.norm(states[:, :2] - position, axis=1) < LEAST_JUMP
    return states


def _place_box(states):
    return bouncing_ball.SIZE - 1 - np.floor(states[..., 1]), np.floor(states[..., 0])


def _elsewhere_pendulum(states, rng):
    turn = rng.uniform(LEAST_TURN, 2.0 * np.pi - LEAST_TURN, len(states))
    return states + np.stack([turn, np.zeros_like(turn)], axis=-1)


def _place_pendulum(states):
    radius, centre = pendulum.RADIUS, pendulum.CENTRE
    return centre + radius * np.cos(states[..., 0]), centre + radius * np.sin(states[..., 0])


_WORLDS = {
    "box": _World(
        _resume_box,
        lambda states: bouncing_ball.draw_ball(states[..., :2])[..., np.newaxis],
        _elsewhere_box,
        slice(2, 4),
        _place_box,
        cover_size=9,
    ),
    "pendulum": _World(
        lambda states, controls: pendulum.integrate(states[:, 0], states[:, 1], controls[..., 0]),
        lambda states: pendulum.render(states[..., 0]),
        _elsewhere_pendulum,
        slice(1, 2),
        _place_pendulum,
        cover_size=9,
    ),
}
WORLDS = tuple(_WORLDS)
