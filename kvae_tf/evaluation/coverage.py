"""Whether a model knows how much it does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy.special import ndtri

from kvae_tf.data import SequenceData
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import masked_batches
from kvae_tf.models.contract import VideoModel


def coverage(
    model: VideoModel,
    data: SequenceData,
    mask: np.ndarray,
    levels: Sequence[float] = (0.9,),
    seed: int = 0,
) -> dict[str, list[float]]:
    """How often the central interval of a filled-in encoding holds the encoding of the true frame.

    The interval is that of the encoding a_t, not of its mean, so it is compared with one draw of
    q(a_t | x_t) of the true frame. A model without ``encode`` has no such q: the draw is that of
    the state at t given all frames that the data have, Gaussian with the moments that ``impute``
    gives. Where the encoder has no noise (standard deviation 0) the draw is the encoding itself.

    Args:
      model: a model that can ``impute``.
      data: the sequences.
      mask: ``[N, T]``, 1 = seen. Counted are the hidden frames that the data have, each dimension
        of an encoding by itself, without the encodings of objects that a sequence does not show.
      levels: probabilities of the intervals; a calibrated model covers as often.
      seed: of the draws.

    Returns:
      Method of imputation -> fraction at each level.
    """
    impute = tf.function(model.impute, autograph=False)
    moments = compiled_queries.encoding_moments(model)
    rng = np.random.default_rng(seed)
    deviations = {method: [] for method in model.imputation_methods}
    for batch, rows in masked_batches(data, mask):
        inputs = batch["frames"], batch["observed"], batch["controls"]
        counts = batch.get("num_objects")
        mean, std = moments(batch["frames"], batch["known"], batch["controls"], num_objects=counts)
        draw = mean.numpy() + std.numpy() * rng.normal(size=mean.shape)
        hidden = batch["known"] * (1.0 - batch["observed"]) > 0
        hidden[rows.stop - rows.start :] = False  # rows that only fill up the batch
        counted = hidden[..., np.newaxis] & _is_present(counts, model.max_objects, mean.shape[-1])
        for method, values in deviations.items():
            filled = impute(*inputs, method=method, num_objects=counts)
            off = np.abs(filled.encodings.numpy() - draw)[counted]
            # An interval of width 0 holds what it meets exactly.
            values.append(np.stack([off, filled.encoding_stds.numpy()[counted]]))
    widths = [ndtri(0.5 + 0.5 * level) for level in levels]
    covered = {}
    for method, values in deviations.items():
        off, std = np.concatenate(values, axis=1)
        covered[method] = [float(np.mean(off <= width * std)) for width in widths]
    return covered


def _is_present(counts, max_objects, size):
    """Whether a dimension of the encodings is of an object that is there, ``[B, 1, m]``."""
    if counts is None or not max_objects:
        return np.ones((1, 1, size), bool)
    present = np.arange(max_objects) < np.reshape(counts, (-1, 1))
    return np.repeat(present, size // max_objects, axis=1)[:, np.newaxis]
