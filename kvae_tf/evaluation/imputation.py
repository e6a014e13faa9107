"""Frames hidden in the middle of sequences, and how well they are filled in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kvae_tf.data import SequenceData, gap
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import also_known, masked_batches
from kvae_tf.models.contract import VideoModel


class Gap(NamedTuple):
    """Frames hidden for the imputation test: ``start`` to ``stop - 1``, counted from 0."""

    start: int
    stop: int


def middle_gap(num_steps: int) -> Gap:
    """The middle 40 % of a sequence: frames 5 … 10 of 15."""
    length = max(1, round(0.4 * num_steps))
    start = max(1, (num_steps - length + 1) // 2)
    return Gap(start, min(start + length, num_steps))


def imputation(
    model: VideoModel, data: SequenceData, hidden: Gap | None = None
) -> dict[str, float]:
    """How well hidden frames are filled in.

    Args:
      model: a model that can ``impute``.
      data: the sequences.
      hidden: the frames to hide in every sequence; None: ``middle_gap``.

    Returns:
      ``imputation/smooth_rmse`` and ``imputation/filter_rmse``, as far as the model can, and for
      comparison ``imputation/last_frame_rmse`` (the last seen frame repeated): root mean squared
      error of a pixel over the hidden frames; ``imputation/hidden_frames``: the gap's two ends.
    """
    hidden = hidden or middle_gap(data.num_steps)
    fill = compiled_queries.fill_frames(model)
    inside = slice(*hidden)
    errors = {name: [] for name in (*model.imputation_methods, "last_frame")}
    for batch, rows in masked_batches(data, gap(len(data), data.num_steps, *hidden)):
        frames, seen = batch["frames"], batch["observed"]
        # Only frames that are known can be compared; rows that fill up the batch do not count.
        counted = batch["known"][: rows.stop - rows.start, inside] > 0
        guesses, of = {}, also_known(model, batch)
        for method in model.imputation_methods:
            guesses[method] = fill(frames, seen, batch["controls"], method=method, **of).numpy()
        guesses["last_frame"] = last_seen(frames, seen)
        for name, guess in guesses.items():
            # Of vectors only the entries that are there.
            squared = np.nanmean(np.square(guess - frames), axis=(2, 3, 4))
            squared = squared[: len(counted), inside]
            errors[name].append(squared[counted])
    metrics = {
        f"imputation/{name}_rmse": float(np.sqrt(np.mean(np.concatenate(squared))))
        for name, squared in errors.items()
    }
    return metrics | {"imputation/hidden_frames": [hidden.start, hidden.stop - 1]}


def last_seen(frames: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Every missing frame replaced by the last seen one before it (the first stays as it is).

    Args:
      frames: ``[B, T, H, W, C]``.
      observed: ``[B, T]``, 1 = seen.

    Returns:
      ``[B, T, H, W, C]``.
    """
    steps = np.arange(frames.shape[1])
    source = np.maximum.accumulate(np.where(observed > 0, steps, 0), axis=1)
    return np.take_along_axis(frames, source[..., None, None, None], axis=1)
