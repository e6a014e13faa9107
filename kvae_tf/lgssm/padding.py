"""Few shapes for many: numbers of sequences and steps are rounded up, results are cut back.

Steps that are added at the end are not observed, and no transition leads to them, so they change
nothing before them, not even by rounding; sequences that are added are dropped.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.lgssm.model import LGSSM

_INITIAL = ("initial_mean", "initial_covariance")
_NOISES = ("transition_noise", "emission_noise")


def rounded_up(size: int) -> int:
    """The next power of two, or three quarters of it from 12 on: 1, 2, 4, 8, 12, 16, 24, 32, 48.

    Args:
      size: a positive number.
    """
    power = 1 << (size - 1).bit_length()
    return power * 3 // 4 if power >= 16 and size <= power * 3 // 4 else power


def pad(x: tf.Tensor, sizes: dict[int, int], value: float = 0.0) -> tf.Tensor:
    """A tensor with entries added at the end of some axes.

    Args:
      x: a tensor of known shape.
      sizes: axis -> its new length.
      value: that of the entries, 0 by default.
    """
    missing = [sizes.get(axis, length) - length for axis, length in enumerate(x.shape)]
    if not any(missing):
        return x
    return tf.pad(x, [[0, number] for number in missing], constant_values=value)


def pad_model(model: LGSSM, batch_size: int, num_steps: int) -> LGSSM:
    """A checked model whose batch and time axes are longer; axes it lacks, or of length 1, stay.

    Args:
      model: the matrices, of known shapes.
      batch_size: number B of sequences from now on.
      num_steps: number T of steps from now on.
    """
    ranks = model.step_ranks()
    fields = {}
    for name, x in model._asdict().items():
        if x is not None and x.shape.rank > ranks[name]:
            lead = [batch_size] if name in _INITIAL else [batch_size, num_steps]
            sizes = {axis: size for axis, size in enumerate(lead) if x.shape[axis] != 1}
            # Variances of 1, so that nothing is divided by 0.
            fields[name] = pad(x, sizes, 1.0 if name in _NOISES else 0.0)
    return model._replace(**fields)


def cut(results, batch: int, num_steps: int, axis: int = 0):
    """Results without their last sequences and steps.

    Args:
      results: a nest of tensors, ``[B]`` or ``[B, T, ...]``.
      batch: number of sequences to leave out.
      num_steps: number of steps to leave out.
      axis: where the axes B and T begin, 0 by default.
    """
    if not (batch or num_steps):
        return results

    def cut_one(x):
        size = list(x.shape)
        size[axis] -= batch
        if len(size) > axis + 1:
            size[axis + 1] -= num_steps
        return tf.slice(x, [0] * len(size), size)

    return tf.nest.map_structure(cut_one, results)


def end_at(model: LGSSM, num_steps: tf.Tensor | None) -> LGSSM:
    """A model with all its axes in which no transition leads past the last step.

    Args:
      model: fields ``[B, T, ...]``.
      num_steps: number of steps that are not padding; None: all, and nothing is done.
    """
    if num_steps is None:
        return model
    inside = tf.range(tf.shape(model.transition)[1]) < num_steps - 1
    zeros = tf.zeros_like(model.transition)
    return model._replace(
        transition=tf.where(inside[:, tf.newaxis, tf.newaxis], model.transition, zeros)
    )
