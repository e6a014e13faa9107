"""The variational bound of held-out sequences, and its importance-weighted tightening."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData, evaluation_batches
from kvae_tf.errors import UserError
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import BATCH
from kvae_tf.models.contract import VideoModel


def bound(model: VideoModel, data: SequenceData, prefix: str = "test") -> dict[str, float]:
    """The variational bound of held-out sequences.

    Args:
      model: any model.
      data: the sequences.
      prefix: the metrics' group.

    Returns:
      ``prefix/elbo_per_frame`` (or another ``bound_name``) and ``prefix/<term>_per_frame``: nats
      per seen frame, summed over pixels, averaged over frames and sequences.
    """
    evaluate = compiled_queries.elbo(model)
    seed = tf.constant([model.noise_seed, 1], tf.int64)
    sums, weight = {}, 0.0
    for batch in evaluation_batches(data, min(BATCH, len(data))):
        result = evaluate(batch, seed)
        for name, value in {model.bound_name: result.elbo, **result.terms}.items():
            value = tf.reduce_sum(batch["weight"] * value / result.num_frames)
            sums[name] = sums.get(name, 0.0) + float(value)
        weight += float(tf.reduce_sum(batch["weight"]))
    return {f"{prefix}/{name}_per_frame": total / weight for name, total in sums.items()}


def importance_bound(
    model: VideoModel, data: SequenceData, num_samples: int = 64, seed: int = 0
) -> float:
    """The importance-weighted bound (Burda et al. 2016), log mean_k exp(elbo_k) for each sequence.

    An ``elbo`` from one sample of q is the logarithm of an importance weight p(x, a) / q(a | x), so
    it takes nothing but several of them. The result grows with ``num_samples`` towards
    log p(x | u).

    Args:
      model: a model whose ``elbo`` is such a logarithm, as ``elbo_is_log_weight`` says.
      data: the sequences.
      num_samples: K.
      seed: of the samples.

    Returns:
      Nats per seen frame, averaged over sequences.

    Raises:
      UserError: the model's ``elbo`` is no such logarithm.
    """
    if not model.elbo_is_log_weight:
        raise UserError(
            f"the model has elbo_is_log_weight {model.elbo_is_log_weight}, expected a model whose "
            "elbo is the logarithm of an importance weight"
        )
    evaluate = compiled_queries.elbo(model)
    total, weight = 0.0, 0.0
    for batch in evaluation_batches(data, min(BATCH, len(data))):
        samples = [
            evaluate(batch, tf.constant([seed, 1000 + k], tf.int64)) for k in range(num_samples)
        ]
        logs = np.stack([sample.elbo.numpy() for sample in samples]).astype(np.float64)
        top = logs.max(axis=0)
        values = top + np.log(np.mean(np.exp(logs - top), axis=0))
        kept = batch["weight"].numpy()
        total += float(np.sum(kept * values / samples[0].num_frames.numpy()))
        weight += float(kept.sum())
    return total / weight
