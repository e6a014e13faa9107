"""Filtering, smoothing and the log-likelihood: the public calls and the choice of method.

``method="sequential"`` (one loop over time, the fastest on a CPU), ``"parallel"`` (a scan of depth
log T, for long sequences on a GPU) and ``"tfp"`` (TensorFlow Probability, the reference engine).

Calls work eagerly, but their speed comes from ``tf.function(jit_compile=True)`` around them; every
new shape is then compiled once, which takes one to three seconds.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import gradient, parallel, sequential, tfp_engine
from kvae_tf.lgssm.model import LGSSM
from kvae_tf.lgssm.results import FilterResult, SmoothResult
from kvae_tf.lgssm.steps import batch_first, batch_last

METHODS = ("sequential", "parallel", "tfp")


def filter(
    model: LGSSM,
    observations: tf.Tensor,
    observed: tf.Tensor | None = None,
    method: str = "sequential",
    stabilised: bool = False,
) -> FilterResult:
    """The Kalman filter with missing observations.

    Args:
      model: the matrices.
      observations: ``[B, T, m]``; values that are not observed may be anything, NaN too.
      observed: ``[B, T]`` or ``[B, T, m]``, 1 = seen; None means all seen. ``"tfp"`` takes only
        the first form.
      method: ``"sequential"``, ``"parallel"`` or ``"tfp"``.
      stabilised: Joseph's covariance update, for (nearly) zero process noise; sequential only.

    Returns:
      A ``FilterResult``.

    Raises:
      UserError: a shape, a dtype or the method does not fit.
    """
    model, observations, observed = _prepare(model, observations, observed, method, stabilised)
    if method == "tfp":
        return tfp_engine.filter(model, observations, observed)
    if method == "parallel":
        return parallel.filter(model, observations, observed)
    chain = _chain(model, observations, observed)
    return _filter_result(chain, sequential.forward(chain, stabilised))


def smooth(
    model: LGSSM,
    observations: tf.Tensor,
    observed: tf.Tensor | None = None,
    method: str = "sequential",
    stabilised: bool = False,
) -> SmoothResult:
    """The Kalman smoother with missing observations; arguments and errors as ``filter``.

    A random walk, seen at both ends only: the smoother draws the straight line.

    >>> walk = LGSSM(
    ...     transition=[[1.0]], transition_offset=None, transition_noise=[1.0],
    ...     emission=[[1.0]], emission_noise=[1e-6], initial_mean=[0.0], initial_covariance=[[1.0]],
    ... )
    >>> y = tf.constant([[[0.0], [9.0], [9.0], [3.0]]])
    >>> found = smooth(walk, y, observed=[[1.0, 0.0, 0.0, 1.0]])
    >>> [round(float(z), 3) for z in found.smoothed_means[0, :, 0]]
    [0.0, 1.0, 2.0, 3.0]

    Returns:
      A ``SmoothResult``.
    """
    model, observations, observed = _prepare(model, observations, observed, method, stabilised)
    if method == "tfp":
        return tfp_engine.smooth(model, observations, observed)
    if method == "parallel":
        return parallel.smooth(model, observations, observed)
    chain = _chain(model, observations, observed)
    result = sequential.forward(chain, stabilised)
    smoothed = sequential.backward(chain, result, stabilised)
    filtered = _filter_result(chain, result)
    return SmoothResult(
        filtered.log_likelihood,
        batch_first(smoothed.means),
        batch_first(smoothed.covariances),
        batch_first(smoothed.cross_covariances),
        filtered,
    )


def log_likelihood(
    model: LGSSM,
    observations: tf.Tensor,
    observed: tf.Tensor | None = None,
    method: str = "sequential",
    stabilised: bool = False,
) -> tf.Tensor:
    """log p(y) of the observed values; arguments and errors as ``filter``.

    The sequential method carries an analytic gradient in every field of the model and in the
    observations (once differentiable); the others are differentiated by TensorFlow.

    Returns:
      ``[B]``, nats.
    """
    model, observations, observed = _prepare(model, observations, observed, method, stabilised)
    if method == "tfp":
        return tfp_engine.log_likelihood(model, observations, observed)
    if method == "parallel":
        return parallel.filter(model, observations, observed).log_likelihood
    chain = _chain(model, observations, observed)
    return gradient.log_likelihood_with_gradient(chain, stabilised)


def prepare_observations(
    model: LGSSM, observations: tf.Tensor, observed: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Observations with zeros where unseen, and the mask for every number, both ``[B, T, m]``.

    The value is masked before any arithmetic, so that a NaN there reaches no gradient.

    Raises:
      UserError: a shape does not fit the model.
    """
    observations = tf.convert_to_tensor(observations, dtype_hint=model.dtype)
    if observations.dtype != model.dtype:
        raise UserError(
            f"observations have dtype {observations.dtype.name}, expected {model.dtype.name}"
        )
    m = model.observation_size
    if observations.shape.rank != 3 or observations.shape[-1] not in (None, m):
        raise UserError(f"observations have shape {observations.shape}, expected [B, T, {m}]")
    model.check_extent(observations.shape)
    if observed is None:
        return observations, tf.ones_like(observations)
    observed = tf.cast(tf.convert_to_tensor(observed), model.dtype)
    shape = observations.shape
    if not (
        observed.shape.is_compatible_with(shape) or observed.shape.is_compatible_with(shape[:2])
    ):
        raise UserError(
            f"observed has shape {observed.shape}, expected {shape[:2]} or {shape} as observations"
        )
    if observed.shape.rank == 2:
        observed = observed[..., tf.newaxis]
    observed = tf.broadcast_to(observed, tf.shape(observations))
    return tf.where(observed > 0, observations, 0.0), observed


def _prepare(model, observations, observed, method, stabilised):
    if method not in METHODS:
        raise UserError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    if stabilised and method != "sequential":
        raise UserError(f"stabilised is offered by method 'sequential' only, not by {method!r}")
    if method == "tfp" and observed is not None and len(observed.shape) == 3:
        raise UserError(
            f"method 'tfp' takes masks of whole steps, [B, T]; observed has shape "
            f"{tuple(observed.shape)}"
        )
    model = model.validate()
    observations, observed = prepare_observations(model, observations, observed)
    shape = tf.shape(observations)
    batch_size = observations.shape[0] or shape[0]
    num_steps = observations.shape[1] or shape[1]
    if method != "tfp":
        model = model.broadcast(batch_size, num_steps)
    return model, observations, observed


def _chain(model, observations, observed):
    return sequential.Chain(*map(batch_last, (*model, observations, observed)))


def _filter_result(chain, result):
    moments = (
        result.means,
        result.covariances,
        result.predicted_means,
        result.predicted_covariances,
    )
    return FilterResult(sequential.log_likelihood(chain, result), *map(batch_first, moments))
