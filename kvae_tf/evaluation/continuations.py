"""Several objects in frames that were not seen: continued, and interpolated, step by step.

Chiappa and Paquet, sections 3.4 and 3.5: the first frames are seen and the rest is generated, or
the first and the last are seen and the middle is interpolated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kvae_tf.data import SequenceData, gap
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import masked_batches
from kvae_tf.evaluation.objects import true_positions
from kvae_tf.evaluation.pixels import incorrect_pixels
from kvae_tf.evaluation.tracks import track_errors
from kvae_tf.models.contract import VideoModel

FIRST, LAST = 5, 5  # frames seen
RADIUS = 2  # of the balls, pixels
_SMALLEST = 1e-6  # probability of a pixel


class Continuation(NamedTuple):
    """Errors of each hidden frame, averaged over sequences.

    Attributes:
      frames: their numbers, from 0.
      nats: minus log p of the true frame, under the pixels' means kept within 1e-6 of 0 and 1.
      incorrect_pixels: fractions, at the threshold 0.5.
      position_error: mean distance of the discs in the frames from the true positions, pixels. A
        disc stands for the same object throughout; see ``track_errors``.
    """

    frames: list[int]
    nats: list[float]
    incorrect_pixels: list[float]
    position_error: list[float]


def generation(model: VideoModel, data: SequenceData) -> Continuation:
    """The first ``FIRST`` frames are seen, the rest is generated from them."""
    return _continue(model, data, "filter", gap(len(data), data.num_steps, FIRST, data.num_steps))


def interpolation(model: VideoModel, data: SequenceData) -> Continuation:
    """The first ``FIRST`` and the last ``LAST`` frames are seen; for a model that smooths."""
    stop = data.num_steps - LAST
    return _continue(model, data, "smooth", gap(len(data), data.num_steps, FIRST, stop))


def _continue(model, data, method, mask):
    hidden = np.flatnonzero(mask[0] == 0)
    truth, counts = true_positions(data), data.num_objects
    fill = compiled_queries.fill_frames(model)
    nats, wrong, distances = [], [], []
    for batch, rows in masked_batches(data, mask):
        kept = slice(rows.stop - rows.start)
        filled = fill(
            batch["frames"],
            batch["observed"],
            batch["controls"],
            method=method,
            num_objects=batch.get("num_objects"),
        )
        guess = filled.numpy()[kept, hidden]
        frames = batch["frames"][kept, hidden]
        p = np.clip(guess.astype(np.float64), _SMALLEST, 1.0 - _SMALLEST)
        log_p = frames * np.log(p) + (1.0 - frames) * np.log1p(-p)
        nats.append(-log_p.sum((2, 3, 4)))
        wrong.append(incorrect_pixels(guess, frames))
        # Who is who is known from the last frames seen.
        before = truth[rows, hidden[0] - 2 : hidden[0]]
        distances.append(
            track_errors(guess.mean(-1), truth[rows, hidden], before, counts[rows], RADIUS)
        )
    return Continuation(
        hidden.tolist(),
        *(np.concatenate(values).mean(axis=0).tolist() for values in (nats, wrong, distances)),
    )
