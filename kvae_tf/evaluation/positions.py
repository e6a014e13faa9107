"""True positions from encodings: what an affine map can read off them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.evaluation.batches import masked_batches
from kvae_tf.models.base import SequenceModel

POSITIONS = ("x", "y")


class AffineFit(NamedTuple):
    """positions ≈ encodings · ``matrix`` + ``offset``, by least squares.

    Attributes:
      matrix: ``[m, S]``.
      offset: ``[S]``.
      r_squared: ``[S]``, the share of each position's variance that the map explains.
    """

    matrix: np.ndarray
    offset: np.ndarray
    r_squared: np.ndarray

    def __call__(self, encodings: np.ndarray) -> np.ndarray:
        """``[..., m] -> [..., S]``."""
        return encodings @ self.matrix + self.offset


def positions(data: SequenceData) -> np.ndarray | None:
    """The states called x and y, ``[N, T, 2]``; None where the data have none."""
    if data.states is None or not set(POSITIONS) <= set(data.state_names):
        return None
    return data.states[..., [data.state_names.index(name) for name in POSITIONS]]


def encodings(model: SequenceModel, data: SequenceData) -> np.ndarray:
    """Means of q(a | x) of all frames, ``[N, T, m]``."""
    batches = masked_batches(data, data.observed)
    return np.concatenate(
        [
            model.encode(batch["frames"]).mean.numpy()[: rows.stop - rows.start]
            for batch, rows in batches
        ]
    )


def fit_positions(model: SequenceModel, data: SequenceData) -> AffineFit | None:
    """The map from encodings to true positions; fit it on training data.

    Args:
      model: a system that can ``encode``.
      data: sequences with states called x and y; without them the result is None.
    """
    truth = positions(data)
    if truth is None:
        return None
    seen = data.observed > 0
    a, truth = encodings(model, data)[seen], truth[seen]
    features = np.concatenate([a, np.ones((len(a), 1))], axis=1)
    solution = np.linalg.lstsq(features, truth, rcond=None)[0]
    residual = truth - features @ solution
    return AffineFit(solution[:-1], solution[-1], 1.0 - residual.var(0) / truth.var(0))
