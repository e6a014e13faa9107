r"""Draws from the prior and the posterior, and the densities of such draws.

The posterior is sampled as Durbin and Koopman (2002) do: draw (z*, y*) from the prior and correct
it by the smoothed mean of what it missed, z = z* + E[z | y] - E[z | y*]. Only means are needed, so
singular noise is no obstacle. The density of a draw is read off the backward factorisation

    p(z | y) = p(z_T | y) ∏_t N(z_t; x_{t|t} + G_t (z_{t+1} - x_{t+1|t}), L_t)

with G and L as in ``sequential``. For every z, log p(y, z) - log p(z | y) = log p(y): this is why
the sampled and the collapsed bound of a Kalman VAE are the same number.
"""

from __future__ import annotations

import math

import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import checks, eager, padding, sequential, steps
from kvae_tf.lgssm.inference import prepare_observations, smooth
from kvae_tf.lgssm.model import LGSSM
from kvae_tf.lgssm.noise import as_sampler
from kvae_tf.lgssm.results import FilterResult
from kvae_tf.lgssm.steps import batch_first, batch_last, cast, length


def sample(
    model: LGSSM,
    seed,
    num_steps: int | None = None,
    batch_size: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A draw of latents and observations from the prior.

    Args:
      model: the matrices.
      seed: an int, a stateless pair or a ``Sampler``; the same one gives the same draw.
      num_steps: T; may be None where a field of the model has a time axis.
      batch_size: B; may be None where a field has a batch axis.

    Returns:
      latents ``[B, T, n]`` and observations ``[B, T, m]``.

    Raises:
      UserError: T is given by neither the model nor the arguments; or an argument is no positive
        number, or another one than the model has.
    """
    model = model.validate()
    checks.check_model(model)
    for name, value in (("num_steps", num_steps), ("batch_size", batch_size)):
        if value is not None:
            checks.check_size(name, value)
    batch_size, num_steps = _extent(model, batch_size, num_steps)
    noise = _noise(model, seed, 1, batch_size, num_steps)
    return _compute(_sample, model, noise, (), batch_size, num_steps)


def posterior_sample(
    model: LGSSM,
    observations: tf.Tensor,
    observed: tf.Tensor | None = None,
    seed=0,
    num_samples: int = 1,
) -> tf.Tensor:
    """Draws of the latents given what was observed.

    Args:
      model: the matrices.
      observations: ``[B, T, m]``; anything where unobserved.
      observed: ``[B, T]`` or ``[B, T, m]``, 1 = seen; None means all.
      seed: an int, a stateless pair or a ``Sampler``, whose rows are the B sequences.
      num_samples: S.

    Returns:
      ``[S, B, T, n]``.

    Raises:
      UserError: the arguments do not fit the model, or ``num_samples`` is no positive number.
    """
    checks.check_size("num_samples", num_samples)
    model = model.validate()
    checks.check_model(model)
    observations, observed = prepare_observations(model, observations, observed)
    shape = tf.shape(observations)
    batch_size, num_steps = shape[0], shape[1]
    noise = _noise(model, seed, num_samples, batch_size, num_steps)
    return _compute(
        _posterior_sample, model, noise, (observations, observed), batch_size, num_steps
    )


def joint_log_prob(
    model: LGSSM,
    latents: tf.Tensor,
    observations: tf.Tensor,
    observed: tf.Tensor | None = None,
) -> tf.Tensor:
    """log p(y, z) of latents and the observed values.

    Args:
      model: the matrices, with positive noises.
      latents: ``[B, T, n]``.
      observations: ``[B, T, m]``.
      observed: ``[B, T]`` or ``[B, T, m]``, 1 = seen; None means all.

    Returns:
      ``[B]``, nats.

    Raises:
      UserError: latents or observations do not fit the model, or a noise is 0.
    """
    model = model.validate()
    checks.check_model(model, positive=True)
    dtype = model.dtype
    observations, observed = prepare_observations(model, observations, observed)
    latents = tf.convert_to_tensor(latents, dtype)
    checks.check_latents(latents, observations, model.latent_size)
    shape = tf.shape(observations)
    model = cast(model, tf.float64).broadcast(shape[0], shape[1])
    latents, observations, observed = cast((latents, observations, observed), tf.float64)
    start = _log_normal(latents[:, 0] - model.initial_mean, model.initial_covariance)
    step = latents[:, 1:] - (_matvec(model.transition, latents) + model.transition_offset)[:, :-1]
    frame = observations - _matvec(model.emission, latents)
    log_prob = (
        start
        + tf.reduce_sum(_log_normal_diagonal(step, model.transition_noise[:, :-1]), axis=[1, 2])
        + tf.reduce_sum(observed * _log_normal_diagonal(frame, model.emission_noise), axis=[1, 2])
    )
    return tf.cast(log_prob, dtype)


def posterior_log_prob(model: LGSSM, result: FilterResult, latents: tf.Tensor) -> tf.Tensor:
    """log p(z | y) of latents under the posterior that a filter result belongs to.

    Args:
      model: the matrices, with positive noises.
      result: the filter's result over the same T steps.
      latents: ``[B, T, n]``.

    Returns:
      ``[B]``, nats.

    Raises:
      UserError: latents do not fit the result, or a noise is 0.
    """
    model = model.validate()
    checks.check_model(model, positive=True)
    dtype = model.dtype
    latents = tf.convert_to_tensor(latents, dtype)
    checks.check_latents(latents, result.filtered_means, model.latent_size)
    shape = tf.shape(latents)
    model = cast(model, tf.float64).broadcast(shape[0], shape[1])
    result, latents = cast((result, latents), tf.float64)
    A, q, P = (
        batch_last(x[:, :-1])
        for x in (model.transition, model.transition_noise, result.filtered_covariances)
    )
    gain, _ = sequential.smoother_gains(P, A, q)
    # L in Joseph's form is safe to factorise.
    residual = sequential.joseph_residual(gain, P, A, q)
    gain, residual = batch_first(gain), batch_first(residual)
    mean = result.filtered_means[:, :-1] + _matvec(
        gain, latents[:, 1:] - result.predicted_means[:, 1:]
    )
    last = _log_normal(
        latents[:, -1] - result.filtered_means[:, -1], result.filtered_covariances[:, -1]
    )
    log_prob = last + tf.reduce_sum(_log_normal(latents[:, :-1] - mean, residual), axis=1)
    return tf.cast(log_prob, dtype)


def _matvec(a, x):
    """a x: ``[..., i, k], [..., k] -> [..., i]``, without ``tf.matmul`` (see ``steps``)."""
    return tf.reduce_sum(a * x[..., tf.newaxis, :], axis=-1)


def _factor(covariance):
    """The factor, computed in float64, so that the square root of a difference keeps its digits."""
    return tf.cast(steps.psd_factor(tf.cast(covariance, tf.float64)), covariance.dtype)


def _noise(model, seed, num_samples, batch_size, num_steps):
    """Standard normal noise of starts ``[S, B, n]``, steps ``[S, B, T, n]``, and observations."""
    n, m, dtype = model.latent_size, model.observation_size, model.dtype
    start_sampler, transition_sampler, emission_sampler = as_sampler(seed).split(3)

    def normal(sampler, *shape):
        # The sampler's rows are sequences: each of them has its block of every draw.
        return sampler.normal([num_samples, batch_size, *shape], axis=1, dtype=dtype)

    return (
        normal(start_sampler, n),
        normal(transition_sampler, num_steps, n),
        normal(emission_sampler, num_steps, m),
    )


def _compute(function, model, noise, frames, batch_size, num_steps):
    """``function`` of a checked model, noise and frames: a compiled one if the call is eager."""
    given = (*model, *noise, *frames)
    if not eager.compiles(given) or min(int(batch_size), int(num_steps)) < 1:
        return function(*given, None)
    batch_size, num_steps = int(batch_size), int(num_steps)
    B, T = (padding.rounded_up(size) for size in (batch_size, num_steps))
    model = padding.pad_model(model, B, T)
    start, *others = noise
    noise = (padding.pad(start, {1: B}), *(padding.pad(x, {1: B, 2: T}) for x in others))
    frames = (padding.pad(x, {0: B, 1: T}) for x in frames)
    results = eager.call(function, (*model, *noise, *frames, tf.constant(num_steps)))
    return tf.nest.map_structure(
        lambda x: padding.cut(x, B - batch_size, T - num_steps, x.shape.rank - 3), results
    )


def _sample(*given):
    """``sample`` of the fields of a model, noise as of ``_noise``, and T or None (all steps)."""
    *fields, start, transition_noise, emission_noise, num_steps = given
    extent = length(transition_noise, 1), length(transition_noise, 2)
    model = padding.end_at(LGSSM(*fields).broadcast(*extent), num_steps)
    return _draw(model, (start[0], transition_noise[0], emission_noise[0]))


def _posterior_sample(*given):
    """``posterior_sample`` of the same, with observations and mask before the last."""
    *fields, start, transition_noise, emission_noise, observations, observed, num_steps = given
    num_samples, *extent = (length(transition_noise, axis) for axis in range(3))
    model = padding.end_at(LGSSM(*fields).broadcast(*extent), num_steps)
    # The draws are sequences of one large batch.
    model, observations, observed = tf.nest.map_structure(
        lambda x: _merge_leading(tf.repeat(x[tf.newaxis], num_samples, axis=0)),
        (model, observations, observed),
    )
    noise = tuple(_merge_leading(x) for x in (start, transition_noise, emission_noise))
    latents, imagined = _draw(model, noise)
    centred = model._replace(
        transition_offset=tf.zeros_like(model.transition_offset),
        initial_mean=tf.zeros_like(model.initial_mean),
    )
    latents += smooth(centred, observations - imagined, observed).smoothed_means
    return tf.reshape(latents, [num_samples, *extent, model.latent_size])


def _merge_leading(x):
    """``[S, B, ...] -> [S * B, ...]``."""
    shape = tf.shape(x)
    merged = tf.reshape(x, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0))
    return tf.ensure_shape(merged, [None, *x.shape[2:]])


def _draw(model, noise):
    """A draw of latents and observations from a model that has all axes."""
    start, transition_noise, emission_noise = noise
    start = model.initial_mean + _matvec(_factor(model.initial_covariance), start)
    drift = model.transition_offset + tf.sqrt(model.transition_noise) * transition_noise

    def step(carry, inputs):
        transition, drift = inputs
        return (steps.matvec(transition, carry[0]) + drift,), carry

    _, (latents,) = sequential.scan(
        step,
        (batch_last(start),),
        (batch_last(model.transition), batch_last(drift)),
        [[model.latent_size, None]],
    )
    latents = batch_first(latents)
    noise = tf.sqrt(model.emission_noise) * emission_noise
    return latents, _matvec(model.emission, latents) + noise


def _log_normal(error, covariance):
    factor = tf.linalg.cholesky(covariance)
    white = tf.linalg.triangular_solve(factor, error[..., tf.newaxis])[..., 0]
    terms = tf.square(white) + 2.0 * tf.math.log(tf.linalg.diag_part(factor))
    return -0.5 * tf.reduce_sum(terms + math.log(2.0 * math.pi), axis=-1)


def _log_normal_diagonal(error, variance):
    return -0.5 * (tf.square(error) / variance + tf.math.log(2.0 * math.pi * variance))


def _extent(model, batch_size, num_steps):
    """B and T, from the arguments or from the first field that has these axes."""
    for name, step_rank in (
        ("transition", 2),
        ("transition_offset", 1),
        ("transition_noise", 1),
        ("emission", 2),
        ("emission_noise", 1),
    ):
        value = getattr(model, name)
        if value is not None and value.shape.rank == step_rank + 2:
            batch_size = _agreed("batch_size", batch_size, value, 0, name)
            num_steps = _agreed("num_steps", num_steps, value, 1, name)
    for name, step_rank in (("initial_mean", 1), ("initial_covariance", 2)):
        value = getattr(model, name)
        if value.shape.rank == step_rank + 1:
            batch_size = _agreed("batch_size", batch_size, value, 0, name)
    if num_steps is None:
        raise UserError("num_steps is None and no field of the model has a time axis")
    return 1 if batch_size is None else batch_size, num_steps


def _agreed(name, given, value, axis, field):
    """A size as given, or that of a field's axis."""
    own = value.shape[axis]
    if given is None:
        return tf.shape(value)[axis] if own is None else own
    if own not in (None, 1) and not tf.is_tensor(given) and given != own:
        raise UserError(f"{name} is {given}, expected {own}, as {field} has")
    return given
