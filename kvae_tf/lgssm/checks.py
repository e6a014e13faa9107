"""Checks of the values in a model and its observations.

Shapes and dtypes are checked by ``LGSSM.validate`` and ``prepare_observations``. Values are checked
where they are known: eager tensors and arrays at every call, at the cost of some microseconds;
tensors of a graph only with ``validate=True``, when it runs.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError

_FINITE = "expected finite numbers"
_NOT_NEGATIVE = "expected variances of at least 0"
_POSITIVE = "expected positive variances"
_COVARIANCE = "expected a symmetric positive semidefinite matrix"
_MASK = "expected 1 (seen) or 0 (missing) only"
_SEEN = "expected finite numbers where observed is 1"
_STEPS = "observations have no step, expected at least one"


def check_model(model, validate: bool = False, positive: bool = False) -> None:
    """Checks the values of a model.

    Args:
      model: an ``LGSSM`` of tensors.
      validate: also check tensors of a graph, by ``tf.debugging``; False by default.
      positive: refuse noises of 0 and a singular initial covariance, under which latents have no
        density; False by default.

    Raises:
      UserError: a value is not finite, a variance is negative (that of the emission: or 0), or the
        initial covariance is not symmetric and positive semidefinite.
    """
    for name, value in model._asdict().items():
        if value is None:
            continue
        values = _known(value)
        if values is None:
            if validate:
                _assert_field(name, value, positive)
            continue
        if not np.isfinite(values).all():
            raise UserError(f"{name} holds {values[~np.isfinite(values)][0]}, {_FINITE}")
        if name == "emission_noise" or (positive and name == "transition_noise"):
            if (values <= 0).any():
                raise UserError(f"{name} holds {values.min()}, {_POSITIVE}")
        elif name == "transition_noise" and (values < 0).any():
            raise UserError(f"{name} holds {values.min()}, {_NOT_NEGATIVE}")
        elif name == "initial_covariance":
            _check_covariance(name, values, positive)


def check_size(name: str, value) -> None:
    """Checks a number of sequences, steps or draws; of tensors only that they are one integer.

    Args:
      name: of the argument, for the message.
      value: an int, or an integer tensor.

    Raises:
      UserError: the value is no such number.
    """
    if tf.is_tensor(value):
        fits = value.dtype.is_integer and value.shape.rank in (0, None)
    else:
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        fits = is_whole and value >= 1
    if not fits:
        raise UserError(f"{name} is {value!r}, expected an integer of at least 1")


def check_latents(latents: tf.Tensor, like: tf.Tensor, size: int) -> None:
    """Checks latents against observations or means of the same steps.

    Args:
      latents: ``[B, T, n]``.
      like: ``[B, T, ...]``.
      size: dimension n of the latent states.

    Raises:
      UserError: the shapes do not fit, or a known number is not finite.
    """
    shape, expected = latents.shape, tf.TensorShape([*like.shape[:2], size])
    if not shape.is_compatible_with(expected) or shape.rank != 3:
        raise UserError(f"latents have shape {tuple(shape)}, expected {tuple(expected)}")
    values = _known(latents)
    if values is not None and not np.isfinite(values).all():
        raise UserError(f"latents hold {values[~np.isfinite(values)][0]}, {_FINITE}")


def check_observations(
    observations: tf.Tensor, observed: tf.Tensor | None, validate: bool = False
) -> None:
    """Checks the values of observations and their mask.

    Args:
      observations: ``[B, T, m]``.
      observed: ``[B, T, m]`` or ``[B, T, 1]``, 1 = seen; None: all are seen.
      validate: also check tensors of a graph, by ``tf.debugging``; False by default.

    Raises:
      UserError: a mask holds anything but 0 and 1, or a seen number is not finite.
    """
    seen = None if observed is None else _known(observed)
    if seen is not None:
        wrong = (seen != 0) & (seen != 1)
        if wrong.any():
            raise UserError(f"observed holds {seen[wrong][0]}, {_MASK}")
    elif observed is not None and validate:
        tf.debugging.Assert(
            tf.reduce_all((observed == 0) | (observed == 1)), [f"observed holds others, {_MASK}"]
        )
    values = _known(observations)
    if values is None or (observed is not None and seen is None):
        if validate:
            known = observations if observed is None else tf.where(observed > 0, observations, 0)
            tf.debugging.assert_all_finite(known, f"observations: {_SEEN}")
        return
    wrong = ~np.isfinite(values)
    if wrong.any():
        wrong &= True if seen is None else seen > 0
        if wrong.any():
            raise UserError(f"observations hold {values[wrong][0]}, {_SEEN}")


def check_steps(observations: tf.Tensor) -> tf.Tensor:
    """The observations; refuses those of no step, in a graph of unknown length when it runs.

    Use what is returned: it waits for the check, so that no later operation can fail first.
    """
    if observations.shape[1] is not None:
        return observations
    check = tf.debugging.assert_positive(tf.shape(observations)[1], _STEPS)
    with tf.control_dependencies([check]):
        return tf.identity(observations)


def _known(value):
    """The values of an array or eager tensor; None of a tensor in a graph."""
    return tf.get_static_value(value) if tf.is_symbolic_tensor(value) else np.asarray(value)


def _tolerance(dtype, n):
    """By how much rounding may change a covariance, relative to its largest entry."""
    return 100 * n * np.finfo(dtype).eps


def _check_covariance(name, values, positive):
    scale = np.max(np.abs(values), axis=(-2, -1), initial=0.0)
    tolerance = _tolerance(values.dtype, values.shape[-1]) * scale
    gap = np.max(np.abs(values - np.swapaxes(values, -1, -2)), axis=(-2, -1), initial=0.0)
    if (gap > tolerance).any():
        raise UserError(f"{name} differs from its transpose by {gap.max():.3g}, {_COVARIANCE}")
    least = np.linalg.eigvalsh(values)[..., 0]
    if (least < -tolerance).any():
        raise UserError(f"{name} has the eigenvalue {least.min():.3g}, {_COVARIANCE}")
    if positive and (least <= 0).any():
        raise UserError(f"{name} is singular, expected a positive definite matrix")


def _assert_field(name, value, positive):
    tf.debugging.assert_all_finite(value, f"{name}: {_FINITE}")
    if name == "emission_noise" or (positive and name == "transition_noise"):
        tf.debugging.assert_positive(value, f"{name}: {_POSITIVE}")
    elif name == "transition_noise":
        tf.debugging.assert_non_negative(value, f"{name}: {_NOT_NEGATIVE}")
    elif name == "initial_covariance":
        scale = tf.reduce_max(tf.abs(value), axis=[-2, -1])
        tolerance = _tolerance(value.dtype.as_numpy_dtype, value.shape[-1]) * scale
        gap = tf.reduce_max(tf.abs(value - tf.linalg.matrix_transpose(value)), axis=[-2, -1])
        tf.debugging.assert_less_equal(gap, tolerance, f"{name}: {_COVARIANCE}")
        least = tf.linalg.eigvalsh(value)[..., 0]
        tf.debugging.assert_greater_equal(least, -tolerance, f"{name}: {_COVARIANCE}")
        if positive:
            tf.debugging.assert_positive(least, f"{name}: expected a positive definite matrix")
