"""Simulated worlds, by name."""

from collections.abc import Callable
from typing import NamedTuple

from kvae_tf.data.sequence_data import Splits
from kvae_tf.data.worlds import pendulum


class World(NamedTuple):
    """A generator of data sets.

    Attributes:
      splits: a function of ``seed`` and of options with defaults.
      version: goes into the cache's file names, so that older data are not taken for newer.
    """

    splits: Callable[..., Splits]
    version: int


WORLDS: dict[str, World] = {
    "pendulum": World(pendulum.splits, pendulum.VERSION),
}
