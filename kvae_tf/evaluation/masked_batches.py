"""Test sequences in batches, each with its own row of a mask."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from kvae_tf.data import SequenceData, evaluation_batches
from kvae_tf.data.sequence_data import are_unequal
from kvae_tf.models.contract import VideoModel

BATCH = 100


def timed(model: VideoModel, times) -> dict[str, np.ndarray]:
    """The argument ``times`` of a query, by name; none for a model that does not read them.

    Args:
      model: the model that is asked.
      times: ``[B, T]``, seconds; None: unknown.
    """
    return {"times": times} if times is not None and model.reads_times else {}


def warn_of_times(model: VideoModel, times) -> None:
    """Warns where frames are not equally spaced, and the model takes them to be.

    Args:
      model: the model that is asked.
      times: ``[B, T]``, seconds; None: unknown.
    """
    if not model.reads_times and are_unequal(times):
        intervals = np.diff(times, axis=1)
        warnings.warn(
            f"frames are {np.min(intervals):.4g} to {np.max(intervals):.4g} seconds apart, but the "
            "model does not read times: they count as equally spaced",
            stacklevel=3,
        )


def also_known(model: VideoModel, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """What a query of a batch is told beside frames, mask and controls, by name.

    Args:
      model: the model that is asked.
      batch: one of ``masked_batches``.
    """
    counts = {"num_objects": batch.get("num_objects")}
    return counts | timed(model, batch.get("times"))


def masked_batches(
    data: SequenceData, mask: np.ndarray
) -> Iterator[tuple[dict[str, np.ndarray], slice]]:
    """Batches of a fixed size in which frames are hidden.

    Several masks may be given at once, ``[N, T, ...]``: then ``observed`` has their last axes too.

    Args:
      data: the sequences.
      mask: ``[N, T]`` or ``[N, T, ...]``, 1 = seen; frames that the data lack are hidden too.

    Yields:
      ``frames`` (0 where the data have none), ``observed`` (the mask), ``known`` (what the data
      have), ``controls`` and, where they are known, ``num_objects`` and ``times``; and the rows of
      ``data`` that the batch's first rows are: the last batch is filled up with repetitions.
    """
    size = min(BATCH, len(data))
    for start, batch in zip(range(0, len(data), size), evaluation_batches(data, size), strict=True):
        rows = np.arange(start, start + size) % len(data)
        del batch["weight"]
        arrays = {name: value.numpy() for name, value in batch.items()}
        known = arrays["observed"]
        arrays["observed"] = known.reshape(known.shape + (1,) * (mask.ndim - 2)) * mask[rows]
        yield arrays | {"known": known}, slice(start, min(start + size, len(data)))
