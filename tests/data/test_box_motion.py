"""The closed form of box and gravity against pymunk."""

import numpy as np
import pytest

from kvae_tf.data.worlds import bouncing_ball, box_motion
from kvae_tf.errors import UserError

STEPS = 20


@pytest.fixture(scope="module", params=box_motion.WORLDS)
def paths(request):
    """World, and its states by pymunk from random starts."""
    scene = bouncing_ball.SCENES[request.param]
    rng = np.random.default_rng(0)
    position = rng.uniform(6.0, 26.0, (200, 2))
    angle, speed = rng.uniform(0.0, 2 * np.pi, 200), rng.uniform(*scene.speeds, 200)
    velocity = speed[:, np.newaxis] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return request.param, bouncing_ball.integrate(scene, position, velocity, STEPS)[0]


def test_closed_form_is_pymunks(paths):
    world, states = paths
    found = box_motion.states(world, states[:, 0, :2], states[:, 0, 2:], STEPS)
    inside = (found[..., :2] > box_motion.LOW) & (found[..., :2] < box_motion.HIGH)
    assert 0.03 < 1.0 - inside.mean() < 0.3  # many steps are bounces
    np.testing.assert_allclose(found, states, atol=1e-5, rtol=0)


def test_slow_balls_at_the_floor_and_the_ceiling():
    """Where gravity and a bounce are of one size."""
    position = np.array([[16.0, y] for y in (4.95, 5.2, 26.9, 27.05)])
    velocity = np.array([[0.0, v] for v in (0.3, -0.2, 0.4, 0.8)])
    scene = bouncing_ball.SCENES["gravity"]
    truth, _ = bouncing_ball.integrate(scene, position, velocity, STEPS)
    found = box_motion.states("gravity", position, velocity, STEPS)
    np.testing.assert_allclose(found, truth, atol=1e-5, rtol=0)


def test_transitions_lead_from_each_state_to_the_next(paths):
    world, states = paths
    matrices, offsets = box_motion.transitions(world, states)
    led = np.einsum("ntij,ntj->nti", matrices, states) + offsets
    np.testing.assert_allclose(led[:, :-1], states[:, 1:], atol=1e-5, rtol=0)
    assert len(np.unique(matrices.reshape(-1, 16), axis=0)) > 8


def test_other_worlds_are_refused():
    with pytest.raises(UserError, match="world is 'pong', expected one of box, gravity"):
        box_motion.states("pong", np.zeros((1, 2)), np.zeros((1, 2)), 2)
