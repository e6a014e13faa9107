"""Noise as an explicit value: a ``Sampler`` goes in wherever something is drawn.

It draws for the rows of the whole batch and gives those of its part, so that a batch dealt out to
parts or to the replicas of a distributed training step meets the noise of the whole. Replica r of
n holds the r-th block of rows, of which a part is a block again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from kvae_tf.errors import UserError


class Sampler(NamedTuple):
    """A source of noise for some rows of a batch; the same one draws the same noise.

    Attributes:
      seed: a stateless pair ``[2]``, int64.
      index: which part of this replica's rows it draws for, an int or a scalar int32 tensor.
      parts: how many parts of equal size these rows have.
    """

    seed: tf.Tensor
    index: int | tf.Tensor = 0
    parts: int = 1

    def split(self, number: int) -> list[Sampler]:
        """So many independent samplers for the same rows."""
        return [self._replace(seed=seed) for seed in tf.unstack(tf.random.split(self.seed, number))]

    def part(self, index: int | tf.Tensor, parts: int) -> Sampler:
        """The sampler of one of several equal blocks of these rows; the seed stays."""
        return self._replace(index=self.index * parts + index, parts=self.parts * parts)

    def normal(self, shape, axis: int = 0, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Standard normal noise.

        Args:
          shape: that of these rows' noise.
          axis: that of the rows.
          dtype: a float type.
        """
        return self.rows(
            lambda whole, seed: tf.random.stateless_normal(whole, seed, dtype=dtype), shape, axis
        )

    def uniform(self, shape, axis: int = 0) -> tf.Tensor:
        """Noise that is uniform in [0, 1), float32.

        Args:
          shape: that of these rows' noise.
          axis: that of the rows.
        """
        return self.rows(tf.random.stateless_uniform, shape, axis)

    def rows(self, draw: Callable, shape, axis: int = 0) -> tf.Tensor:
        """These rows of what is drawn for the whole batch.

        Args:
          draw: maps a shape and a stateless pair to noise of that shape.
          shape: that of these rows' noise.
          axis: that of the rows.
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
        found = tf.gather(whole, tf.range(size) + rank * size, axis=axis)
        return tf.reshape(found, shape)  # tells what is known of the shape


def as_sampler(seed) -> Sampler:
    """A sampler for all rows of a batch; a ``Sampler`` stays what it is.

    Args:
      seed: an int, a stateless pair of ints, or a ``Sampler``. Seeds become int64, since pairs of
        another type are split into other seeds.

    Raises:
      UserError: it is none of these.
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
