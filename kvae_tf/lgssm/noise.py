"""Noise as an explicit value: a ``Sampler`` goes in wherever something is drawn.

A sampler draws noise for all rows of the whole batch and returns the rows of its own part, so that
the noise of a sequence does not depend on how a batch is divided into parts, or among the replicas
of a distributed training step. Replica r of n holds the r-th block of rows; its parts are blocks of
these rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from kvae_tf.errors import UserError


class Sampler(NamedTuple):
    """A source of noise for some rows of a batch; equal samplers draw equal noise.

    Attributes:
      seed: a stateless pair ``[2]``, int64.
      index: number of the part of this replica's rows, an int or a scalar int32 tensor; 0 by
        default.
      parts: number of parts of equal size that this replica's rows have, 1 by default.
    """

    seed: tf.Tensor
    index: int | tf.Tensor = 0
    parts: int = 1

    def split(self, number: int) -> list[Sampler]:
        """``number`` independent samplers for the same rows."""
        return [self._replace(seed=seed) for seed in tf.unstack(tf.random.split(self.seed, number))]

    def part(self, index: int | tf.Tensor, parts: int) -> Sampler:
        """The sampler of one of several equal blocks of these rows, with the same seed.

        Args:
          index: number of the block, from 0.
          parts: number of blocks.
        """
        return self._replace(index=self.index * parts + index, parts=self.parts * parts)

    def normal(self, shape, axis: int = 0, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Standard normal noise.

        Args:
          shape: shape of the noise of these rows.
          axis: axis of the rows, 0 by default.
          dtype: a float type, float32 by default.
        """
        return self.rows(
            lambda whole, seed: tf.random.stateless_normal(whole, seed, dtype=dtype), shape, axis
        )

    def uniform(self, shape, axis: int = 0) -> tf.Tensor:
        """Noise that is uniform in [0, 1), float32.

        Args:
          shape: shape of the noise of these rows.
          axis: axis of the rows, 0 by default.
        """
        return self.rows(tf.random.stateless_uniform, shape, axis)

    def rows(self, draw: Callable, shape, axis: int = 0) -> tf.Tensor:
        """These rows of a draw for the whole batch.

        Args:
          draw: maps a shape and a stateless pair to noise of that shape.
          shape: shape of the noise of these rows.
          axis: axis of the rows, 0 by default.
        """
        context = tf.distribute.get_replica_context()
        replicas = 1 if context is None else context.num_replicas_in_sync
        number = self.parts * replicas
        if number == 1:
            return draw(shape, self.seed)
        rank = self.index
        if replicas > 1:
            rank += self.parts * context.replica_id_in_sync_group
        shape = tf.convert_to_tensor(shape)
        size = shape[axis]
        whole = draw(tf.tensor_scatter_nd_update(shape, [[axis]], [size * number]), self.seed)
        noise = tf.gather(whole, tf.range(size) + rank * size, axis=axis)
        return tf.reshape(noise, shape)  # restores the static shape


def as_sampler(seed) -> Sampler:
    """A sampler for all rows of a batch; a ``Sampler`` is returned as it is.

    Args:
      seed: an int, a stateless pair of ints, or a ``Sampler``. Ints become int64, since a pair of
        another type is split into other seeds.

    Raises:
      UserError: ``seed`` is none of these.
    """
    if isinstance(seed, Sampler):
        return seed
    try:
        tensor = tf.convert_to_tensor(seed)
        fits = any(tensor.shape.is_compatible_with(shape) for shape in ([], [2]))
    except (TypeError, ValueError):
        fits = False
    if not fits or not tensor.dtype.is_integer:
        raise UserError(f"seed is {seed}, expected an int, a pair of ints or a Sampler")
    tensor = tf.cast(tensor, tf.int64)
    return Sampler(tf.stack([tf.zeros_like(tensor), tensor]) if tensor.shape.rank == 0 else tensor)
