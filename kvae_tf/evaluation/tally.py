"""Means over hidden frames, and their standard errors between sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


class Tally:
    """Sums of errors over the hidden frames of each sequence, by method and measure.

    Args:
      num_sequences: number N of sequences.
    """

    def __init__(self, num_sequences: int):
        self.num_sequences = num_sequences
        self.sums, self.counts = {}, {}

    def add(
        self, rows: slice, hidden: np.ndarray, by_method: dict[str, dict[str, np.ndarray]]
    ) -> None:
        """Adds the errors of a batch.

        Args:
          rows: the sequences that the batch's first rows are; further rows, which only fill up the
            batch, do not count.
          hidden: ``[B, T]``, 1 = the frame counts.
          by_method: method -> measure -> errors ``[B, T]``; squares of a measure ``…_rmse``.
        """
        hidden = hidden[: rows.stop - rows.start]
        for method, measures in by_method.items():
            for measure, values in measures.items():
                values = hidden * values[: len(hidden)]
                for store, value in ((self.sums, values), (self.counts, hidden)):
                    store.setdefault((method, measure), np.zeros(self.num_sequences))
                    store[method, measure][rows] += value.sum(axis=1)

    def result(self, method: str, measure: str) -> tuple[float, float]:
        """The mean over frames, and its standard error as that of a ratio of two sums.

        Sequences are independent, but not frames of a sequence or masks of it, so the spread is
        that between sequences. NaN where no frame counts.
        """
        sums, counts = self.sums[method, measure], self.counts[method, measure]
        total = counts.sum()
        if not total:
            return math.nan, math.nan
        mean = sums.sum() / total
        error = np.sqrt(np.sum(np.square(sums - mean * counts))) / total
        if measure.endswith("_rmse"):
            mean = np.sqrt(mean)
            error = error / (2.0 * mean) if mean else 0.0
        return float(mean), float(error)


Columns = dict[str, dict[str, list[float]]]


def columns(tallies: Sequence[Tally]) -> tuple[Columns, Columns]:
    """Errors and standard errors as method -> measure -> one value for each tally."""
    errors, spreads = {}, {}
    for tally in tallies:
        for method, measure in tally.sums:
            for store, value in zip((errors, spreads), tally.result(method, measure), strict=True):
                store.setdefault(method, {}).setdefault(measure, []).append(value)
    return errors, spreads
