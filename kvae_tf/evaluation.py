"""Numbers that say how good a trained model is. Knows the models' contract, not the models.

Results are flat dictionaries of ``"group/name"`` to a number or a list, ready for
``metrics.json``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData, evaluation_batches, gap
from kvae_tf.models.base import SequenceModel

BATCH = 100


class Gap(NamedTuple):
    """Frames hidden for the imputation test: ``start`` to ``stop - 1``, counted from 0."""

    start: int
    stop: int


def middle_gap(num_steps: int) -> Gap:
    """The middle 40 % of a sequence: frames 5 … 10 of 15."""
    length = max(1, round(0.4 * num_steps))
    start = max(1, (num_steps - length + 1) // 2)
    return Gap(start, min(start + length, num_steps))


def bound(model: SequenceModel, data: SequenceData, prefix: str = "test") -> dict[str, float]:
    """The variational bound of held-out sequences.

    Args:
      model: any system.
      data: the sequences.
      prefix: the metrics' group.

    Returns:
      ``prefix/elbo_per_frame`` and ``prefix/<term>_per_frame``: nats per seen frame, summed over
      pixels, averaged over frames and sequences.
    """
    evaluate = tf.function(model.elbo)
    seed = tf.constant([model.noise_seed, 1], tf.int64)
    sums, weight = {}, 0.0
    for batch in evaluation_batches(data, min(BATCH, len(data))):
        result = evaluate(batch, seed)
        for name, value in {"elbo": result.elbo, **result.terms}.items():
            value = tf.reduce_sum(batch["weight"] * value / result.num_frames)
            sums[name] = sums.get(name, 0.0) + float(value)
        weight += float(tf.reduce_sum(batch["weight"]))
    return {f"{prefix}/{name}_per_frame": total / weight for name, total in sums.items()}


def imputation(
    model: SequenceModel, data: SequenceData, hidden: Gap | None = None
) -> dict[str, float]:
    """How well hidden frames are filled in.

    Args:
      model: a system that can ``impute``.
      data: the sequences.
      hidden: the frames to hide in every sequence; None: ``middle_gap``.

    Returns:
      ``imputation/smooth_rmse``, ``imputation/filter_rmse`` and, for comparison,
      ``imputation/last_frame_rmse`` (the last seen frame repeated): root mean squared error of a
      pixel over the hidden frames; ``imputation/hidden_frames``: the two ends of the gap.
    """
    hidden = hidden or middle_gap(data.num_steps)
    impute = tf.function(model.impute)
    inside = slice(*hidden)
    errors = {"smooth": [], "filter": [], "last_frame": []}
    for batch in evaluation_batches(data, min(BATCH, len(data))):
        frames, observed = batch["frames"].numpy(), batch["observed"].numpy()
        mask = observed * gap(*observed.shape, *hidden)
        # Only frames that are known can be compared; padding rows do not count.
        counted = (observed[:, inside] > 0) & (batch["weight"].numpy()[:, np.newaxis] > 0)
        guesses = {
            method: impute(frames, mask, batch["controls"], method=method).frames.numpy()
            for method in ("smooth", "filter")
        }
        guesses["last_frame"] = last_seen(frames, mask)
        for name, guess in guesses.items():
            squared = np.mean(np.square(guess - frames), axis=(2, 3, 4))[:, inside]
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


def evaluate(model: SequenceModel, data: SequenceData) -> dict[str, object]:
    """Everything that ``metrics.json`` says of the test part.

    Args:
      model: any system.
      data: the test sequences.

    Returns:
      The metrics of ``bound``, and of ``imputation`` where the model can impute.
    """
    metrics = dict(bound(model, data))
    likelihood = getattr(model, "likelihood", None)
    if hasattr(likelihood, "variance_floor"):
        metrics["test/variance_floor"] = likelihood.variance_floor
    if "impute" in model.supports and data.num_steps >= 3:
        metrics |= imputation(model, data)
    return metrics
