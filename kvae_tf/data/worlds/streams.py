"""Random numbers of simulated worlds: an independent stream for each part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kvae_tf.data import number_checks
from kvae_tf.data.sequence_data import SequenceData, Splits
from kvae_tf.errors import UserError


def split(
    simulate: Callable[[int, np.random.SeedSequence], SequenceData],
    num_sequences: Sequence[int],
    seed: int,
) -> Splits:
    """Train, validation and test sequences, each from its own stream of random numbers.

    Args:
      simulate: a function of a number of sequences and a stream that returns the sequences.
      num_sequences: numbers of sequences of the three parts; the size of one part does not change
        the other parts.
      seed: a non-negative int.

    Raises:
      UserError: ``num_sequences`` are not three numbers, or ``seed`` is no non-negative integer.
    """
    try:
        sizes = tuple(num_sequences)
    except TypeError:
        sizes = ()
    if len(sizes) != 3:
        raise UserError(
            f"num_sequences is {num_sequences!r}; expected three numbers (train, validation, test)"
        )
    streams = np.random.SeedSequence(number_checks.integer("seed", seed, minimum=0)).spawn(3)
    return Splits(*(simulate(n, s) for n, s in zip(sizes, streams, strict=True)))


def generator(seed: int | np.random.SeedSequence) -> np.random.Generator:
    """A random number generator.

    Args:
      seed: a non-negative int, or a stream.

    Raises:
      UserError: ``seed`` is neither.
    """
    if not isinstance(seed, np.random.SeedSequence):
        seed = number_checks.integer("seed", seed, minimum=0)
    return np.random.default_rng(seed)
