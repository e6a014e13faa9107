"""Forecasts: moments of the steps after the last one."""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.lgssm import checks, eager, padding, sequential, steps
from kvae_tf.lgssm.model import LGSSM
from kvae_tf.lgssm.results import FilterResult, ForecastResult
from kvae_tf.lgssm.steps import batch_first, batch_last, cast


def forecast(model: LGSSM, result: FilterResult, num_steps: int) -> ForecastResult:
    """Moments of the ``num_steps`` steps after those of a filter result.

    Args:
      model: the matrices. Where a field has a time axis, entry T-1 leads from the last step to the
        first forecast one, and entries from T on are used as far as they exist; past the end the
        last entry is held.
      result: the filter's result over T steps (also that of ``smooth(...).filter``).
      num_steps: number K of steps to forecast.

    Returns:
      A ``ForecastResult`` of K steps.

    Raises:
      UserError: ``num_steps`` is no positive number.
    """
    checks.check_size("num_steps", num_steps)
    model = model.validate()
    checks.check_model(model)
    shape = tf.shape(result.filtered_means)
    batch_size, first = shape[0], shape[1]

    def entries(value, step_rank, start):
        if value.shape.rank == step_rank:
            return value
        last = tf.shape(value)[1] - 1
        return tf.gather(value, tf.minimum(tf.range(start, start + num_steps), last), axis=1)

    offset = model.transition_offset
    future = LGSSM(
        transition=entries(model.transition, 2, first - 1),
        transition_offset=None if offset is None else entries(offset, 1, first - 1),
        transition_noise=entries(model.transition_noise, 1, first - 1),
        emission=entries(model.emission, 2, first),
        emission_noise=entries(model.emission_noise, 1, first),
        initial_mean=result.filtered_means[:, -1],
        initial_covariance=result.filtered_covariances[:, -1],
    )
    if not eager.compiles(future) or int(num_steps) < 1:
        return _forecast(*future, batch_size=batch_size, num_steps=num_steps)
    batch_size, num_steps = int(batch_size), int(num_steps)
    sizes = [padding.rounded_up(size) for size in (batch_size, num_steps)]
    future = padding.pad_model(future, *sizes)
    results = eager.call(_forecast, future, batch_size=sizes[0], num_steps=sizes[1])
    return padding.cut(results, sizes[0] - batch_size, sizes[1] - num_steps)


def _forecast(*fields, batch_size, num_steps):
    """``forecast`` of the fields of a model whose initial moments are the last filtered ones."""
    dtype = fields[0].dtype
    future = cast(LGSSM(*fields), tf.float64).broadcast(batch_size, num_steps)

    def step(carry, inputs):
        moments = steps.predict(*carry, *inputs)
        return moments, moments

    start = (batch_last(future.initial_mean), batch_last(future.initial_covariance))
    _, (means, covariances) = sequential.scan(
        step, start, tuple(map(batch_last, future[:3])), [x.shape for x in start]
    )
    C, r = batch_last(future.emission), batch_last(future.emission_noise)
    observation_means = steps.matvec(C, means)
    observation_covariances = steps.add_diagonal(steps.congruence(C, covariances), r)
    moments = (means, covariances, observation_means, observation_covariances)
    return cast(ForecastResult(*map(batch_first, moments)), dtype)
