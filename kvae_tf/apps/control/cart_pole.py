"""Gymnasium's CartPole-v1, to be kept upright from its pictures."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from PIL import Image

from kvae_tf.apps import recording
from kvae_tf.planning import OneOf

SIZE = 96  # pixels of a picture's longer side, as ``scripts/record.py`` films
CROP = (22, 32, 32, 32)  # top, left, height and width of the part that shows pole and cart
_REACH, _GOALS = 0.4, 41  # metres from the centre, number of places


class CartPole:
    """Keep the pole upright for 200 steps of 0.02 s; see ``task.Task``.

    Frames are grey. States are the cart's position and velocity, and the pole's angle and angular
    velocity. Motion, pictures and the end of an episode are those of Gymnasium.

    Raises:
      UserError: the package gymnasium is missing.
    """

    steps = 200
    orientation = 1
    actions = OneOf(2)

    def __init__(self):
        self._world = recording.make("CartPole-v1").unwrapped

    def start(self, seeds):
        return np.stack([self._world.reset(seed=int(seed))[0] for seed in seeds]).astype(np.float64)

    def frames(self, states):
        top, left, height, width = CROP
        frames = []
        for state in states:
            self._world.state = state
            picture = Image.fromarray(recording.shrunk(self._world.render(), SIZE)).convert("L")
            frames.append(np.asarray(picture)[top : top + height, left : left + width, np.newaxis])
        return np.stack(frames)

    def goals(self):
        """Upright poles at many places: where the cart is moves a frame far more than a tilt."""
        states = np.zeros((_GOALS, 4))
        states[:, 0] = np.linspace(-_REACH, _REACH, _GOALS)
        return self.frames(states)

    def advance(self, states, controls):
        """A pole that has fallen stays as it is."""
        later = []
        for state, control in zip(states, controls, strict=True):
            if self._is_up(state):
                self._world.state, self._world.steps_beyond_terminated = state, None
                state = np.array(self._world.step(int(np.argmax(control)))[0], np.float64)
            later.append(state)
        return np.stack(later)

    def cost(self, states, controls):
        """Sum over the steps of the squares of position and angle, each as a share of its limit."""
        state = [tf.repeat(x[:, tf.newaxis], controls.shape[1], 1)
                 for x in tf.unstack(states, axis=1)]  # fmt: skip
        total = tf.zeros_like(state[0])
        for action in tf.unstack(controls, axis=2):
            state = self._advance(*state, action[..., 1] - action[..., 0])
            total += tf.square(state[0] / self._world.x_threshold)
            total += tf.square(state[2] / self._world.theta_threshold_radians)
        return total

    def _advance(self, x, x_speed, angle, angle_speed, direction):
        """A step later, ``[B, N]`` each: the equations of motion of Gymnasium's ``step``."""
        world = self._world
        push = world.force_mag * direction + world.polemass_length * tf.square(
            angle_speed
        ) * tf.sin(angle)
        push /= world.total_mass
        turn = (world.gravity * tf.sin(angle) - tf.cos(angle) * push) / (
            world.length * (4.0 / 3.0 - world.masspole * tf.cos(angle) ** 2 / world.total_mass)
        )
        speed_up = push - world.polemass_length * turn * tf.cos(angle) / world.total_mass
        return (
            x + world.tau * x_speed,
            x_speed + world.tau * speed_up,
            angle + world.tau * angle_speed,
            angle_speed + world.tau * turn,
        )

    def _is_up(self, states):
        limits = self._world.x_threshold, self._world.theta_threshold_radians
        return (np.abs(states[..., 0]) <= limits[0]) & (np.abs(states[..., 2]) <= limits[1])

    def returns(self, states):
        """Number of steps until the pole has fallen."""
        up = self._is_up(states[:, 1:])
        return np.sum(np.minimum.accumulate(up, axis=1), axis=1).astype(float)

    def succeeded(self, states):
        """It has not fallen."""
        return np.all(self._is_up(states[:, 1:]), axis=1)
