"""Bounces that are read off states, against the walls of the simulator."""

import numpy as np
import pytest

from kvae_tf.data.worlds import bouncing_ball
from kvae_tf.data.worlds.bounces import bounces, steps_to_bounce
from kvae_tf.data.worlds.bouncing_ball import (
    CENTRE,
    PADDLE_HALF_LENGTH,
    PADDLE_LEFT,
    PADDLE_RADIUS,
    PADDLE_RIGHT,
    RADIUS,
    SCENES,
)
from kvae_tf.errors import UserError

STEPS = 40


@pytest.mark.parametrize("world", sorted(SCENES))
def test_bounces_are_where_the_ball_meets_a_wall(world):
    scene = SCENES[world]
    rng = np.random.default_rng(0)
    position = CENTRE + rng.uniform(-2.0, 2.0, (50, 2))
    angle = rng.uniform(0.0, 2.0 * np.pi, 50)
    velocity = scene.speeds[1] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    states, paddles = bouncing_ball.integrate(scene, position, velocity, STEPS)
    found = bounces(world, states.astype(np.float32))
    x, v = states[:, 1:, :2], states[:, :-1, 2:]
    hit = np.zeros(x.shape[:2], bool)
    margin = np.full(x.shape[:2], np.inf)  # how far from being decided otherwise

    def meet(depth, towards):
        np.minimum(margin, np.abs(depth), out=margin)
        np.minimum(margin, np.where(depth > 0, np.abs(towards), np.inf), out=margin)
        hit[(depth > 0) & (towards > 0)] = True

    for start, stop in np.array(scene.walls, float):
        along = (stop - start) / np.linalg.norm(stop - start)
        outward = np.array([along[1], -along[0]])
        outward *= np.sign(outward @ (start - CENTRE))
        meet(RADIUS + (x - start) @ outward, v @ outward)
    if scene.has_paddles:
        for column in (PADDLE_LEFT, PADDLE_RIGHT):
            # The paddle at the frame before has moved when the ball meets it.
            y = paddles[:, 1:] + np.clip(x[..., 1] - paddles[:, 1:], -PADDLE_HALF_LENGTH,
                                         PADDLE_HALF_LENGTH)  # fmt: skip
            between = np.stack([column - x[..., 0], y - x[..., 1]], axis=-1)
            distance = np.linalg.norm(between, axis=-1)
            normal = between / distance[..., np.newaxis]
            meet(RADIUS + PADDLE_RADIUS - distance, np.sum(v * normal, axis=-1))
    decided = margin > 1e-3
    assert decided.mean() > 0.99
    np.testing.assert_array_equal(found[:, 1:][decided], hit[decided])
    assert not found[:, 0].any()
    assert 0.05 < found.mean() < 0.5


def test_steps_are_counted_to_the_nearest_bounce():
    states = np.zeros((2, 9, 4), np.float32)
    states[0, :, 2] = [5, 5, 5, -5, -5, -5, -5, -5, 5]
    np.testing.assert_array_equal(
        steps_to_bounce("box", states), [[3, 2, 1, 0, 1, 2, 2, 1, 0], [9] * 9]
    )
    falling = np.zeros((1, 5, 4), np.float32)
    falling[..., 3] = -np.arange(5)  # g Δt = -1
    assert not bounces("gravity", falling).any()
    assert bounces("box", falling)[:, 1:].all()


@pytest.mark.parametrize(
    ("world", "shape", "message"),
    [
        ("pendulum", (2, 5, 4), "world is 'pendulum', expected one of box"),
        ("box", (5, 4), r"states have shape \[5, 4\], expected \[N, T, 4\]"),
    ],
)
def test_bad_input_is_refused(world, shape, message):
    with pytest.raises(UserError, match=message):
        bounces(world, np.zeros(shape))
