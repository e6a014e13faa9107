"""Series of any length in the memory of one chunk of steps.

A chunk is ``(model, observations, observed)``, as ``filter`` takes them, of the steps that follow
those of the chunk before; entry ``t`` of a transition maps the last step of a chunk to the first of
the next. Of all models the first gives the initial moments. Between chunks the moments are float64,
whatever the model's dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import eager, inference, sequential
from kvae_tf.lgssm.model import LGSSM, as_tensor
from kvae_tf.lgssm.prediction import forecast
from kvae_tf.lgssm.results import FilterResult, SmoothResult
from kvae_tf.lgssm.steps import batch_last, cast

Chunk = tuple[LGSSM, tf.Tensor, tf.Tensor | None]


def filter_chunks(
    chunks: Iterable[Chunk], method: str = "sequential", stabilised: bool = False
) -> Iterator[FilterResult]:
    """The Kalman filter, one chunk of steps at a time, outside of graphs.

    Args:
      chunks: ``(model, observations, observed)`` of each chunk, in order.
      method: as in ``filter``; ``"sequential"`` by default.
      stabilised: as in ``filter``; False by default.

    Yields:
      The ``FilterResult`` of each chunk. Its ``log_likelihood`` is that of the chunk given those
      before; their sum is that of the series.

    Raises:
      UserError: a chunk does not fit.
    """
    start = None
    for chunk in chunks:
        dtype, model, observations, observed = _from_start(chunk, start)
        result = inference.filter(model, observations, observed, method, stabilised)
        start = _after(model, result)
        yield cast(result, dtype)


def smooth_chunks(chunks: Sequence[Chunk], stabilised: bool = False) -> Iterator[SmoothResult]:
    """The Kalman smoother, one chunk of steps at a time, the last one first, outside of graphs.

    Each chunk is read twice and filtered twice: on the way forward only the moments at which chunks
    start are kept.

    Args:
      chunks: ``(model, observations, observed)`` of each chunk, in order: a list, or anything with
        a length that gives chunk ``i`` as ``chunks[i]``, for example from a file.
      stabilised: as in ``smooth``; False by default.

    Yields:
      The ``SmoothResult`` of each chunk, from the last to the first. ``log_likelihood`` is as in
      ``filter_chunks``. ``smoothed_cross_covariances`` has as many steps as the chunk, except for
      the last chunk: the last is that with the first step of the next chunk.

    Raises:
      UserError: a chunk does not fit.
    """
    if not tf.executing_eagerly():
        raise UserError("smooth_chunks is called in a graph, expected an eager call")
    starts = [None]
    for i in range(len(chunks) - 1):
        _, model, observations, observed = _from_start(chunks[i], starts[-1])
        result = inference.filter(model, observations, observed, stabilised=stabilised)
        starts.append(_after(model, result))
    end = (None, None)
    for i in reversed(range(len(chunks))):
        dtype, *chunk = _from_start(chunks[i], starts.pop())
        model, observations, observed = inference.prepare(*chunk, "sequential", stabilised, False)
        given = (*model, observations, observed, *end)
        if eager.compiles(given):
            result = eager.call(_smooth_before, given, stabilised=bool(stabilised))
        else:
            result = _smooth_before(*given, stabilised=stabilised)
        end = (result.smoothed_means[:, 0], result.smoothed_covariances[:, 0])
        yield cast(result, dtype)


def _smooth_before(*given, stabilised):
    """``smooth`` of the fields of a model, observations, the mask, and the moments that follow."""
    *given, mean, covariance = given
    end = None if mean is None else (batch_last(mean), batch_last(covariance))
    ssm = inference.batch_last_ssm(*inference.in_float64(*given, None)[1])
    result = sequential.forward(ssm, stabilised)
    smoothed = sequential.backward(ssm, result, stabilised, end)
    return inference.smooth_result(ssm, result, smoothed)


def _from_start(chunk, start):
    """The dtype of a chunk, and the chunk in float64 with its initial moments per sequence."""
    model, observations, observed = chunk
    model = model.validate()
    dtype = model.dtype
    observations = tf.cast(as_tensor("observations", observations, dtype), tf.float64)
    if observations.shape.rank != 3:
        raise UserError(f"observations have shape {observations.shape}, expected [B, T, m]")
    model = cast(model, tf.float64)
    mean, covariance = start or (model.initial_mean, model.initial_covariance)
    batch_size, n = observations.shape[0], model.latent_size
    if start and mean.shape[0] != batch_size:
        raise UserError(
            f"observations have shape {observations.shape}, expected B = {mean.shape[0]} as in the "
            "chunk before"
        )
    if not start:
        mean = tf.broadcast_to(mean, [batch_size, n])
        covariance = tf.broadcast_to(covariance, [batch_size, n, n])
    model = model._replace(initial_mean=mean, initial_covariance=covariance)
    return dtype, model, observations, observed


def _after(model, result):
    """Predicted moments of the step after the last one."""
    ahead = forecast(model, result, 1)
    return ahead.means[:, 0], ahead.covariances[:, 0]
