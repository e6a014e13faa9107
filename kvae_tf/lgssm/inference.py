"""Filtering, smoothing and the log-likelihood: the public calls and the choice of method.

``method="sequential"`` (one loop over time, the fastest for batches), ``"parallel"`` (blocks of
steps side by side, depth √T, for few long sequences) and ``"tfp"`` (TensorFlow Probability, the
reference engine).

Methods ``"sequential"`` and ``"parallel"`` compute in float64 whatever the model's dtype, and cast
their results back. A float32 covariance loses directions whose variance is below 1e-7 of its
largest one, which happens in the first steps of every model with a wide start and precise
observations. And TensorFloat-32, on by default on GPUs, multiplies float32 matrices to three digits
only. Method ``"tfp"`` computes in the model's dtype: give it float64 models, or switch
TensorFloat-32 off.

Eager calls of these two methods run compiled functions (see ``eager``). In graphs of your own the
speed comes from ``tf.function(jit_compile=True)``. Either way a new shape is compiled once, which
takes one to three seconds.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import (
    checks,
    eager,
    gradient,
    padding,
    parallel,
    probability,
    sequential,
    tfp_engine,
)
from kvae_tf.lgssm.model import LGSSM, as_tensor
from kvae_tf.lgssm.results import FilterResult, SmoothResult
from kvae_tf.lgssm.steps import batch_first, batch_last, cast, length

METHODS = ("sequential", "parallel", "tfp")


def filter(
    model: LGSSM,
    observations: tf.Tensor,
    observed: tf.Tensor | None = None,
    method: str = "sequential",
    stabilised: bool = False,
    validate: bool = False,
) -> FilterResult:
    """The Kalman filter with missing observations.

    Args:
      model: the matrices.
      observations: ``[B, T, m]``; values that are not observed may be anything, NaN too.
      observed: ``[B, T]``, ``[B, T, m]``, or ``[T]`` for all sequences, 1 = seen; None: all are
        seen (default). ``"tfp"`` takes no ``[B, T, m]``.
      method: ``"sequential"`` (default), ``"parallel"`` or ``"tfp"``.
      stabilised: True uses Joseph's covariance update, which stays positive semidefinite where
        rounding matters even in float64: a float64 model with zero process noise over thousands of
        steps. Method ``"sequential"`` only. False by default.
      validate: check values of a graph's tensors too, when it runs (not under ``jit_compile``); see
        ``checks``. False by default.

    Returns:
      A ``FilterResult``.

    Raises:
      UserError: a shape, a dtype, a value or the method does not fit, or ``"tfp"`` is asked for
        without TensorFlow Probability installed.
    """
    inputs = prepare(model, observations, observed, method, stabilised, validate)
    if method == "tfp":
        return tfp_engine.filter(*inputs)
    return _infer(_filter, inputs, method, stabilised, validate)


def smooth(
    model: LGSSM,
    observations: tf.Tensor,
    observed: tf.Tensor | None = None,
    method: str = "sequential",
    stabilised: bool = False,
    validate: bool = False,
) -> SmoothResult:
    """The Kalman smoother with missing observations.

    The example is a random walk that is seen at both ends only: the smoothed means lie on the
    straight line between them.

    >>> walk = LGSSM(
    ...     transition=[[1.0]], transition_offset=None, transition_noise=[1.0],
    ...     emission=[[1.0]], emission_noise=[1e-6], initial_mean=[0.0], initial_covariance=[[1.0]],
    ... )
    >>> y = tf.constant([[[0.0], [9.0], [9.0], [3.0]]])
    >>> result = smooth(walk, y, observed=[[1.0, 0.0, 0.0, 1.0]])
    >>> [round(float(z), 3) for z in result.smoothed_means[0, :, 0]]
    [0.0, 1.0, 2.0, 3.0]

    Args:
      model: the matrices.
      observations: ``[B, T, m]``; values that are not observed may be anything, NaN too.
      observed: ``[B, T]``, ``[B, T, m]``, or ``[T]`` for all sequences, 1 = seen; None: all are
        seen (default). ``"tfp"`` takes no ``[B, T, m]``.
      method: ``"sequential"`` (default), ``"parallel"`` or ``"tfp"``.
      stabilised: True uses Joseph's covariance update, see ``filter``; method ``"sequential"``
        only. False by default.
      validate: check values of a graph's tensors too, when it runs (not under ``jit_compile``); see
        ``checks``. False by default.

    Returns:
      A ``SmoothResult``.

    Raises:
      UserError: a shape, a dtype, a value or the method does not fit, or ``"tfp"`` is asked for
        without TensorFlow Probability installed.
    """
    inputs = prepare(model, observations, observed, method, stabilised, validate)
    if method == "tfp":
        return tfp_engine.smooth(*inputs)
    return _infer(_smooth, inputs, method, stabilised, validate)


def log_likelihood(
    model: LGSSM,
    observations: tf.Tensor,
    observed: tf.Tensor | None = None,
    method: str = "sequential",
    stabilised: bool = False,
    validate: bool = False,
) -> tf.Tensor:
    """log p(y) of the observed values.

    Methods ``"sequential"`` and ``"parallel"`` have an analytic gradient in every field of the
    model and in the observations (once differentiable); TensorFlow differentiates ``"tfp"``.

    Args:
      model: the matrices.
      observations: ``[B, T, m]``; values that are not observed may be anything, NaN too.
      observed: ``[B, T]``, ``[B, T, m]``, or ``[T]`` for all sequences, 1 = seen; None: all are
        seen (default). ``"tfp"`` takes no ``[B, T, m]``.
      method: ``"sequential"`` (default), ``"parallel"`` or ``"tfp"``.
      stabilised: True uses Joseph's covariance update, see ``filter``; method ``"sequential"``
        only. False by default.
      validate: check values of a graph's tensors too, when it runs (not under ``jit_compile``); see
        ``checks``. False by default.

    Returns:
      ``[B]``, nats.

    Raises:
      UserError: a shape, a dtype, a value or the method does not fit, or ``"tfp"`` is asked for
        without TensorFlow Probability installed.
    """
    inputs = prepare(model, observations, observed, method, stabilised, validate)
    if method == "tfp":
        return tfp_engine.log_likelihood(*inputs)
    return _infer(_log_likelihood, inputs, method, stabilised, validate)


def prepare_observations(
    model: LGSSM, observations: tf.Tensor, observed: tf.Tensor | None, validate: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Observations with zeros where unseen, and the mask for every number, both ``[B, T, m]``.

    Values are masked before any arithmetic, so that no NaN reaches a gradient.

    Args:
      model: the matrices, as ``validate`` gives them, for their sizes and dtype.
      observations: ``[B, T, m]``; values that are not observed may be anything, NaN too.
      observed: ``[T]``, ``[B, T]`` or ``[B, T, m]``, 1 = seen; None: all are seen.
      validate: check values of a graph's tensors too; False by default.

    Raises:
      UserError: a shape or a value does not fit the model.
    """
    observations, observed = _mask(model, observations, observed, validate)
    return observations, tf.broadcast_to(observed, tf.shape(observations))


def _mask(model, observations, observed, validate):
    """``prepare_observations`` whose mask is ``[1, T, m]`` where it is the same for all."""
    observations = as_tensor("observations", observations, model.dtype)
    if observations.dtype != model.dtype:
        raise UserError(
            f"observations have dtype {observations.dtype.name}, expected {model.dtype.name}"
        )
    m = model.observation_size
    shape = observations.shape
    if shape.rank != 3 or shape[-1] not in (None, m):
        raise UserError(f"observations have shape {shape}, expected [B, T, {m}]")
    if 0 in shape:
        raise UserError(f"observations have shape {shape}, expected no axis of length 0")
    if shape[-1] is None:
        observations = tf.ensure_shape(observations, [None, None, m])
        shape = observations.shape
    observations = checks.check_steps(observations)
    model.check_extent(shape)
    if observed is None:
        checks.check_observations(observations, None, validate)
        return observations, tf.ones_like(observations[:1])
    observed = as_tensor("observed", observed)
    expected = {1: shape[1:2], 2: shape[:2], 3: shape}.get(observed.shape.rank)
    if expected is None or not observed.shape.is_compatible_with(expected):
        raise UserError(
            f"observed has shape {observed.shape}, expected {shape[:2]} or {shape} as observations "
            f"have, or {shape[1:2]} for all sequences"
        )
    if not (observed.dtype.is_bool or observed.dtype.is_integer or observed.dtype.is_floating):
        raise UserError(f"observed has dtype {observed.dtype.name}, expected numbers")
    observed = tf.cast(observed, model.dtype)
    if observed.shape.rank == 1:
        observed = observed[tf.newaxis]
    if observed.shape.rank == 2:
        observed = observed[..., tf.newaxis]
    checks.check_observations(observations, observed, validate)
    like = observations[:1] if observed.shape[0] == 1 else observations
    observed = tf.broadcast_to(observed, tf.shape(like))
    return tf.where(observed > 0, observations, 0.0), observed


def prepare(model, observations, observed, method, stabilised, validate):
    """(model, observations, observed), checked."""
    if method not in METHODS:
        raise UserError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    if stabilised and method != "sequential":
        raise UserError(f"stabilised is offered by method 'sequential' only, not by {method!r}")
    if method == "tfp" and observed is not None:
        observed = as_tensor("observed", observed)
        if observed.shape.rank == 3:
            raise UserError(
                f"method 'tfp' takes masks of whole steps, [B, T]; observed has shape "
                f"{observed.shape}"
            )
    model = model.validate()
    checks.check_model(model, validate)
    observations, observed = _mask(model, observations, observed, validate)
    if method == "tfp":
        probability.require("method 'tfp'")
    if method != "sequential":
        observed = tf.broadcast_to(observed, tf.shape(observations))
    return model, observations, observed


def _infer(function, inputs, method, stabilised, validate):
    """``function`` of checked inputs: as a compiled one if the call is eager, else in place."""
    model, observations, observed = inputs
    settings = {"method": method, "stabilised": bool(stabilised)}
    has_gradient = function is _log_likelihood
    if validate or not eager.compiles((*model, observations, observed), has_gradient):
        return function(*model, observations, observed, None, **settings)
    batch_size, num_steps = observations.shape[:2]
    sizes = [padding.rounded_up(size) for size in (batch_size, num_steps)]
    model = padding.pad_model(model, *sizes)
    frames = [
        padding.pad(x, {axis: size for axis, size in enumerate(sizes) if axis or x.shape[0] != 1})
        for x in (observations, observed)
    ]
    given = (*model, *frames, tf.constant(num_steps))
    # XLA takes ten seconds and more for the passes over blocks, and gains little for short series.
    results = eager.call(function, given, method != "parallel", **settings)
    return padding.cut(results, sizes[0] - batch_size, sizes[1] - num_steps)


def _filter(*given, method, stabilised):
    """``filter`` of the fields of a model, observations, the mask, and T or None (all steps)."""
    dtype, inputs = in_float64(*given)
    ssm = batch_last_ssm(*inputs)
    result = parallel.filter(ssm) if method == "parallel" else sequential.forward(ssm, stabilised)
    return cast(filter_result(ssm, result), dtype)


def _smooth(*given, method, stabilised):
    """``smooth`` of the same."""
    dtype, inputs = in_float64(*given)
    ssm = batch_last_ssm(*inputs)
    if method == "parallel":
        result, smoothed = parallel.smooth(ssm)
    else:
        result = sequential.forward(ssm, stabilised)
        smoothed = sequential.backward(ssm, result, stabilised)
    return cast(smooth_result(ssm, result, smoothed), dtype)


def _log_likelihood(*given, method, stabilised):
    """``log_likelihood`` of the same."""
    dtype, inputs = in_float64(*given)
    ssm = batch_last_ssm(*inputs)
    if method == "parallel":
        return cast(parallel.log_likelihood(ssm), dtype)
    return cast(gradient.log_likelihood_with_gradient(ssm, stabilised), dtype)


def in_float64(*given):
    """The model's dtype, and (model, observations, observed) in float64 with all axes.

    The batch axis is 1 of what is the same for all sequences: where the covariances are, they are
    computed once.
    """
    *fields, observations, observed, num_steps = given
    model = LGSSM(*fields)
    extent = length(observations, 0), length(observations, 1)
    shared = observed.shape[0] == 1 and model.has_one_covariance()
    if not shared:
        observed = tf.broadcast_to(observed, tf.shape(observations))
    # Cast before the broadcast: the smaller tensors are cast, and gradients sum in float64.
    full = padding.end_at(cast(model, tf.float64).broadcast(*extent, shared), num_steps)
    return model.dtype, (full, *cast((observations, observed), tf.float64))


def batch_last_ssm(model, observations, observed):
    """What ``in_float64`` gives, as the loops take it."""
    return sequential.BatchLastLGSSM(*map(batch_last, (*model, observations, observed)))


def filter_result(ssm, result):
    """A forward pass as a ``FilterResult``."""
    moments = (
        result.means,
        result.covariances,
        result.predicted_means,
        result.predicted_covariances,
    )
    step_terms = sequential.step_log_likelihoods(ssm, result)  # [T, B]
    log_likelihood = tf.reduce_sum(step_terms, axis=0)
    moments = _for_all((*moments, step_terms), log_likelihood)
    return FilterResult(log_likelihood, *moments)


def smooth_result(ssm, result, smoothed):
    """A forward and a backward pass as a ``SmoothResult``."""
    filtered = filter_result(ssm, result)
    smoothed = _for_all(smoothed, filtered.log_likelihood)
    return SmoothResult(filtered.log_likelihood, *smoothed, filtered)


def _for_all(tensors, like):
    """Tensors ``[..., B]`` or ``[..., 1]`` as ``[B, ...]``, with the B of ``like``."""
    batch = like.shape[0]
    batch_size = tf.shape(like)[:1]

    def widen(x):
        x = batch_first(x)
        if x.shape[0] == 1 and batch != 1:
            x = tf.broadcast_to(x, tf.concat([batch_size, tf.shape(x)[1:]], axis=0))
        return x

    return tuple(map(widen, tensors))
