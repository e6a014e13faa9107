"""Simulated worlds, by name."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from kvae_tf.data.sequence_data import Splits
from kvae_tf.data.worlds import balls, billiards, bouncing_ball, cannonballs, pendulum


class World(NamedTuple):
    """A generator of data sets.

    Attributes:
      splits: simulates the three parts; a function of ``seed`` and of options with defaults.
      version: version of the generated data, part of the cache's file names.
    """

    splits: Callable[..., Splits]
    version: int


WORLDS: dict[str, World] = {
    "pendulum": World(pendulum.splits, pendulum.VERSION),
    "pendulum_strong": World(pendulum.strong_splits, pendulum.VERSION),
    **{name: World(functools.partial(balls.splits, name), balls.VERSION) for name in balls.WORLDS},
    **{
        scene: World(functools.partial(bouncing_ball.splits, scene), bouncing_ball.VERSION)
        for scene in bouncing_ball.SCENES
    },
    "cannonballs": World(cannonballs.splits, cannonballs.VERSION),
    "cannonballs_large": World(
        functools.partial(cannonballs.splits, num_sequences=(20000, 500, 1000)), cannonballs.VERSION
    ),
    "cannonballs_long": World(
        functools.partial(cannonballs.splits, num_steps=50), cannonballs.VERSION
    ),
    "cannonballs_small": World(
        functools.partial(cannonballs.splits, size=32, num_balls=(1, 2)), cannonballs.VERSION
    ),
    "billiards": World(billiards.splits, billiards.VERSION),
    "billiards_small": World(
        functools.partial(billiards.splits, size=20, num_balls=(1, 2)), billiards.VERSION
    ),
}
