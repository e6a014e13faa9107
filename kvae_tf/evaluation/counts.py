"""How many objects a sequence shows, by the bounds of all possible numbers."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import masked_batches
from kvae_tf.models.contract import VideoModel


def inferred_counts(model: VideoModel, data: SequenceData, draws: int = 1) -> np.ndarray:
    """The number of objects with the largest bound, for each sequence, ``[N]`` from 1.

    All numbers up to ``max_objects`` are as likely before a frame is seen; what the data say about
    them is not used.

    Args:
      model: a model that knows objects.
      data: the sequences.
      draws: number of draws over which a bound is averaged, 1 by default.
    """
    bound, found = compiled_queries.elbo(model), []
    for batch, rows in masked_batches(data, data.observed):
        del batch["known"]
        values = []
        for count in range(1, model.max_objects + 1):
            batch["num_objects"] = np.full(len(batch["frames"]), count, np.int32)
            pairs = (tf.constant([0, draw], tf.int64) for draw in range(draws))
            values.append(np.mean([bound(batch, pair).elbo for pair in pairs], axis=0))
        found.append(1 + np.argmax(values, axis=0)[: rows.stop - rows.start])
    return np.concatenate(found)
