"""Errors of filled-in frames against how many are missing (Fraccaro et al. 2017, figures 3a, 3b).

Every test sequence has its own mask, drawn with several seeds; the first ``FIRST_SEEN`` frames are
seen. Compared are a model's own methods of imputation and two references: ``generate`` continues
the first frames and sees nothing else, ``last_frame`` repeats the last frame seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from kvae_tf.data import SequenceData, gap, missing_at_random
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.imputation import last_seen
from kvae_tf.evaluation.masked_batches import also_known, masked_batches
from kvae_tf.evaluation.pixels import incorrect_pixels
from kvae_tf.evaluation.positions import AffineFit, positions
from kvae_tf.evaluation.tally import Tally, columns
from kvae_tf.models.contract import VideoModel

RATES = tuple(round(0.1 * i, 1) for i in range(1, 11))
GAPS = tuple(range(1, 16, 2))
FIRST_SEEN = 4
MASK_SEEDS = (0, 1, 2)
_CHUNK = 500  # frames decoded at once


class Curve(NamedTuple):
    """Errors on the hidden frames, as they are imputed.

    Where objects are counted frames are those of mean encodings: many masks, with the mean over
    several frames for each, would take hours.

    Attributes:
      x: how much was hidden: rates, or lengths of gaps.
      errors: method -> measure -> one value for each x. Measures are ``incorrect_pixels`` (the
        fraction), ``encoding_rmse`` and, where the truth is known, ``position_rmse`` (in the
        states' unit, pixels).
      standard_errors: method -> measure -> one value for each x. Sequences are independent, but not
        frames of a sequence or masks of it, so the spread is that between sequences.
    """

    x: list[float]
    errors: dict[str, dict[str, list[float]]]
    standard_errors: dict[str, dict[str, list[float]]]


def missing_at_random_curve(
    model: VideoModel,
    data: SequenceData,
    fit: AffineFit | None = None,
    rates: Sequence[float] = RATES,
    mask_seeds: Sequence[int] = MASK_SEEDS,
) -> Curve:
    """Frames missing at random, figure 3a.

    Args:
      model: a model that can ``impute``.
      data: at least ``FIRST_SEEN`` + 1 frames a sequence.
      fit: the map to positions, for ``position_rmse``.
      rates: probabilities of a frame to be missing.
      mask_seeds: seeds of the masks; each gives another pattern at the same rate.
    """
    shape = len(data), data.num_steps
    return _curve(
        model,
        data,
        fit,
        list(rates),
        lambda rate: missing_at_random_masks(*shape, rate, mask_seeds),
    )


def gap_curve(
    model: VideoModel,
    data: SequenceData,
    fit: AffineFit | None = None,
    gaps: Sequence[int] = GAPS,
) -> Curve:
    """Frames missing in a row, figure 3b: from frame ``FIRST_SEEN`` (counted from 0) on.

    Args:
      model: a model that can ``impute``.
      data: at least ``FIRST_SEEN`` + 2 frames a sequence.
      fit: the map to positions, for ``position_rmse``.
      gaps: lengths of the gaps, frames; a gap after which no frame is left is dropped.
    """
    shape = len(data), data.num_steps
    gaps = [length for length in gaps if FIRST_SEEN + length < data.num_steps]
    return _curve(model, data, fit, gaps, lambda length: gap_masks(*shape, length))


def missing_at_random_masks(
    num_sequences: int, num_steps: int, rate: float, mask_seeds: Sequence[int] = MASK_SEEDS
) -> list[np.ndarray]:
    """The masks ``[N, T]`` of one point of figure 3a, one a seed."""
    return [
        missing_at_random(num_sequences, num_steps, rate, FIRST_SEEN, seed) for seed in mask_seeds
    ]


def gap_masks(num_sequences: int, num_steps: int, length: int) -> list[np.ndarray]:
    """The mask ``[N, T]`` of one point of figure 3b, as a list."""
    return [gap(num_sequences, num_steps, FIRST_SEEN, FIRST_SEEN + length)]


def _curve(model, data, fit, x, masks: Callable[[float], list[np.ndarray]]):
    fill, encode = _filler(model), compiled_queries.encode(model)
    truth = None if fit is None else positions(data)
    tallies = [Tally(len(data)) for _ in x]
    several = [(tally, mask) for tally, amount in zip(tallies, x, strict=True)
               for mask in masks(amount)]  # fmt: skip
    start = gap(1, data.num_steps, FIRST_SEEN, data.num_steps)
    stack = np.stack([mask for _, mask in several], axis=-1)  # [N, T, masks]
    for batch, rows in masked_batches(data, stack):
        frames, known, controls = batch["frames"], batch["known"], batch["controls"]
        kept, counts = rows.stop - rows.start, batch.get("num_objects")
        of = also_known(model, batch)
        a = encode(frames, known, controls, **of).numpy()

        def errors(filled, where, frames=frames, a=a, rows=rows, kept=kept, counts=counts):
            """Measure -> ``[B, T]``; pixels only ``where`` they are asked for."""
            guess, guessed_frames = filled
            wrong = np.zeros(where.shape)
            if guessed_frames is not None:
                wrong[where] = incorrect_pixels(guessed_frames[where], frames[where])
            else:
                own = None if counts is None else counts[np.nonzero(where)[0]]
                wrong[where] = _decoded_wrong(model, guess[where], frames[where], own)
            measures = {
                "incorrect_pixels": wrong,
                "encoding_rmse": np.square(guess - a).mean(-1),
            }
            if truth is not None:
                measures["position_rmse"] = np.square(fit(guess[:kept]) - truth[rows]).sum(-1)
            return measures

        # Whatever else is missing, "generate" sees the first frames only.
        generated = fill(frames, known * start, controls, method="filter", **of)
        generated = errors(generated, known * (1.0 - start) > 0)
        for i, (tally, _) in enumerate(several):
            seen = batch["observed"][..., i]
            hidden = known * (1.0 - seen)
            by_method = {
                method: errors(fill(frames, seen, controls, method=method, **of), hidden > 0)
                for method in model.imputation_methods
            }
            by_method["generate"] = generated
            repeated = incorrect_pixels(last_seen(frames, seen), frames)
            by_method["last_frame"] = {"incorrect_pixels": repeated}
            tally.add(rows, hidden, by_method)
    return Curve(list(x), *columns(tallies))


def _filler(model):
    """A call like ``model.impute``, to encodings and frames; no frames: decode the encodings.

    Where a frame is that of its mean encoding it is faster to decode the hidden ones only.
    """
    if model.averages_frames and not model.max_objects:
        both = compiled_queries.fill_both(model)
        return lambda *given, **how: tuple(x.numpy() for x in both(*given, **how))
    fill = compiled_queries.fill(model)
    return lambda *given, **how: (fill(*given, **how).numpy(), None)


def _decoded_wrong(model, encodings, frames, counts):
    """Fractions of wrong pixels of single frames ``[n, m]``, decoded in chunks of one size."""
    decode = compiled_queries.decode(model)
    fractions = np.zeros(len(frames))
    for start in range(0, len(frames), _CHUNK):
        # The last chunk is filled up with the first rows again.
        rows = np.arange(start, start + _CHUNK) % len(frames)
        own = None if counts is None else counts[rows]
        guess = decode(encodings[rows, np.newaxis], num_objects=own).numpy()[:, 0]
        wrong = incorrect_pixels(guess, frames[rows])
        fractions[start : start + _CHUNK] = wrong[: len(frames) - start]
    return fractions
