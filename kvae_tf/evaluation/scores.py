"""How well frames fit a model: scores of sequences, their quantiles, and how well they tell."""

from __future__ import annotations

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import also_known, masked_batches
from kvae_tf.models.contract import Scores, VideoModel

WARM_UP = 4  # first frames of a sequence, in which a model does not know the motion yet
LEVELS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def frame_scores(model: VideoModel, data: SequenceData) -> Scores:
    """The scores of all frames as arrays ``[N, T]``, 0 where frames are missing.

    Args:
      model: a model that can ``score``.
      data: the sequences.
    """
    score = compiled_queries.score(model)
    parts = []
    for batch, rows in masked_batches(data, data.observed):
        found = score(
            batch["frames"],
            batch["observed"],
            batch["controls"],
            **also_known(model, batch),
        )
        parts.append([x.numpy()[: rows.stop - rows.start] for x in found])
    return Scores(*map(np.concatenate, zip(*parts, strict=True)))


def judged(observed: np.ndarray) -> np.ndarray:
    """The frames whose scores can be compared with each other: seen, and after the warm-up.

    Args:
      observed: ``[..., T]``, 1 = seen.

    Returns:
      ``[..., T]`` bool.
    """
    return (observed > 0) & (np.arange(observed.shape[-1]) >= WARM_UP)


def score_quantiles(scores: Scores, observed: np.ndarray) -> dict[str, object]:
    """What scores a model gives to frames in which nothing is wrong, as ``scores.json`` has it.

    Args:
      scores: arrays ``[N, T]``.
      observed: ``[N, T]``, 1 = seen.

    Returns:
      ``frames``, the number of frames that were judged; ``warm_up``, the number of first frames
      that were not; ``levels``, those of ``LEVELS`` for which there are enough frames; and
      ``quantiles``, name of a score -> its quantile at each level, nats. No levels where no frame
      was judged.
    """
    kept = judged(observed)
    count = int(kept.sum())
    levels = [level for level in LEVELS if level * count >= 1.0]
    return {
        "frames": count,
        "warm_up": WARM_UP,
        "levels": levels,
        "quantiles": {
            name: np.quantile(values[kept].astype(np.float64), levels).tolist() if levels else []
            for name, values in scores._asdict().items()
        },
    }


def score_threshold(table: dict[str, object], name: str, level: float) -> float:
    """The score below which a share of good frames lies, linear between the known levels.

    Args:
      table: as of ``score_quantiles``.
      name: of the score, a field of ``Scores``.
      level: the share, above 0 and at most 0.5.

    Raises:
      UserError: the table has no such score, or does not reach the level.
    """
    try:
        levels = np.asarray(table["levels"], np.float64)
        values = np.asarray(table["quantiles"][name], np.float64)
        fits = levels.ndim == 1 and levels.shape == values.shape and np.isfinite(values).all()
        fits = fits and bool(np.all(np.diff(levels) > 0))
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise UserError(f"the quantiles of scores have no {name}, expected levels and quantiles")
    if len(levels) == 0:
        raise UserError(
            f"the validation part has no frames after the first {WARM_UP} of a sequence, so it "
            "gives no quantiles: pass --threshold"
        )
    if not levels[0] <= level <= levels[-1]:
        raise UserError(
            f"--quantile is {level:g}, expected {levels[0]:g} to {levels[-1]:g}, as the "
            f"{table.get('frames')} frames of the validation part allow"
        )
    return float(np.interp(level, levels, values))


def lowest_mean(scores: np.ndarray, observed: np.ndarray, window: int) -> np.ndarray:
    """The lowest mean score of frames in a row, of each sequence.

    Args:
      scores: ``[N, T]``.
      observed: ``[N, T]``, 1 = seen; frames that are missing or of the warm-up do not count.
      window: number of frames in a row.

    Returns:
      ``[N]``; infinite where no window has a frame that counts.
    """
    kept = judged(observed)

    def sums(x):
        return np.lib.stride_tricks.sliding_window_view(x, window, axis=1).sum(-1)

    count = sums(kept.astype(float))
    means = sums(np.where(kept, scores, 0.0)) / np.maximum(count, 1.0)
    return np.where(count > 0, means, np.inf).min(axis=1)


def auroc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """Area under the ROC curve: the probability that an anomalous score is below a normal one.

    Ties count one half.

    Args:
      normal: scores of what is normal, ``[n]``.
      anomalous: scores of anomalies, ``[k]``.
    """
    ordered = np.sort(normal)
    above = len(normal) - np.searchsorted(ordered, anomalous, side="right")
    ties = len(normal) - above - np.searchsorted(ordered, anomalous, side="left")
    return float(np.mean((above + 0.5 * ties) / len(normal)))
