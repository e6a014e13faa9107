"""Gradients of a distributed training step: averaged over the replicas, then clipped.

Replica r of n holds the r-th part of the rows of a global batch. Gradients are averaged before they
are clipped, and ``lgssm.Sampler`` draws the noise of the whole batch: so an update does not depend
on the number of replicas. Outside of a distribution strategy there is one replica, and gradients
stay as they are.
"""

from __future__ import annotations

import tensorflow as tf


def count() -> int:
    """Number of replicas that share a step, 1 outside of a strategy."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def mean(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Gradients of the mean loss of the whole batch.

    Args:
      gradients: gradients of the mean loss of this replica's part.
    """
    number = count()
    if number == 1:
        return gradients
    parts = [gradient / number for gradient in gradients]
    return tf.distribute.get_replica_context().all_reduce("SUM", parts)


def share(gradients: list[tf.Tensor], norm: tf.Tensor, clip_norm: float | None) -> list[tf.Tensor]:
    """This replica's share of the clipped gradients; Keras' optimisers add the shares up.

    Args:
      gradients: gradients of the whole batch.
      norm: global norm of ``gradients``, a scalar.
      clip_norm: largest global norm that is allowed; None: any.

    Returns:
      The clipped gradients divided by the number of replicas. With one replica, ``gradients`` as
      they are: the optimiser clips them.
    """
    number = count()
    if number == 1:
        return gradients
    if clip_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
    return [gradient / number for gradient in gradients]


def reported(values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Reported values in the form that Keras averages: with several workers they need an axis."""
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return values
    return {name: value[tf.newaxis] for name, value in values.items()}
