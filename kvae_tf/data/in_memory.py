"""Data in memory, in any of the forms in which users have them, as three parts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kvae_tf.data.archives import from_arrays
from kvae_tf.data.sequence_data import SequenceData, Splits, check_alike, check_seen, split
from kvae_tf.errors import UserError

_SOURCE = "data"


def as_splits(data, seed: int = 0) -> Splits:
    """Train, validation and test part of data in memory.

    >>> [len(part) for part in as_splits(np.zeros((20, 5, 8, 8), np.uint8))]
    [16, 2, 2]
    >>> [part.num_steps for part in as_splits(np.zeros((1, 100, 8, 8), np.uint8))]
    [80, 10, 10]

    Three sequences or more are shuffled and shared out; fewer are cut in time, the first steps for
    training, the last for testing.

    Args:
      data: an array of images ``[N, T, H, W]`` or ``[N, T, H, W, C]``, or of vectors
        ``[N, T, D]``; a dictionary of arrays, as in a file; ``SequenceData``; or ``Splits``, which
        are taken as they are.
      seed: seed of the shuffle before the split, a non-negative int; 0 by default.

    Raises:
      UserError: the data are none of these, an array is refused, or a part would be empty.
    """
    if isinstance(data, Splits):
        for name, part in data._asdict().items():
            if not isinstance(part, SequenceData) or not len(part):
                raise UserError(f"{_SOURCE}: the {name} part is no SequenceData with sequences")
            check_alike(data.train, part, name, _SOURCE)
            check_seen(part, f"{_SOURCE}, {name} part")
        return data
    if isinstance(data, SequenceData):
        return split(data, seed=seed)
    if isinstance(data, Mapping):
        return from_arrays(data, seed, source=_SOURCE)
    return from_arrays({_kind(data): data}, seed, source=_SOURCE)


def _kind(data):
    """``"vectors"`` for an array ``[N, T, D]``, else ``"images"``."""
    array = data if np.ma.isMaskedArray(data) else _array(data)
    if array.ndim == 3 and array.dtype in (np.uint8, bool):
        raise UserError(
            f"{_SOURCE} has shape {array.shape} and dtype {array.dtype}, which looks like one film "
            "[T, H, W]: expected [N, T, H, W], for one film data[np.newaxis]; or vectors [N, T, D] "
            "of floats"
        )
    return "vectors" if array.ndim == 3 else "images"


def _array(data):
    try:
        array = np.asarray(data)
    except ValueError:  # NumPy's word for nested lists of unequal lengths
        raise UserError(f"{_SOURCE} is ragged; expected one rectangular array") from None
    if array.dtype.kind not in "buif" or not array.ndim:
        raise UserError(
            f"{_SOURCE} is {type(data).__name__}; expected the name of a world, a path, an array "
            "of images [N, T, H, W] or [N, T, H, W, C] or of vectors [N, T, D], a dictionary of "
            "arrays, SequenceData or Splits"
        )
    return array
