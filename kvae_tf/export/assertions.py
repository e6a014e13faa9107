"""Inputs of an export's graphs, checked there for clients that load it with TensorFlow alone.

What ``kvae_tf.load`` refuses is refused by assertions, whose messages name the input. XLA leaves
assertions out.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.models.inputs import TOLERANCE


def shaped(value: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """A tensor of the shape of its spec, which calls of a loaded signature do not check."""
    # XLA has no EnsureShape of any shape.
    return value if spec.shape.rank is None else tf.ensure_shape(value, spec.shape)


def size(name: str, value: tf.Tensor) -> tf.Tensor:
    """A number of sequences or steps, or several numbers: int32, at least 1."""
    fits = tf.reduce_all(value >= 1)
    return _if(fits, value, f"{name}: expected a whole number from 1 on, found", value)


def rows(name: str, value: tf.Tensor, batch_size: tf.Tensor, other: str) -> tf.Tensor:
    """A tensor with one row for each sequence of another input."""
    own = tf.shape(value)[0]
    words = f"{name}: expected as many rows as {other}", batch_size, "found", own
    return _if(tf.equal(own, batch_size), value, *words)


def frames(model, frames: tf.Tensor, observed: tf.Tensor, shape):
    """Frames that are 0 where they are missing, and the mask, which is 0 there.

    Missing are also frames with NaN, and vectors of nothing but NaN. Seen frames have to lie in
    [0, 1]; seen vectors must not be infinite.

    Args:
      model: a ``VideoModel``.
      frames: ``[*shape, H, W, C]`` float32.
      observed: ``shape`` float32, 1 = seen, 0 = missing; or one of these for all frames.
      shape: int32, ``[B, T]``, or ``[B]`` for one step.
    """
    observed = _full("observed", observed, shape)
    fits = tf.reduce_all((observed == 0.0) | (observed == 1.0))
    observed = _if(fits, observed, "observed: expected 1 (seen) or 0 (missing) only")
    axes = [-3, -2, -1]
    if model.is_vector:
        missing = tf.reduce_all(tf.math.is_nan(frames), axes)
        fits = ~tf.reduce_any(tf.math.is_inf(frames), axes)
        expected = "finite numbers, or NaN if missing"
    else:
        # Sums and extremes are cheaper than a look at each pixel. A sum is NaN if a pixel is, or if
        # there are infinities of both signs.
        low, high = tf.reduce_min(frames, axes), tf.reduce_max(frames, axes)
        missing = tf.math.is_nan(tf.reduce_sum(frames, axes)) & ~tf.math.is_inf(low)
        fits = (low >= -TOLERANCE) & (high <= 1.0 + TOLERANCE)
        expected = "floats in [0, 1], or NaN if missing"
    observed = tf.where(missing, 0.0, observed)
    fits = tf.reduce_all(fits | (observed == 0.0))
    observed = _if(fits, observed, f"frames: expected {expected}")
    return tf.where(observed[..., None, None, None] > 0, frames, 0.0), observed


def controls(value: tf.Tensor, shape, least_steps=None) -> tf.Tensor:
    """Finite controls of a shape, or one number that fills it.

    Args:
      value: a tensor of unknown rank.
      shape: int32, ``[B, T, U]``, or ``[B, U]`` for one step.
      least_steps: with this, the number of steps T is any from there on; None: it is not free.
    """
    value = _full("controls", value, shape, least_steps)
    return _if(tf.reduce_all(tf.math.is_finite(value)), value, "controls: expected finite numbers")


def times(value: tf.Tensor, shape, least_steps, unit: float) -> tf.Tensor:
    """Strictly increasing times ``[B, T]``, seconds; or one number, the seconds between two.

    Args:
      value: a tensor of unknown rank.
      shape: int32, ``[B, T]``.
      least_steps: the number of steps that have to be given; others follow ``unit`` seconds apart.
        None: all have to be given.
      unit: seconds.
    """
    B, T = tf.unstack(tf.convert_to_tensor(shape))
    is_scalar = tf.equal(tf.size(tf.shape(value)), 0)
    spacing = tf.where(is_scalar, tf.reduce_max(value), 1.0)
    regular = spacing * tf.cast(tf.range(T), tf.float32)
    # What cannot be meant is found by the shape.
    given = _full("times", value, [B, T], least_steps)
    missing = tf.maximum(T - tf.shape(given)[1], 0)
    later = unit * tf.cast(tf.range(1, missing + 1), tf.float32)
    given = tf.concat([given, given[:, -1:] + later], axis=1)[:, :T]
    given = tf.where(is_scalar, regular, given)
    fits = tf.reduce_all(given[:, 1:] > given[:, :-1]) & tf.reduce_all(tf.math.is_finite(given))
    return _if(fits, given, "times: expected strictly increasing finite seconds")


def interval(value: tf.Tensor, shape) -> tf.Tensor:
    """Positive finite seconds ``[B]``, or one number that fills it.

    Args:
      value: a tensor of unknown rank.
      shape: int32, ``[B]``.
    """
    value = _full("interval", value, shape)
    fits = tf.reduce_all((value > 0.0) & tf.math.is_finite(value))
    return _if(fits, value, "interval: expected positive finite seconds")


def at(value: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
    """Further times ``[B, R]``, seconds since the first frame, none before it."""
    value = rows("at", value, tf.shape(times)[0], "frames")
    since = value - times[:, :1]
    fits = tf.reduce_all(since >= 0.0) & tf.reduce_all(tf.math.is_finite(since))
    return _if(fits, since, "at: expected finite seconds, not before the first frame")


def counts(num_objects: tf.Tensor, most: int, shape) -> tf.Tensor:
    """Numbers of objects from 1 to ``most``, of the shape ``[B]``; or one number for all."""
    num_objects = _full("num_objects", num_objects, shape)
    fits = tf.reduce_all((num_objects >= 1) & (num_objects <= most))
    return _if(fits, num_objects, f"num_objects: expected whole numbers from 1 to {most}")


def _full(name, value, shape, least_steps=None):
    """A tensor of a shape, or a scalar that is broadcast to it; axis 1 may be free."""
    shape, own = tf.convert_to_tensor(shape), tf.shape(value)
    rank = shape.shape[0]
    found = tf.ensure_shape(tf.pad(own, [[0, rank]])[:rank], [rank])
    least, more = shape, ""
    fits = tf.equal(found, shape)
    if least_steps is not None:
        steps, more = tf.range(rank) == 1, "with at least as many steps as"
        least = tf.where(steps, least_steps, shape)
        fits |= steps & (found >= least)
    is_scalar = tf.equal(tf.size(own), 0)
    fits = is_scalar | (tf.equal(tf.size(own), rank) & tf.reduce_all(fits))
    words = f"{name}: expected a tensor {more or 'of shape'}", least, "or one number, found", own
    return tf.broadcast_to(_if(fits, value, *words), tf.where(is_scalar, shape, found))


def _if(fits, value, *words):
    """``value``, which is there only where the assertion holds."""
    with tf.control_dependencies([tf.debugging.Assert(fits, list(words), summarize=8)]):
        return tf.identity(value)
