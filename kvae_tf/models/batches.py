"""What all systems do with the tensors they are given: masks, absent controls, time."""

from __future__ import annotations

import math

import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import Sampler
from kvae_tf.models.base import Frames

_INPUTS = ("frames", "observed", "controls")
_ROUND = 32  # frames


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


def some_seen(count: int, sampler: Sampler, seen: tf.Tensor, *sequences: tf.Tensor):
    """``count`` frames of each sequence, drawn without replacement from those that were seen.

    Args:
      count: so many frames; 0: all.
      sampler: of the B sequences' noise.
      seen: ``[B, T]``, 1 = seen.
      *sequences: several ``[B, T, ...]``.

    Returns:
      ``seen [B, count]``, whose zeros fill up where fewer were seen; the factor ``[B, 1]`` that
      makes a sum over the drawn frames an unbiased estimate of the sum over all that were seen; and
      the sequences ``[B, count, ...]``.
    """
    if not count:
        return seen, tf.ones_like(seen[:, :1]), *sequences
    order = seen + sampler.uniform(tf.shape(seen))
    steps = tf.math.top_k(order, tf.minimum(count, tf.shape(seen)[1])).indices
    kept = tf.gather(seen, steps, batch_dims=1)
    drawn = tf.maximum(tf.reduce_sum(kept, axis=1, keepdims=True), 1.0)
    scale = tf.reduce_sum(seen, axis=1, keepdims=True) / drawn
    return kept, scale, *(tf.gather(x, steps, batch_dims=1) for x in sequences)


def of_seen(encode, frames: tf.Tensor, seen: tf.Tensor):
    """``encode(frames)`` at no cost for frames that were not seen: there mean 0 and std 1.

    Args:
      encode: maps frames ``[N, H, W, C]`` to means and stds ``[N, m]``.
      frames: ``[B, T, H, W, C]``.
      seen: ``[B, T]``, 1 = seen.

    Returns:
      Means and stds ``[B, T, m]``. Not for XLA: the number of frames is known at run time only.
    """
    shape = tf.shape(seen)
    flat = tf.reshape(seen, [-1])
    # A round number, since convolutions are prepared anew for each number of frames.
    count = -(-tf.math.count_nonzero(flat, dtype=tf.int32) // _ROUND) * _ROUND
    rows = tf.argsort(flat, direction="DESCENDING", stable=True)[:count]
    mean, std = encode(tf.gather(tf.reshape(frames, [-1, *frames.shape[2:]]), rows))

    def everywhere(values, elsewhere):
        m = values.shape[-1]
        values = tf.scatter_nd(rows[:, tf.newaxis], values, [tf.size(flat), m])
        values = tf.reshape(values, [shape[0], shape[1], m])
        return tf.where(seen[..., tf.newaxis] > 0, values, elsewhere)

    return everywhere(mean, 0.0), everywhere(std, 1.0)


def check_method(model, method: str) -> None:
    """Raises a ``UserError`` where a system does not know a method of imputation."""
    if method not in model.imputation_methods:
        known = ", ".join(model.imputation_methods)
        raise UserError(f"method is {method!r}, expected one of {known}: the model knows no other")


def log_normal(standardised: tf.Tensor, log_std: tf.Tensor) -> tf.Tensor:
    """The log density of a diagonal Gaussian, summed over the last axis, in nats.

    Args:
      standardised: ``[..., m]``, distances from the mean in standard deviations.
      log_std: of the same shape, or broadcast to it.
    """
    terms = -0.5 * tf.square(standardised) - log_std - 0.5 * math.log(2.0 * math.pi)
    return tf.reduce_sum(terms, axis=-1)


def pad_controls(controls, batch_size, num_steps, control_size: int) -> tf.Tensor:
    """Controls ``[B, S, U]`` made ``num_steps`` long with zeros, or cut; zeros if None."""
    if controls is None:
        return tf.zeros([batch_size, num_steps, control_size])
    controls = tf.cast(controls, tf.float32)
    rest = tf.maximum(num_steps - tf.shape(controls)[1], 0)
    return tf.pad(controls, [[0, 0], [0, rest], [0, 0]])[:, :num_steps]


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
