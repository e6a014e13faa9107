r"""A long series as blocks of steps side by side, and what joins the blocks.

T steps become about √T blocks of about √T steps, which a loop over the steps of a block treats as
one batch. What each block needs from its neighbour follows from a summary of every block, by a
loop over the blocks:

- Forward, a block starts at the state z that its first step predicts. From a known z = 0 the
  filter gives, in a block of gains K and maps F = A (I - K C) ..., the moments x, U Uᵀ of the next
  block's z given this one, its map Φ, and the innovations' density, which says of z as much as n
  scalar observations do,

      z' ~ N(Φ z + x, U Uᵀ),    ζ = Zᵀ z + N(0, I).

  So blocks form a state-space model of their own, with one step a block.
- Backward, recursions are affine, x <- F x' + a, P <- F P' Fᵀ + L, and so are their products.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from kvae_tf.lgssm import roots, steps
from kvae_tf.lgssm.sequential import BatchLastLGSSM, scan


class Blocks(NamedTuple):
    """How T steps lie in blocks; the last steps of the last block may be padding.

    Attributes:
      number: number K of blocks.
      length: number L of steps of a block.
      num_steps: T, at most K L.
    """

    number: int | tf.Tensor
    length: int | tf.Tensor
    num_steps: int | tf.Tensor

    @classmethod
    def of(cls, num_steps: int | tf.Tensor) -> Blocks:
        """Blocks whose number is about their length.

        Args:
          num_steps: T, an int or scalar tensor.
        """
        if isinstance(num_steps, int):
            length = math.isqrt(num_steps - 1) + 1
        else:
            length = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(num_steps, tf.float64))), tf.int32)
        return cls(-(-num_steps // length), length, num_steps)

    def split(self, x: tf.Tensor) -> tf.Tensor:
        """``[T, ..., B] -> [L, ..., K B]``, zero in the steps that are padding."""
        middle, batch = x.shape[1:-1], steps.length(x, -1)
        missing = self.number * self.length - self.num_steps
        x = tf.pad(x, [[0, missing], *[[0, 0]] * (x.shape.rank - 1)])
        x = tf.reshape(x, [self.number, self.length, *middle, batch])
        x = tf.transpose(x, [1, *range(2, x.shape.rank - 1), 0, x.shape.rank - 1])
        return tf.reshape(x, [self.length, *middle, self.number * batch])

    def merge(self, x: tf.Tensor) -> tf.Tensor:
        """``[L, ..., K B] -> [T, ..., B]``."""
        middle = x.shape[1:-1]
        x = tf.reshape(x, [self.length, *middle, self.number, self._batch(x)])
        x = tf.transpose(x, [x.shape.rank - 2, *range(x.shape.rank - 2), x.shape.rank - 1])
        x = tf.reshape(x, [self.number * self.length, *middle, steps.length(x, -1)])
        return x[: self.num_steps]

    def apart(self, x: tf.Tensor) -> tf.Tensor:
        """``[..., K B] -> [K, ..., B]``."""
        x = tf.reshape(x, [*x.shape[:-1], self.number, self._batch(x)])
        return tf.transpose(x, [x.shape.rank - 2, *range(x.shape.rank - 2), x.shape.rank - 1])

    def together(self, x: tf.Tensor) -> tf.Tensor:
        """``[K, ..., B] -> [..., K B]``."""
        middle, batch = x.shape[1:-1], steps.length(x, -1)
        x = tf.transpose(x, [*range(1, x.shape.rank - 1), 0, x.shape.rank - 1])
        return tf.reshape(x, [*middle, self.number * batch])

    def tile(self, x: tf.Tensor) -> tf.Tensor:
        """The same for every block: ``[..., B] -> [..., K B]``."""
        return tf.tile(x, [*[1] * (x.shape.rank - 1), self.number])

    def _batch(self, x):
        return steps.length(x, -1) // self.number

    def split_model(self, ssm: BatchLastLGSSM) -> BatchLastLGSSM:
        """A model of ``[L, ..., K B]``; no transition leads past the last step.

        The initial moments stay those of the first block, ``[n, B]`` and ``[n, n, B]``.
        """
        last = tf.zeros_like(ssm.transition[:1])
        transition = tf.concat([ssm.transition[:-1], last], axis=0)
        fields = ssm._replace(transition=transition)._asdict()
        for name in fields.keys() - {"initial_mean", "initial_covariance"}:
            fields[name] = self.split(fields[name])
        return BatchLastLGSSM(**fields)


def starts(
    blocks: Blocks, ssm: BatchLastLGSSM, initial_root: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean and a root of the covariance of the state that the first step of a block predicts.

    Args:
      blocks: how the steps lie in blocks.
      ssm: as ``Blocks.split_model`` gives it.
      initial_root: ``[n, n, B]``, a root of the initial covariance.

    Returns:
      ``[n, K B]`` and ``[n, n, K B]``.
    """

    def step(carry, inputs):
        mean, root = carry
        Z, map_, offset, noise_root = inputs
        observation, emission = Z[-1], steps.transpose(Z[:-1])
        ones = tf.ones_like(observation)
        seen = roots.update(mean, root, observation, ones, emission, ones)
        return roots.predict(seen.mean, seen.covariance, map_, offset, noise_root), carry

    start = (ssm.initial_mean, initial_root)
    summaries = tuple(map(blocks.apart, _summaries(ssm)))
    _, before = scan(step, start, summaries, [x.shape for x in start])
    return tuple(map(blocks.together, before))


def _summaries(ssm):
    """[Z; ζᵀ], Φ, x and U of every block (see the module's equations)."""
    m, n = ssm.emission.shape[1:3]
    batch = ssm.emission.shape[-1]

    def step(carry, inputs):
        mean, root, map_ = carry
        transition, offset, noise_root, emission, r, observation, observed = inputs
        seen = roots.update(mean, root, observation, observed, emission, r)
        rows = []
        for i in range(m):
            row = steps.matvec(steps.transpose(map_), emission[i])
            map_ = map_ - steps.outer(seen.gains[i], row)
            row = tf.concat([row, tf.expand_dims(seen.innovations[i], 0)], axis=0)
            rows.append(row * (observed[i] / tf.sqrt(seen.variances[i])))
        mean, root = roots.predict(seen.mean, seen.covariance, transition, offset, noise_root)
        return (mean, root, steps.matmul(transition, map_)), (tf.stack(rows),)

    zeros = tf.zeros_like(ssm.transition[0])
    start = (zeros[0], zeros, steps.add_diagonal(zeros, tf.ones_like(zeros[0])))
    inputs = (*ssm[:2], tf.sqrt(ssm.transition_noise), *ssm[3:5], ssm.observations, ssm.observed)
    (mean, root, map_), (rows,) = scan(step, start, inputs, [[m, n + 1, batch]])
    # All that a block saw, in as few numbers: rows of a joint triangle.
    rows = tf.reshape(tf.transpose(rows, [2, 0, 1, 3]), [n + 1, -1, steps.length(rows, -1)])
    rows = tf.pad(rows, [[0, 0], [0, n], [0, 0]])
    return roots.triangle(rows, n), map_, mean, root


def affine(blocks: Blocks, maps: tf.Tensor, offsets: tf.Tensor, spreads: tf.Tensor):
    """The recursion x_t = F_t x_{t+1} + a_t, P_t = F_t P_{t+1} F_tᵀ + L_t from zero at the end.

    Args:
      blocks: how the steps lie in blocks.
      maps: F, ``[L, n, n, K B]``.
      offsets: a, ``[L, n, K B]``.
      spreads: L, ``[L, n, n, K B]``, symmetric.

    Returns:
      x ``[L, n, K B]`` and P ``[L, n, n, K B]``.
    """

    def compose(carry, inputs):
        *moments, whole = carry
        moments = _affine_step(moments, inputs)
        return (*moments, steps.matmul(inputs[0], whole)), ()

    def step(carry, inputs):
        carry = _affine_step(carry, inputs)
        return carry, carry

    zeros = tf.zeros_like(maps[0])
    eye = steps.add_diagonal(zeros, tf.ones_like(zeros[0]))
    given = (maps, offsets, spreads)
    (x, P, whole), _ = scan(compose, (zeros[0], zeros, eye), given, [], reverse=True)
    ends = ends_of(blocks, whole, x, P)
    shapes = [zeros.shape[1:], zeros.shape]
    return scan(step, ends, given, shapes, reverse=True)[1]


def ends_of(blocks: Blocks, maps: tf.Tensor, x: tf.Tensor, P: tf.Tensor):
    """What an affine recursion, which comes from behind, brings to the end of every block.

    Args:
      blocks: how the steps lie in blocks.
      maps: ``[n, n, K B]``, the product of the F of a block.
      x: ``[n, K B]``, its x from zero.
      P: ``[n, n, K B]``, its P from zero.

    Returns:
      ``[n, K B]`` and ``[n, n, K B]``, zero for the last block.
    """
    inputs = tuple(map(blocks.apart, (maps, x, P)))
    start = tuple(tf.zeros_like(x[0]) for x in inputs[1:])
    _, ends = scan(
        lambda carry, inputs: (_affine_step(carry, inputs), carry),
        start,
        inputs,
        [x.shape for x in start],
        reverse=True,
    )
    return tuple(map(blocks.together, ends))


def _affine_step(moments, inputs):
    x, P = moments
    F, offset, spread = inputs
    return steps.matvec(F, x) + offset, steps.congruence(F, P) + spread
