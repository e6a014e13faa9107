"""Random numbers of simulated worlds: a stream for each part, so that none depends on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kvae_tf.data import checks
from kvae_tf.data.sequence_data import SequenceData, Splits
from kvae_tf.errors import UserError


def split(
    simulate: Callable[[int, np.random.SeedSequence], SequenceData],
    num_sequences: Sequence[int],
    seed: int,
) -> Splits:
    """Train, validation and test sequences, each from its own stream of random numbers.

    Args:
      simulate: gives so many sequences from a stream.
      num_sequences: how many sequences the three parts hold; a part's size changes no other part.
      seed: non-negative int.

    Raises:
      UserError: not three numbers, or the seed is no non-negative integer.
    """
    try:
        sizes = tuple(num_sequences)
    except TypeError:
        sizes = ()
    if len(sizes) != 3:
        raise UserError(
            f"num_sequences is {num_sequences!r}; expected three numbers (train, validation, test)"
        )
    streams = np.random.SeedSequence(checks.integer("seed", seed, minimum=0)).spawn(3)
    return Splits(*(simulate(n, s) for n, s in zip(sizes, streams, strict=True)))


def generator(seed: int | np.random.SeedSequence) -> np.random.Generator:
    """Random numbers from a stream, or from a non-negative int.

    Raises:
      UserError: the seed is neither.
    """
    if not isinstance(seed, np.random.SeedSequence):
        seed = checks.integer("seed", seed, minimum=0)
    return np.random.default_rng(seed)
