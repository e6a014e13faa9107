"""A short text that tells whether two data sets have the same contents."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from kvae_tf.data.sequence_data import Splits

_END = 2**16  # bytes at either end of a shard


def fingerprint(splits: Splits) -> str:
    """A digest of all arrays in memory; of shards on disk names, sizes and either end count.

    Args:
      splits: the three parts of the data.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in splits:
        arrays = [part.frames, part.observed, part.controls, part.states, part.num_objects]
        arrays += [] if part.times is None else [part.times]  # others keep their digests
        for array in arrays:
            kind = "none" if array is None else f"{array.dtype.str}{array.shape}"
            digest.update(kind.encode())
            if array is not None:
                digest.update(np.ascontiguousarray(array).reshape(-1))
        for path in sorted(part.records.folder.iterdir()) if part.records else ():
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest.update(f"{path.name}:{size}".encode() + file.read(_END))
                file.seek(max(size - _END, 0))
                digest.update(file.read(_END))
    return digest.hexdigest()
