"""What an affine map can read off encodings, of true positions above all."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import also_known, masked_batches
from kvae_tf.models.contract import VideoModel

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


def encodings(model: VideoModel, data: SequenceData) -> np.ndarray:
    """Encodings of all frames, ``[N, T, m]``; see ``compiled_queries.encode``."""
    return of_all(compiled_queries.encode(model), model, data)


def of_all(query: Callable, model: VideoModel, data: SequenceData) -> np.ndarray:
    """A query of all sequences, nothing hidden: one of ``graphs``, whose answer is one tensor."""
    return np.concatenate(
        [
            query(
                batch["frames"],
                batch["known"],
                batch["controls"],
                **also_known(model, batch),
            ).numpy()[: rows.stop - rows.start]
            for batch, rows in masked_batches(data, data.observed)
        ]
    )


def fit_positions(model: VideoModel, data: SequenceData) -> AffineFit | None:
    """The map from encodings to true positions; fit it on training data.

    Args:
      model: any model.
      data: sequences with states called x and y; without them the result is None.
    """
    truth = positions(data)
    if truth is None:
        return None
    seen = data.observed > 0
    a, truth = encodings(model, data)[seen], truth[seen]
    return fit_affine(a, truth)


def fit_affine(features: np.ndarray, targets: np.ndarray) -> AffineFit:
    """Ordinary least squares with an offset: ``features [N, m]``, ``targets [N, S]``."""
    extended = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    solution = np.linalg.lstsq(extended, targets, rcond=None)[0]
    residual = targets - extended @ solution
    return AffineFit(solution[:-1], solution[-1], 1.0 - residual.var(0) / targets.var(0))
