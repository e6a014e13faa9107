"""Errors of forecasts, frame by frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData
from kvae_tf.evaluation.imputation import last_seen
from kvae_tf.evaluation.masked_batches import also_known, masked_batches
from kvae_tf.evaluation.pixels import incorrect_pixels, wasserstein
from kvae_tf.models.contract import VideoModel


class ForecastErrors(NamedTuple):
    """Errors of each forecast frame, averaged over sequences, and their standard errors.

    Attributes:
      incorrect_pixels: ``[K]`` fractions.
      incorrect_pixels_se: ``[K]``, standard errors of ``incorrect_pixels``.
      wasserstein: ``[K]`` pixels, distances between the sets of lit pixels.
      wasserstein_se: ``[K]`` pixels, standard errors of ``wasserstein``.
    """

    incorrect_pixels: list[float]
    incorrect_pixels_se: list[float]
    wasserstein: list[float]
    wasserstein_se: list[float]


def forecast_errors(
    model: VideoModel, data: SequenceData, context: int = 20
) -> tuple[ForecastErrors, ForecastErrors]:
    """Sees ``context`` frames and forecasts the rest of each sequence.

    Args:
      model: a model that can ``forecast``.
      data: sequences longer than ``context``.
      context: frames seen.

    Returns:
      The model's errors, and those of repeating the last frame seen.
    """
    num_steps = data.num_steps - context
    forecast = tf.function(
        lambda *seen, **of: model.forecast(*seen, num_steps=num_steps, **of).frames, autograph=False
    )
    errors, known = {"model": ([], []), "last_frame": ([], [])}, []
    for batch, rows in masked_batches(data, data.observed):
        frames = batch["frames"]
        ahead = forecast(
            frames[:, :context], batch["observed"][:, :context], batch["controls"],
            **also_known(model, batch),
        )  # fmt: skip
        truth, kept = frames[:, context:], rows.stop - rows.start
        # A frame that is missing is no truth.
        known.append(batch["known"][:kept, context:] > 0)
        last = last_seen(frames, batch["observed"])[:, context - 1 : context]
        guesses = {
            "model": ahead.numpy(),
            "last_frame": np.repeat(last, num_steps, axis=1),
        }
        for name, guess in guesses.items():
            errors[name][0].append(incorrect_pixels(guess, truth)[:kept])
            errors[name][1].append(
                [
                    [wasserstein(*pair) for pair in zip(*pairs, strict=True)]
                    for pairs in zip(guess[:kept], truth[:kept], strict=True)
                ]
            )
    return tuple(
        ForecastErrors(*(column for batches in pair for column in _mean_and_error(batches, known)))
        for pair in errors.values()
    )


def _mean_and_error(batches, known):
    """Means over the sequences whose frame is known, and their standard errors, ``[K]`` each."""
    columns = np.ma.masked_array(np.concatenate(batches), ~np.concatenate(known))  # [N, K]
    counts = columns.count(axis=0)
    spread = columns.std(axis=0) * np.sqrt(counts / np.maximum(counts - 1, 1))
    errors = spread / np.sqrt(np.maximum(counts, 1))
    return columns.mean(axis=0).filled(np.nan).tolist(), errors.filled(np.nan).tolist()
