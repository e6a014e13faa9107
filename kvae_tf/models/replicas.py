"""How the replicas of a distributed training step make one gradient of theirs.

A global batch is dealt out by rows: replica r of n holds the r-th part. Gradients are averaged
before they are clipped, so that with the noise of ``lgssm.Sampler``, which is that of the whole
batch, a step does the same however many replicas share it. Outside of a distribution strategy there
is one replica, and nothing changes.
"""

from __future__ import annotations

import tensorflow as tf


def count() -> int:
    """How many replicas share a step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def mean(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """The gradients of the whole batch's mean loss from those of its parts', on all replicas."""
    number = count()
    if number == 1:
        return gradients
    parts = [gradient / number for gradient in gradients]
    return tf.distribute.get_replica_context().all_reduce("SUM", parts)


def share(gradients: list[tf.Tensor], norm: tf.Tensor, clip_norm: float | None) -> list[tf.Tensor]:
    """This replica's share of clipped gradients, since Keras' optimisers add them up.

    Args:
      gradients: of the whole batch.
      norm: their global norm.
      clip_norm: the largest that they may have, None for any.

    Returns:
      The shares; one replica leaves the clipping to the optimiser.
    """
    number = count()
    if number == 1:
        return gradients
    if clip_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
    return [gradient / number for gradient in gradients]


def reported(values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What a step reports, in the form that Keras can average: it wants an axis for workers."""
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return values
    return {name: value[tf.newaxis] for name, value in values.items()}
