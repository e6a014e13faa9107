"""Whether a model knows how much it does not know."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy.special import ndtri

from kvae_tf.data import SequenceData
from kvae_tf.evaluation import graphs
from kvae_tf.evaluation.batches import masked_batches, objects_of
from kvae_tf.models.base import SequenceModel


def coverage(
    model: SequenceModel, data: SequenceData, mask: np.ndarray, level: float = 0.9
) -> dict[str, float]:
    """How often the central interval of a filled-in encoding holds the encoding of the true frame.

    Args:
      model: a system that can ``impute``.
      data: the sequences.
      mask: ``[N, T]``, 1 = seen; counted are the hidden frames, each dimension for itself.
      level: of the interval; a calibrated model reaches this number.

    Returns:
      Method of imputation -> fraction.
    """
    impute, encode = tf.function(model.impute), graphs.encode(model)
    width = ndtri(0.5 + 0.5 * level)
    inside = {method: [] for method in model.imputation_methods}
    for batch, rows in masked_batches(data, mask):
        hidden = (batch["known"] * (1.0 - batch["observed"]))[: rows.stop - rows.start] > 0
        objects = objects_of(model, batch)
        truth = encode(batch["frames"], batch["known"], batch["controls"], **objects).numpy()
        for method, found in inside.items():
            guess = impute(
                batch["frames"], batch["observed"], batch["controls"], method=method, **objects
            )
            off = np.abs(guess.encodings.numpy() - truth)
            found.append((off <= width * guess.encoding_stds.numpy())[: len(hidden)][hidden])
    return {method: float(np.mean(np.concatenate(found))) for method, found in inside.items()}
