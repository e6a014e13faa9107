"""Functions of frames, for all sequences of a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData, evaluation_batches

_BATCH = 50


def by_sequence(
    function: Callable[[tf.Tensor], Sequence[tf.Tensor]], data: SequenceData
) -> list[np.ndarray]:
    """What a function gives for each sequence, batch by batch in a graph.

    Args:
      function: takes frames ``[B, T, H, W, C]`` and returns several tensors ``[B, ...]``.
      data: N sequences.

    Returns:
      As many arrays ``[N, ...]``.
    """
    graph = tf.function(function, autograph=False)
    found = []
    for batch in evaluation_batches(data, min(_BATCH, len(data))):
        rows = batch["weight"].numpy() > 0
        found.append([x.numpy()[rows] for x in graph(batch["frames"])])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def mean_encodings(model, data: SequenceData) -> np.ndarray:
    """Means of the encodings of all sequences, ``[N, T, m]``.

    Args:
      model: a built KVAE of frames.
      data: N sequences.
    """
    (found,) = by_sequence(lambda frames: (model.encoder(frames).mean,), data)
    return found
