"""Checks of the frames, masks and controls that a model is given.

Ranks, sizes and types are always checked; values only of arrays and eager tensors, since those in a
graph are not known yet. An error is one line that names the argument.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import Sampler
from kvae_tf.models.contract import Frames

_ROUND = 32  # frames
_FARTHEST = 10_000  # time units after the last frame, each of which is a step
_MOST = 2**31 - 1  # sequences or steps, int32
TOLERANCE = 1e-6  # by which a float pixel may leave [0, 1]


class Inputs(NamedTuple):
    """Checked inputs of a query.

    Attributes:
      frames: ``[B, T, H, W, C]`` float32, 0 where unobserved; in an observed vector, missing
        entries are NaN.
      observed: ``[B, T]`` float32, 1 = seen; None where all frames are known to be seen.
      controls: ``[B, T, U]`` float32; for a forecast, T counts context and forecast.
      num_objects: ``[B]`` int32, for models with a number of objects; else None.
      times: ``[B, T]`` float32, seconds since the first frame, T as for ``controls``; None: frames
        are equally spaced.
    """

    frames: tf.Tensor
    observed: tf.Tensor | None
    controls: tf.Tensor
    num_objects: tf.Tensor | None = None
    times: tf.Tensor | None = None

    @property
    def seen(self) -> tf.Tensor:
        """``observed``, or ones ``[B, T]`` where it is None."""
        return mask(self.observed, self.frames)


def mask(observed, x, axes: int = 2):
    """``observed``, or ones for all of x where it is None.

    Args:
      observed: ``[B, T]``, 1 = seen, or None.
      x: frames or encodings, ``[B, T, ...]``.
      axes: number of the mask's axes, 2 by default; 1 for a single frame.
    """
    return tf.ones(tf.shape(x)[:axes]) if observed is None else observed


def check(
    model,
    frames,
    observed,
    controls,
    num_objects=None,
    ahead=0,
    looks_for_nan=True,
    times=None,
) -> Inputs:
    """The inputs of a query, checked.

    Args:
      model: a ``VideoModel``, for its sizes.
      frames: ``[B, T, H, W, C]``, with one channel also ``[B, T, H, W]``; vectors also
        ``[B, T, D]``. Float in [0, 1] (vectors: any number), uint8 (0 to 255) or bool; NaN is
        missing.
      observed: ``[B, T]``, 1 = seen, 0 = missing; None: all are seen.
      controls: ``[B, T, U]``; None: zeros.
      num_objects: ``[B]``; None: ``max_objects`` in every sequence.
      ahead: number of steps after T for which there are controls, 0 by default.
      looks_for_nan: look for missing frames (NaN) also in tensors of a graph, True by default.
      times: ``[B, T]`` seconds, strictly increasing, for models that read them; with ``ahead`` also
        longer. None: frames are equally spaced (default).

    Raises:
      UserError: an input does not fit; the message names it.
    """
    frames, there = _pixels(model, frames, leading=2, expected="[B, T, ")
    if not looks_for_nan and _known(frames) is None:
        there = None
    _refuse_empty("frames", frames.shape)
    observed = _mask(observed, frames.shape[:2])
    if there is not None:
        observed = there if observed is None else observed * there
    _check_range(model, frames, observed)
    frames = tf.convert_to_tensor(frames, tf.float32)
    if observed is not None:
        observed = tf.convert_to_tensor(observed, tf.float32)
        # Masked before any arithmetic, so that no NaN spreads.
        frames = tf.where(observed[..., None, None, None] > 0, frames, 0.0)
    controls = _controls(model, controls, frames, ahead)
    counts = check_counts(model, num_objects, frames)
    return Inputs(frames, observed, controls, counts, _times(model, times, frames, ahead))


def of_batch(model, batch: dict[str, tf.Tensor]) -> Inputs:
    """The inputs of a bound, checked.

    Args:
      model: a ``VideoModel``, for its sizes.
      batch: ``frames [B, T, H, W, C]`` and optionally ``observed [B, T]``, ``controls [B, T, U]``
        and ``num_objects [B]``, and ``times [B, T]``, which models leave out that do not read them.
        In a graph, only frames with ``observed`` 0 may hold NaN, as in the batches of
        ``kvae_tf.data``.

    Raises:
      UserError: an input does not fit; the message names it.
    """
    names = ("frames", "observed", "controls", "num_objects")
    times = batch.get("times") if model.reads_times else None
    given = (batch.get(name) for name in names)
    return check(model, *given, looks_for_nan=False, times=times)


def check_step(model, frames, observed, controls, interval=None) -> Inputs:
    """The inputs of one filter step, checked; no tensor has a time axis.

    Args:
      model: a ``VideoModel``, for its sizes.
      frames: ``[B, H, W, C]``, float in [0, 1], uint8 (0 to 255) or bool. NaN: missing.
      observed: ``[B]``, 1 = seen, 0 = missing; None: all are seen.
      controls: ``[B, U]``; None: zeros.
      interval: ``[B]`` seconds since the frame before, for models that read times; None: one
        ``time_unit`` (default).

    Returns:
      ``Inputs``, whose ``times`` are the interval.

    Raises:
      UserError: an input does not fit; the message names it.
    """
    H, W, C = model.frame_shape
    sizes = {4: f"[B, {H}, {W}, {C}]"}
    if C == 1:
        sizes[3] = f"[B, {H}, {W}]"
    if model.is_vector:
        sizes[2] = f"[B, {W}]"
    frames = _of_rank("frames", _frame_array(model, frames), sizes)
    observed = _of_rank("observed", observed, {1: "[B]"})
    controls = _of_rank("controls", controls, {2: f"[B, {model.control_size}]"})
    given = check(
        model,
        frames[:, np.newaxis],
        None if observed is None else observed[:, np.newaxis],
        None if controls is None else controls[:, np.newaxis],
    )
    given = Inputs(*(None if x is None else x[:, 0] for x in given[:3]))
    return given._replace(times=_interval(model, interval, given.frames))


def _interval(model, interval, frames):
    """Positive seconds ``[B]``; None where there are none."""
    if interval is None:
        return None
    _need_times(model, "interval")
    interval = _array("interval", interval)
    shape, B = tuple(interval.shape), frames.shape[0]
    if len(shape) != 1 or not _may_equal(shape[0], B):
        raise UserError(f"interval has shape {_text(shape)}, expected ({_text(B)},), seconds")
    values = _known(interval)
    if values is not None and not ((values > 0.0) & np.isfinite(values)).all():
        raise UserError("interval holds no positive finite numbers, expected seconds")
    return tf.cast(interval, tf.float32)


def check_rollout(model, frames, observed, controls) -> tuple[Inputs, tf.Tensor]:
    """The inputs of a rollout, checked: those of a filter step, whose controls are 0; candidates.

    Args:
      model: a ``VideoModel``, for its sizes.
      frames: as ``check_step`` takes them.
      observed: as ``check_step`` takes it.
      controls: ``[B, N, K, U]``, N candidates for K steps, finite.

    Raises:
      UserError: an input does not fit; the message names it.
    """
    controls, U = _array("controls", controls), model.control_size
    shape = tuple(controls.shape)
    if len(shape) != 4 or not _may_equal(shape[3], U):
        raise UserError(f"controls has shape {_text(shape)}, expected [B, N, K, {U}]")
    _refuse_empty("controls", shape[:3])
    _refuse_infinite("controls", controls)
    controls = tf.cast(controls, tf.float32)
    given = check_step(model, frames, observed, tf.zeros_like(controls[:, 0, 0]))
    return given, controls


def check_state(state, frames) -> None:
    """Checks that a filter's state has a row for each of the frames.

    Args:
      state: a nest of tensors ``[B, ...]``.
      frames: ``[B, H, W, C]``.

    Raises:
      UserError: it has other rows, or holds other things.
    """
    B = frames.shape[0]
    for part in tf.nest.flatten(state):
        shape = tuple(_array("state", part).shape)
        if not shape or not _may_equal(shape[0], B):
            raise UserError(f"state has a part of shape {shape}, expected ({B}, …), as frames have")


def check_frames(model, frames) -> tf.Tensor:
    """Frames ``[..., H, W, C]`` with any leading axes, checked, as float32.

    Raises:
      UserError: shape, dtype or range do not fit the model.
    """
    frames, _ = _pixels(model, frames, leading=None, expected="[..., ")
    _check_range(model, frames, None)
    return tf.convert_to_tensor(frames, tf.float32)


def check_encodings(model, encodings) -> tf.Tensor:
    """Encodings ``[..., m]``, checked, as float32.

    Raises:
      UserError: the last axis is not m long.
    """
    encodings = _array("encodings", encodings)
    m = model.encoding_size
    if encodings.shape.rank == 0 if tf.is_tensor(encodings) else encodings.ndim == 0:
        raise UserError(f"encodings is a single number, expected [..., {m}]")
    if encodings.shape[-1] not in (m, None):
        raise UserError(f"encodings has shape {_text(encodings.shape)}, expected [..., {m}]")
    return tf.cast(encodings, tf.float32)


def check_counts(model, num_objects, like) -> tf.Tensor | None:
    """Numbers of objects ``[B]`` int32; None for models without objects.

    Args:
      model: a ``VideoModel``.
      num_objects: ``[B]``, or one number for all sequences; None: ``max_objects``.
      like: a tensor ``[B, ...]``, for the batch size.

    Raises:
      UserError: ``num_objects`` has another shape, or values outside 1 to ``max_objects``.
    """
    most = model.max_objects
    if not most:
        return None
    if num_objects is None:
        return tf.fill([tf.shape(like)[0]], most)
    num_objects = _array("num_objects", num_objects)
    rank = len(num_objects.shape)
    if rank > 1 or (rank == 1 and not _may_equal(num_objects.shape[0], like.shape[0])):
        raise UserError(
            f"num_objects has shape {_text(num_objects.shape)}, expected ({_text(like.shape[0])},)"
        )
    values = _known(num_objects)
    if (
        values is not None
        and values.size
        and not (values.dtype.kind in "iu" and values.min() >= 1 and values.max() <= most)
    ):
        raise UserError(
            f"num_objects holds {values.min()} to {values.max()}, expected whole numbers from 1 to "
            f"{most}"
        )
    return tf.broadcast_to(tf.cast(num_objects, tf.int32), tf.shape(like)[:1])


def check_future_controls(model, controls, num_sequences, num_steps) -> tf.Tensor:
    """Controls ``[B, T, U]`` of sequences that are to be generated.

    Args:
      model: a ``VideoModel``, for its control size U.
      controls: ``[B, S, U]``; steps after S get zeros. None: zeros.
      num_sequences: B.
      num_steps: T.

    Raises:
      UserError: ``controls`` has another shape, or is not finite.
    """
    U = model.control_size
    if controls is None:
        return tf.zeros([num_sequences, num_steps, U])
    size = tf.get_static_value(num_sequences)
    return _fit_length(_control_array(model, controls, size), num_steps)


def check_future_times(model, times, num_sequences, num_steps) -> tf.Tensor | None:
    """Times ``[B, T]`` of sequences that are to be generated, seconds since the first frame.

    Args:
      model: a ``VideoModel``.
      times: ``[B, S]`` seconds; steps after S are equally spaced. None: all are.
      num_sequences: B.
      num_steps: T.

    Raises:
      UserError: the model reads no times, or they have another shape or do not increase.
    """
    blank = tf.zeros([num_sequences, 1, 1])
    return _times(model, times, blank, num_steps - 1)


def check_at(model, at, times, given: Inputs) -> tf.Tensor:
    """Further times ``[B, R]`` at which a model is asked, seconds since the first frame.

    Args:
      model: a ``VideoModel``.
      at: ``[B, R]`` seconds, in any order, not before the first frame.
      times: ``[B, T]`` seconds of the frames, as they were given, for their origin; None: 0.
      given: the checked inputs.

    Raises:
      UserError: the model reads no times, or ``at`` has another shape or value, or lies more than
        10,000 time units after the last frame.
    """
    _need_times(model, "at")
    at = _array("at", at)
    B = given.frames.shape[0]
    if len(at.shape) != 2 or not _may_equal(at.shape[0], B):
        raise UserError(f"at has shape {_text(at.shape)}, expected [{'B' if B is None else B}, R]")
    _refuse_empty("at", at.shape)
    origin = 0.0 if times is None else _array("times", times)[:, :1]
    values, start = _known(at), 0.0 if times is None else _known(origin)
    if values is None or start is None:
        return tf.cast(at, tf.float32) - tf.cast(origin, tf.float32)
    since = values.astype(np.float64) - start
    if not np.isfinite(since).all() or (since < 0.0).any():
        raise UserError("at holds times before the first frame, or no finite ones; expected later")
    last = _known(times_of(model, given)[:, -1:])
    if last is not None:
        after = float((since - last).max())
        if after > _FARTHEST * model.time_unit:
            raise UserError(
                f"at holds a time {after:.6g} seconds after the last frame, expected at most "
                f"{_FARTHEST * model.time_unit:.6g}: do at and times count from the same origin?"
            )
    return tf.convert_to_tensor(since.astype(np.float32))


def check_method(model, method: str | None) -> str:
    """The imputation method; for None the first of ``model.imputation_methods``.

    Raises:
      UserError: the model does not have this method.
    """
    method = method or model.imputation_methods[0]
    if method not in model.imputation_methods:
        known = ", ".join(model.imputation_methods)
        raise UserError(f"method is {method!r}, expected one of {known}: the model knows no other")
    return method


def check_size(name: str, value):
    """A number of sequences or steps, checked; a scalar tensor of a graph passes unchecked.

    Args:
      name: name of the argument, for the message.
      value: a positive int or a scalar integer tensor.

    Raises:
      UserError: ``value`` is no whole number of at least 1.
    """
    known = _known(_array(name, value))
    is_whole = known is None or (known.shape == () and known.dtype.kind in "iu")
    if not is_whole or (known is not None and not 1 <= known <= _MOST):
        raise UserError(f"{name} is {value}, expected a whole number from 1 to {_MOST}")
    return value


def subsample_observed(count: int, sampler: Sampler, seen: tf.Tensor, *sequences: tf.Tensor):
    """``count`` frames of each sequence, drawn without replacement from those that were seen.

    Args:
      count: number of frames to draw from each sequence; 0: no drawing, all frames are kept.
      sampler: source of the noise; its rows are the B sequences.
      seen: ``[B, T]``, 1 = seen.
      *sequences: tensors ``[B, T, ...]`` to subsample.

    Returns:
      A mask ``[B, count]``, 1 for drawn frames, 0 for padding where fewer than ``count`` were seen;
      the factor ``[B, 1]`` that makes a sum over the drawn frames an unbiased estimate of the sum
      over all seen frames; and the sequences ``[B, count, ...]``.
    """
    if not count:
        return seen, tf.ones_like(seen[:, :1]), *sequences
    order = seen + sampler.uniform(tf.shape(seen))
    steps = tf.math.top_k(order, tf.minimum(count, tf.shape(seen)[1])).indices
    kept = tf.gather(seen, steps, batch_dims=1)
    drawn = tf.maximum(tf.reduce_sum(kept, axis=1, keepdims=True), 1.0)
    scale = tf.reduce_sum(seen, axis=1, keepdims=True) / drawn
    return kept, scale, *(tf.gather(x, steps, batch_dims=1) for x in sequences)


def random_clip(length: int, sampler: Sampler, *sequences: tf.Tensor):
    """``length`` frames in a row of each sequence, from a drawn start.

    Args:
      length: number of frames; sequences that are shorter stay whole.
      sampler: source of the noise; its rows are the B sequences.
      *sequences: tensors ``[B, T, ...]``.

    Returns:
      The sequences, ``[B, length, ...]``.
    """
    shape = tf.shape(sequences[0])
    length = tf.minimum(length, shape[1])
    starts = sampler.uniform([shape[0], 1]) * tf.cast(shape[1] - length + 1, tf.float32)
    steps = tf.cast(starts, tf.int32) + tf.range(length)
    return tuple(tf.gather(x, tf.minimum(steps, shape[1] - 1), batch_dims=1) for x in sequences)


def encode_observed(encode, frames: tf.Tensor, seen: tf.Tensor):
    """Encodes the seen frames only, to save time; an unseen frame gets mean 0 and std 1.

    Args:
      encode: maps frames ``[N, H, W, C]`` to means and standard deviations ``[N, m]``.
      frames: ``[B, T, H, W, C]``.
      seen: ``[B, T]``, 1 = seen.

    Returns:
      Means and standard deviations ``[B, T, m]``. Not for XLA: the number of encoded frames is
      known at run time only.
    """
    shape = tf.shape(seen)
    rows = rows_of(seen)
    mean, std = encode(tf.gather(tf.reshape(frames, [-1, *frames.shape[2:]]), rows))

    def everywhere(values, elsewhere):
        m = values.shape[-1]
        values = tf.scatter_nd(rows[:, tf.newaxis], values, [tf.size(seen), m])
        values = tf.reshape(values, [shape[0], shape[1], m])
        return tf.where(seen[..., tf.newaxis] > 0, values, elsewhere)

    return everywhere(mean, 0.0), everywhere(std, 1.0)


def rows_of(marked: tf.Tensor) -> tf.Tensor:
    """Rows of the marked frames among all B T frames, ``[n]`` int32, and a few others.

    Args:
      marked: ``[B, T]``, 1 = marked.

    Returns:
      Their number n is rounded up, since convolutions are prepared again for each new number of
      frames. It is known at run time only: not for XLA.
    """
    flat = tf.reshape(marked, [-1])
    count = -(-tf.math.count_nonzero(flat, dtype=tf.int32) // _ROUND) * _ROUND
    return tf.argsort(flat, direction="DESCENDING", stable=True)[:count]


def log_normal(standardised: tf.Tensor, log_std: tf.Tensor) -> tf.Tensor:
    """The log density of a diagonal Gaussian, summed over the last axis, in nats.

    Args:
      standardised: ``[..., m]``, distances from the mean in standard deviations.
      log_std: log standard deviations, ``[..., m]`` or broadcast to it.
    """
    terms = -0.5 * tf.square(standardised) - log_std - 0.5 * math.log(2.0 * math.pi)
    return tf.reduce_sum(terms, axis=-1)


def forecast_by_imputation(model, given: Inputs, num_steps, **options) -> Frames:
    """A forecast by imputation: the future steps are missing frames, filled in by filtering.

    Args:
      model: a model that can ``impute``.
      given: the context of T frames, with controls ``[B, T + K, U]``.
      num_steps: K, number of steps to forecast.
      **options: of the model's imputation.

    Returns:
      ``Frames`` of the K steps.
    """
    shape = tf.shape(given.frames)
    blank = tf.zeros([shape[0], num_steps, *model.frame_shape])
    seen = tf.concat([given.seen, tf.zeros([shape[0], num_steps])], axis=1)
    # Controls and times are as long already.
    longer = given._replace(frames=tf.concat([given.frames, blank], axis=1), observed=seen)
    result = model._impute(longer, "filter", **options)
    return Frames(*(None if x is None else x[:, shape[1] :] for x in result))


def times_of(model, given: Inputs) -> tf.Tensor:
    """Seconds since the first frame, ``[B, T]``, also where there are none.

    Args:
      model: a ``VideoModel`` that reads times.
      given: checked inputs.
    """
    if given.times is not None:
        return given.times
    steps = tf.range(tf.shape(given.frames)[1])
    times = model.time_unit * tf.cast(steps, tf.float32)
    return tf.repeat(times[tf.newaxis], tf.shape(given.frames)[0], axis=0)


def extended_to(model, given: Inputs, at: tf.Tensor) -> Inputs:
    """Inputs followed by missing frames, one ``time_unit`` apart, up to the last of some times.

    Args:
      model: a ``VideoModel`` that reads times.
      given: checked inputs.
      at: ``[B, R]``, seconds since the first frame.
    """
    times = times_of(model, given)
    beyond = tf.reduce_max(at[:, tf.newaxis] - times[:, -1:, tf.newaxis]) / model.time_unit
    count = tf.maximum(tf.cast(tf.math.ceil(beyond), tf.int32), 0)
    later = model.time_unit * tf.cast(tf.range(1, count + 1), tf.float32)

    def followed(x):
        return tf.pad(x, [[0, 0], [0, count]] + [[0, 0]] * (x.shape.rank - 2))

    return given._replace(
        frames=tf.ensure_shape(followed(given.frames), [None, None, *model.frame_shape]),
        observed=followed(given.seen),
        controls=tf.ensure_shape(followed(given.controls), [None, None, model.control_size]),
        times=tf.concat([times, times[:, -1:] + later], axis=1),
    )


def _array(name, value):
    """A tensor as it is; anything else as a NumPy array, NaN where it is masked; real numbers."""
    if isinstance(value, (list, tuple)) and any(map(np.ma.is_masked, value)):
        raise UserError(f"{name} is a list of masked arrays, expected one array")
    try:
        array = value if tf.is_tensor(value) else np.asarray(value)
    except ValueError:
        raise UserError(f"{name} is ragged, expected one rectangular array") from None
    if not _is_real(array.dtype):
        raise UserError(f"{name} has dtype {array.dtype}, expected real numbers")
    if np.ma.is_masked(value):
        return np.ma.filled(np.ma.asarray(value).astype(np.float32), np.nan)
    return array


def _frame_array(model, frames):
    """Frames as ``_array`` gives them; masked pixels of 0 to 255 are scaled, since NaN is float."""
    if np.ma.is_masked(frames) and frames.dtype == np.uint8 and not model.is_vector:
        frames = frames.astype(np.float32) / np.float32(255.0)
    return _array("frames", frames)


def _is_real(dtype):
    try:
        dtype = tf.as_dtype(dtype)
    except TypeError:  # TensorFlow has no such type
        return False
    return dtype.is_floating or dtype.is_integer or dtype.is_bool


def _of_rank(name, value, sizes):
    """An array or tensor whose rank is a key of ``sizes``, whose values are words for it; None."""
    if value is None:
        return None
    value = _array(name, value)
    rank = value.shape.rank if tf.is_tensor(value) else value.ndim
    if rank is not None and rank not in sizes:
        expected = next(iter(sizes.values()))
        raise UserError(
            f"{name} has shape {_text(value.shape)}, expected {expected}, one step of each sequence"
        )
    return value


def _known(array) -> np.ndarray | None:
    """The values of an array or eager tensor; None of a tensor in a graph."""
    if isinstance(array, np.ndarray):
        return array
    return tf.get_static_value(array) if tf.is_symbolic_tensor(array) else array.numpy()


def _text(shape) -> str:
    return str(tuple(shape)) if isinstance(shape, (tuple, tf.TensorShape)) else str(shape)


def _may_equal(one, other) -> bool:
    return None in (one, other) or one == other


def _refuse_infinite(name, array):
    values = _known(array)
    with np.errstate(over="ignore"):
        wrong = values is not None and not np.isfinite(values.astype(np.float32)).all()
    if wrong:
        raise UserError(f"{name} holds NaN or infinities, expected finite numbers")


def _refuse_empty(name, shape):
    if 0 in shape:
        raise UserError(f"{name} has shape {_text(shape)}, expected no axis of length 0")


def _pixels(model, frames, leading, expected):
    """Frames as float32 ``[leading axes, H, W, C]``; and a mask ``[B, T]``, 0 for missing frames.

    The mask is None where no frame is missing, or ``leading`` is None.
    """
    frames = _frame_array(model, frames)
    shape, tail = tuple(frames.shape), tuple(model.frame_shape)
    text = f"{expected}{', '.join(map(str, tail))}]"

    def fits(size):
        rank = leading is None or len(shape) == leading + len(size)
        own = shape[len(shape) - len(size) :]
        return rank and len(own) == len(size) and all(map(_may_equal, own, size))

    short = tail[1:2] if model.is_vector else tail[:2] if tail[2] == 1 else None
    if model.is_vector:
        text = f"{expected}{tail[1]}]"
    if not fits(tail):
        if short is None or not fits(short):
            raise UserError(f"frames has shape {_text(shape)}, expected {text}")
        axes = (-3, -1) if model.is_vector else (-1,)
        for axis in sorted(axes, reverse=True):
            frames = _expand(frames, axis)
    kind = np.dtype(frames.dtype if isinstance(frames, np.ndarray) else frames.dtype.as_numpy_dtype)
    if kind == np.uint8 and not model.is_vector:
        scale = np.float32(255.0)
        known = isinstance(frames, np.ndarray)
        frames = frames.astype(np.float32) / scale if known else tf.cast(frames, tf.float32) / scale
        return frames, None
    if kind.kind not in "fb" and not (model.is_vector and kind.kind in "iu"):
        raise UserError(
            f"frames has dtype {kind}, expected float in [0, 1], uint8 (0 to 255) or bool"
        )
    is_array = isinstance(frames, np.ndarray)
    with np.errstate(over="ignore"):  # the range is checked later
        frames = frames.astype(np.float32) if is_array else tf.cast(frames, tf.float32)
    if leading is None or kind.kind != "f":
        return frames, None
    return frames, _there(frames, model.is_vector)


def _expand(array, axis):
    return (
        np.expand_dims(array, axis)
        if isinstance(array, np.ndarray)
        else tf.expand_dims(array, axis)
    )


def _there(frames, is_vector):
    """1 where a frame has no NaN (a vector: not only NaN), ``[B, T]``; None if all have none."""
    values = _known(frames)
    if values is not None:
        nan = np.isnan(values)
        missing = nan.all((2, 3, 4)) if is_vector else nan.any((2, 3, 4))
        return 1.0 - missing.astype(np.float32) if missing.any() else None
    nan = tf.math.is_nan(frames)
    reduce = tf.reduce_all if is_vector else tf.reduce_any
    return 1.0 - tf.cast(reduce(nan, axis=[2, 3, 4]), tf.float32)


def _check_range(model, frames, observed):
    """Refuses seen pixels outside [0, 1]; vectors may be anything but infinite."""
    values = _known(frames)
    if values is None or not values.size:
        return
    low, high = np.nanmin, np.nanmax
    if observed is not None:
        seen = _known(observed)
        if seen is None or not seen.any():
            return
        values = values if seen.all() else values[seen > 0]
    if np.isnan(values).all():
        return
    low, high = float(low(values)), float(high(values))
    if model.is_vector:
        if not np.isfinite([low, high]).all():
            raise UserError("frames holds infinities, expected numbers, or NaN if missing")
    elif low < -TOLERANCE or high > 1.0 + TOLERANCE:
        raise UserError(
            f"frames lies in [{low:g}, {high:g}], expected floats in [0, 1], or uint8 (0 to 255)"
        )


def _mask(observed, shape):
    """The mask as a float array or tensor ``[B, T]`` of 0 and 1; or None."""
    if observed is None:
        return None
    observed = _array("observed", observed)
    own = tuple(observed.shape)
    if len(own) != 2 or not all(map(_may_equal, own, shape)):
        raise UserError(f"observed has shape {_text(own)}, expected {_text(shape)}, 1 a seen frame")
    values = _known(observed)
    if values is None:
        return tf.cast(observed, tf.float32)
    wrong = ~((values == 0) | (values == 1))
    if wrong.any():
        raise UserError(f"observed holds {values[wrong][0]}, expected 1 (seen) or 0 (missing) only")
    return values.astype(np.float32)


def _controls(model, controls, frames, ahead):
    """Controls ``[B, T + ahead, U]``, zeros where there are none."""
    shape, U = tf.shape(frames), model.control_size
    if controls is None:
        if U:
            warnings.warn(
                f"controls are not given, zeros are taken for them: the model has {U}", stacklevel=5
            )
        return tf.zeros([shape[0], shape[1] + ahead, U])
    controls = _control_array(model, controls, frames.shape[0])
    length, T = controls.shape[1], frames.shape[1]
    if tf.is_tensor(ahead) or ahead:
        if None not in (length, T) and length < T - 1:
            raise UserError(
                f"controls has {length} steps, expected {T - 1} or more for {T} frames of context"
            )
        return _fit_length(controls, shape[1] + ahead)
    if not _may_equal(length, T):
        raise UserError(f"controls has {length} steps, expected {T}, one a frame")
    return controls


def _control_array(model, controls, batch_size):
    """Controls ``[B, S, U]`` as float32, of any S."""
    controls, U = _array("controls", controls), model.control_size
    shape = tuple(controls.shape)
    fits = len(shape) == 3 and _may_equal(shape[2], U) and _may_equal(shape[0], batch_size)
    if not fits:
        wanted = f"[{'B' if batch_size is None else batch_size}, T, {U}]"
        none = " (the model has no controls)" if not U else ""
        raise UserError(f"controls has shape {_text(shape)}, expected {wanted}{none}")
    _refuse_infinite("controls", controls)
    return tf.cast(controls, tf.float32)


def _need_times(model, name):
    if not model.reads_times:
        raise UserError(
            f"{name} is given, but {type(model).__name__} takes frames as equally spaced: expected "
            "none, or a model trained with --time=continuous"
        )


def _times(model, times, frames, ahead):
    """Seconds since the first frame, ``[B, T + ahead]``; None where there are none."""
    if times is None:
        return None
    _need_times(model, "times")
    times = _array("times", times)
    shape, B, T = tuple(times.shape), *frames.shape[:2]
    longer = tf.is_tensor(ahead) or ahead
    fits = len(shape) == 2 and _may_equal(shape[0], B)
    if fits and None not in (shape[1], T):
        fits = shape[1] >= T if longer else shape[1] == T
    if not fits:
        wanted = f"({_text(B)}, {_text(T)}{' or more' if longer else ''})"
        raise UserError(f"times has shape {_text(shape)}, expected {wanted}, seconds of each frame")
    values = _known(times)
    if values is None:
        times = tf.cast(times, tf.float32)
        times -= times[:, :1]
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            values = (values.astype(np.float64) - values[:, :1]).astype(np.float32)
        if not np.isfinite(values).all() or (np.diff(values, axis=1) <= 0.0).any():
            raise UserError("times holds no strictly increasing finite numbers, expected seconds")
        times = tf.convert_to_tensor(values)
    if not longer:
        return times
    num_steps = tf.shape(frames)[1] + ahead
    missing = tf.maximum(num_steps - tf.shape(times)[1], 0)
    later = model.time_unit * tf.cast(tf.range(1, missing + 1), tf.float32)
    return tf.concat([times, times[:, -1:] + later], axis=1)[:, :num_steps]


def _fit_length(controls, num_steps):
    """Controls ``[B, S, U]`` made ``num_steps`` long with zeros, or cut."""
    padding = tf.maximum(num_steps - tf.shape(controls)[1], 0)
    return tf.pad(controls, [[0, 0], [0, padding], [0, 0]])[:, :num_steps]
