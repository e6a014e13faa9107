"""Whether a model knows how much it does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import also_known, masked_batches
from kvae_tf.models.contract import VideoModel

ALL = "all"


class Calibration(NamedTuple):
    """How well the normal distributions of filled-in encodings fit the encodings of true frames.

    Attributes:
      frames: number of frames that were compared.
      coverage: fraction of encodings inside the central interval, at each level.
      crps: mean continuous ranked probability score of each of the m dimensions, in standard
        deviations of that dimension over all frames of the data; less is better. None for a
        dimension that is the same in all frames, or never of an object that is there.
    """

    frames: int
    coverage: list[float]
    crps: list[float | None]


def coverage(
    model: VideoModel,
    data: SequenceData,
    mask: np.ndarray,
    levels: Sequence[float] = (0.9,),
    seed: int = 0,
) -> dict[str, list[float]]:
    """How often the central interval of a filled-in encoding holds the encoding of the true frame.

    Args:
      model: a model that can ``impute``.
      data: the sequences.
      mask: ``[N, T]``, 1 = seen; see ``calibration``.
      levels: probabilities of the intervals; a calibrated model covers as often.
      seed: of the draws.

    Returns:
      Method of imputation -> fraction at each level.
    """
    found = calibration(model, data, mask, levels, seed=seed)
    return {method: parts[ALL].coverage for method, parts in found.items()}


def calibration(
    model: VideoModel,
    data: SequenceData,
    mask: np.ndarray,
    levels: Sequence[float] = (0.9,),
    parts: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Calibration]]:
    """Coverage and CRPS of filled-in encodings, of all hidden frames and of parts of them.

    What is filled in is the distribution of the encoding a_t, not of its mean, so it is compared
    with one draw of q(a_t | x_t) of the true frame. A model without ``encode`` has no such q: the
    draw is that of the state at t given all frames that the data have, Gaussian with the moments
    that ``impute`` gives. Where the encoder has no noise (standard deviation 0) the draw is the
    encoding itself.

    Args:
      model: a model that can ``impute``.
      data: the sequences.
      mask: ``[N, T]``, 1 = seen. Counted are the hidden frames that the data have, each dimension
        of an encoding by itself, without the encodings of objects that a sequence does not show.
      levels: probabilities of the intervals; a calibrated model covers as often.
      parts: name -> frames ``[N, T]`` bool; None: all frames only (default).
      seed: of the draws.

    Returns:
      Method of imputation -> ``"all"`` and each part in which frames are hidden, as a
      ``Calibration``.

    Raises:
      UserError: no frame is hidden.
    """
    truth, known, hidden, filled = _compared(model, data, mask, seed)
    if not hidden.any():
        raise UserError("the mask hides no frame that the data have, expected some to compare")
    spread = [float(np.std(truth[known[..., i], i])) for i in range(truth.shape[-1])]
    widths = [ndtri(0.5 + 0.5 * level) for level in levels]
    where = {ALL: np.ones(hidden.shape[:2], bool)} | dict(parts or {})
    counted = {name: hidden & part[..., np.newaxis] for name, part in where.items()}
    found = {}
    for method, (mean, std) in filled.items():
        # An interval of width 0 holds what it meets exactly.
        off, scores = np.abs(mean - truth), crps(truth, mean, std)
        found[method] = {
            name: Calibration(
                int(part.any(axis=-1).sum()),
                [float(np.mean((off <= width * std)[part])) for width in widths],
                [_ratio(scores[part[..., i], i], scale) for i, scale in enumerate(spread)],
            )
            for name, part in counted.items()
            if part.any()
        }
    return found


def deviations(
    model: VideoModel, data: SequenceData, mask: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """Errors of filled-in encodings in their own standard deviations.

    Args:
      model: a model that can ``impute``.
      data: the sequences.
      mask: ``[N, T]``, 1 = seen; see ``calibration``.
      seed: of the draws.

    Returns:
      Method of imputation -> one value for each dimension of each hidden frame, not negative;
      infinite where an encoding of standard deviation 0 is wrong.
    """
    truth, _, hidden, filled = _compared(model, data, mask, seed)
    found = {}
    for method, (mean, std) in filled.items():
        off, std = np.abs(mean - truth)[hidden].astype(float), std[hidden]
        known = np.where(off > 0, np.inf, 0.0)
        found[method] = np.divide(off, std, out=known, where=std > 0)
    return found


def crps(truth: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Continuous ranked probability scores of normal distributions, in the truth's unit.

    ∫ (F(x) - [x >= truth])² dx, in closed form (Gneiting & Raftery 2007, section 4.2, with the sign
    turned: less is better).

    Args:
      truth: ``[...]``, what came true.
      mean: ``[...]``.
      std: ``[...]``, not negative; where it is 0 the score is the absolute error.

    Returns:
      ``[...]``.
    """
    off, std = np.abs(np.asarray(truth, float) - mean), np.asarray(std, float)
    positive = np.where(std > 0, std, 1.0)
    z = off / positive
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    score = z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / np.sqrt(np.pi)
    return np.where(std > 0, positive * score, off)


def _compared(model, data, mask, seed):
    """Draws of the true encodings, which are known and which hidden, and what was filled in.

    All are ``[N, T, m]``; what was filled in is method -> (means, standard deviations).
    """
    fill = compiled_queries.fill_moments(model)
    moments = compiled_queries.encoding_moments(model)
    rng = np.random.default_rng(seed)
    truth, known, hidden = [], [], []
    filled = {method: ([], []) for method in model.imputation_methods}
    for batch, rows in masked_batches(data, mask):
        kept = rows.stop - rows.start  # the rows after them only fill up the batch
        inputs = batch["frames"], batch["observed"], batch["controls"]
        counts = batch.get("num_objects")
        of = also_known(model, batch)
        mean, std = moments(batch["frames"], batch["known"], batch["controls"], **of)
        draw = mean.numpy() + std.numpy() * rng.normal(size=mean.shape)
        there = _is_present(counts, model.max_objects, mean.shape[-1])
        own = (batch["known"] > 0)[..., np.newaxis] & there
        truth.append(draw[:kept])
        known.append(own[:kept])
        hidden.append((own & ~(batch["observed"] > 0)[..., np.newaxis])[:kept])
        for method, (means, stds) in filled.items():
            one, two = fill(*inputs, method=method, **of)
            means.append(one.numpy()[:kept])
            stds.append(two.numpy()[:kept])
    joined = {name: tuple(map(np.concatenate, both)) for name, both in filled.items()}
    return *map(np.concatenate, (truth, known, hidden)), joined


def _ratio(scores, scale):
    """Mean score in units of ``scale``; None where there is none."""
    return float(scores.mean() / scale) if scores.size and scale > 0 else None


def _is_present(counts, max_objects, size):
    """Whether a dimension of the encodings is of an object that is there, ``[B, 1, m]``."""
    if counts is None or not max_objects:
        return np.ones((1, 1, size), bool)
    present = np.arange(max_objects) < np.reshape(counts, (-1, 1))
    return np.repeat(present, size // max_objects, axis=1)[:, np.newaxis]
