"""What all systems do with the tensors they are given: masks, absent controls, seeds, time."""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.models.base import Frames

_INPUTS = ("frames", "observed", "controls")


def inputs(batch: dict[str, tf.Tensor], control_size: int):
    """``tensors`` of a batch, in which all but the frames may be absent."""
    return tensors(*(batch.get(name) for name in _INPUTS), control_size)


def tensors(frames, observed, controls, control_size: int):
    """Float32 tensors: unobserved frames blanked, absent controls zero.

    Args:
      frames: ``[B, T, H, W, C]``; anything where unobserved.
      observed: ``[B, T]``, 1 = seen, or None.
      controls: ``[B, T, U]`` or None.
      control_size: U.

    Returns:
      ``frames``, ``observed`` (None stays None) and ``controls``.
    """
    frames = tf.convert_to_tensor(frames, dtype=tf.float32)
    if observed is not None:
        observed = tf.cast(observed, tf.float32)
        # Masked before any arithmetic, so that a NaN there reaches nothing.
        frames = tf.where(observed[..., None, None, None] > 0, frames, 0.0)
    shape = tf.shape(frames)
    if controls is None:
        controls = tf.zeros([shape[0], shape[1], control_size])
    return frames, observed, tf.cast(controls, tf.float32)


def some_steps(count: int, seed: tf.Tensor, *sequences: tf.Tensor):
    """The same ``count`` time steps, drawn without replacement, of several ``[B, T, ...]``.

    Args:
      count: so many steps; 0: all.
      seed: a stateless pair.
      *sequences: tensors of one length T.

    Returns:
      The tensors, and the factor that makes a sum over these steps an unbiased estimate of the sum
      over all.
    """
    if not count:
        return *sequences, 1.0
    length = tf.shape(sequences[0])[1]
    steps = tf.random.experimental.stateless_shuffle(tf.range(length), seed)[:count]
    scale = tf.cast(length, tf.float32) / tf.cast(tf.shape(steps)[0], tf.float32)
    return *(tf.gather(x, steps, axis=1) for x in sequences), scale


def pad_controls(controls, batch_size, num_steps, control_size: int) -> tf.Tensor:
    """Controls ``[B, S, U]`` made ``num_steps`` long with zeros, or cut; zeros if None."""
    if controls is None:
        return tf.zeros([batch_size, num_steps, control_size])
    controls = tf.cast(controls, tf.float32)
    rest = tf.maximum(num_steps - tf.shape(controls)[1], 0)
    return tf.pad(controls, [[0, 0], [0, rest], [0, 0]])[:, :num_steps]


def pair(seed) -> tf.Tensor:
    """A stateless pair; an int becomes one."""
    seed = tf.convert_to_tensor(seed)
    return tf.stack([tf.zeros_like(seed), seed]) if seed.shape.rank == 0 else seed


def forecast_by_imputation(model, frames, observed, controls, num_steps) -> Frames:
    """The steps after the given ones as missing frames, filled in from the earlier ones.

    Args:
      model: a system that can ``impute``.
      frames: ``[B, T, H, W, C]``, the context.
      observed: ``[B, T]`` or None.
      controls: ``[B, S, U]`` with T - 1 <= S; what lies beyond S is zero.
      num_steps: K.

    Returns:
      ``Frames`` of K steps.
    """
    frames = tf.cast(frames, tf.float32)
    batch_size, length = tf.shape(frames)[0], tf.shape(frames)[1]
    observed = tf.ones([batch_size, length]) if observed is None else observed
    blank = tf.zeros([batch_size, num_steps, *model.frame_shape])
    mask = tf.concat([tf.cast(observed, tf.float32), tf.zeros([batch_size, num_steps])], axis=1)
    result = model.impute(
        tf.concat([frames, blank], axis=1),
        mask,
        pad_controls(controls, batch_size, length + num_steps, model.control_size),
        method="filter",
    )
    return Frames(*(x[:, length:] for x in result))
