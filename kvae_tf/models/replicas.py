"""What a replica of a distributed training step does together with the others.

A global batch is dealt out by rows: replica r of n holds the r-th part. Noise is drawn for the
whole batch, of which a replica takes its rows, and gradients are averaged before they are clipped,
so that a step does the same however many replicas share it. Outside of a distribution strategy
there is one replica, and nothing changes. A replica may also work off its rows in parts, one after
another, to the same effect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_part_of_batch = (0, 1)  # which of how many


@contextlib.contextmanager
def part(index: tf.Tensor, number: int) -> Iterator[None]:
    """Noise drawn in this context is that of the ``index``-th of ``number`` parts of the rows."""
    global _part_of_batch
    before, _part_of_batch = _part_of_batch, (index, number)
    try:
        yield
    finally:
        _part_of_batch = before


def count() -> int:
    """How many replicas share a step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def normal(shape, seed, axis: int = 0) -> tf.Tensor:
    """Standard normal noise of this replica's part of the batch.

    Args:
      shape: of the part.
      seed: a stateless pair, the same on all replicas.
      axis: that of the batch.
    """
    return _rows(tf.random.stateless_normal, shape, seed, axis)


def uniform(shape, seed, axis: int = 0) -> tf.Tensor:
    """Noise as ``normal``, uniform in [0, 1)."""
    return _rows(tf.random.stateless_uniform, shape, seed, axis)


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


def _rows(draw, shape, seed, axis):
    """Of noise for the whole batch these rows."""
    (index, parts), replicas = _part_of_batch, count()
    number = parts * replicas
    if number == 1:
        return draw(shape, seed)
    rank = index
    if replicas > 1:
        rank += parts * tf.distribute.get_replica_context().replica_id_in_sync_group
    shape = tf.convert_to_tensor(shape)
    size = shape[axis]
    whole = draw(tf.tensor_scatter_nd_update(shape, [[axis]], [size * number]), seed)
    return tf.gather(whole, tf.range(size) + rank * size, axis=axis)
