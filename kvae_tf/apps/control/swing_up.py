"""The pendulum, to be swung up from below and held there by torques weaker than gravity."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf.data.worlds import pendulum
from kvae_tf.planning import Box

UPRIGHT = np.radians(20.0)  # from the top, counts as upright
HELD = 20  # last frames in which it has to be upright
_START = 0.5  # radians and rad/s about hanging at rest
_SUBSTEPS = 2  # of the planner's simulator; their error is below a thousandth of a radian


class SwingUp:
    """Swing up within 100 steps of 0.1 s; see ``task.Task``. States are angle and velocity.

    Args:
      max_torque: largest torque in either direction, N m. Gravity's is 9.8 at most.
    """

    steps = 100
    orientation = -1

    def __init__(self, max_torque: float):
        self.actions = Box([-max_torque], [max_torque])

    def start(self, seeds):
        return np.stack(
            [
                np.array([np.pi, 0.0]) + np.random.default_rng(seed).uniform(-_START, _START, 2)
                for seed in seeds
            ]
        )

    def frames(self, states):
        return pendulum.render(states[:, 0])

    def goals(self):
        return pendulum.render(np.zeros(1))

    def advance(self, states, controls):
        held = np.repeat(controls, 2, axis=1)  # the last one is unused
        return pendulum.integrate(states[:, 0], states[:, 1], held)[:, 1]

    def cost(self, states, controls):
        """Sum over the steps of the square distance from the top, in lengths of the pendulum."""
        angle, velocity = (tf.repeat(x[:, tf.newaxis], controls.shape[1], 1)
                           for x in tf.unstack(states, axis=1))  # fmt: skip
        total = tf.zeros_like(angle)
        for torque in tf.unstack(controls[..., 0], axis=2):
            angle, velocity = _advance(angle, velocity, torque)
            total += 2.0 - 2.0 * tf.cos(angle)
        return total

    def returns(self, states):
        """Mean height of the tip: 0 at the bottom, 1 at the top."""
        return np.mean(0.5 + 0.5 * np.cos(states[:, 1:, 0]), axis=1)

    def succeeded(self, states):
        """Within 20° of upright in the last 20 steps."""
        return np.all(np.cos(states[:, -HELD:, 0]) > np.cos(UPRIGHT), axis=1)


def _advance(angle, velocity, torque):
    """A frame later, by the classical Runge-Kutta method; ``[B, N]`` each."""
    h = pendulum.FRAME_INTERVAL / _SUBSTEPS
    inertia = pendulum.MASS * pendulum.LENGTH**2
    gravity = pendulum.MASS * pendulum.GRAVITY * pendulum.LENGTH

    def derivative(angle, velocity):
        force = -pendulum.FRICTION * velocity + gravity * tf.sin(angle) + torque
        return velocity, force / inertia

    for _ in range(_SUBSTEPS):
        a1, v1 = derivative(angle, velocity)
        a2, v2 = derivative(angle + h / 2 * a1, velocity + h / 2 * v1)
        a3, v3 = derivative(angle + h / 2 * a2, velocity + h / 2 * v2)
        a4, v4 = derivative(angle + h * a3, velocity + h * v3)
        angle += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        velocity += h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
    return angle, velocity
