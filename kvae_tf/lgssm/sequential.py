r"""The filter and the smoother as one ``tf.while_loop`` per direction (batch-last).

The filter is the forward recursion of ``steps.predict`` and ``steps.update``. The smoother is
Rauch, Tung and Striebel's:

    G_t = P_{t|t} A_tᵀ P_{t+1|t}⁻¹
    x_{t|T} = x_{t|t} + G_t (x_{t+1|T} - x_{t+1|t})
    P_{t|T} = L_t + G_t P_{t+1|T} G_tᵀ
    L_t = cov(z_t | z_{t+1}, y_{1:t}) = P_{t|t} - G_t P_{t+1|t} G_tᵀ

G and L need no recursion and no inverse: seeing z_{t+1} is seeing n scalars, the rows of A_t z_t
with noise q, so n rank-1 updates give both for all steps at once. Only positive terms are added.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kvae_tf.lgssm import steps


class BatchLastLGSSM(NamedTuple):
    """A model and its observations, time-major and batch-last.

    Where covariances are the same for all sequences, the batch axis of all but ``offset``,
    ``initial_mean`` and ``observations`` may be 1; so is that of the covariances, gains and
    variances that follow.

    Attributes:
      transition: ``[T, n, n, B]``.
      offset: ``[T, n, B]``.
      transition_noise: ``[T, n, B]``.
      emission: ``[T, m, n, B]``.
      emission_noise: ``[T, m, B]``.
      initial_mean: ``[n, B]``.
      initial_covariance: ``[n, n, B]``.
      observations: ``[T, m, B]``, finite everywhere.
      observed: ``[T, m, B]``, 1 = seen.
    """

    transition: tf.Tensor
    offset: tf.Tensor
    transition_noise: tf.Tensor
    emission: tf.Tensor
    emission_noise: tf.Tensor
    initial_mean: tf.Tensor
    initial_covariance: tf.Tensor
    observations: tf.Tensor
    observed: tf.Tensor


class FilterPass(NamedTuple):
    """Results of the forward pass, stacked over time (batch-last).

    Attributes:
      means: ``[T, n, B]`` filtered.
      covariances: ``[T, n, n, B]`` filtered.
      predicted_means: ``[T, n, B]`` of z_t given y_{1:t-1}.
      predicted_covariances: ``[T, n, n, B]``.
      gains: ``[T, m, n, B]``, gain of each scalar observation, 0 where unobserved.
      innovations: ``[T, m, B]``, 0 where unobserved.
      variances: ``[T, m, B]``, variance of each innovation, 1 where unobserved.
    """

    means: tf.Tensor
    covariances: tf.Tensor
    predicted_means: tf.Tensor
    predicted_covariances: tf.Tensor
    gains: tf.Tensor
    innovations: tf.Tensor
    variances: tf.Tensor


class SmootherPass(NamedTuple):
    """Smoothed moments (batch-last).

    Attributes:
      means: ``[T, n, B]``.
      covariances: ``[T, n, n, B]``.
      cross_covariances: ``[T-1, n, n, B]``, cov(z_t, z_{t+1} | y).
    """

    means: tf.Tensor
    covariances: tf.Tensor
    cross_covariances: tf.Tensor


def scan(body, carry, inputs, outputs_like, reverse=False, dtype=None):
    """A ``tf.while_loop`` over the leading axis of ``inputs``.

    Args:
      body: ``(carry, inputs_at_t) -> (carry, outputs_at_t)``, flat tuples of tensors.
      carry: tuple of tensors, the start.
      inputs: tuple of ``[T, ...]`` tensors.
      outputs_like: static shapes of the outputs at one step, None for the batch.
      reverse: run from the last entry to the first.
      dtype: of the outputs; None (default) takes that of the first tensor of ``carry``.

    Returns:
      The last carry, and the outputs, each stacked to ``[T, ...]`` in the order of ``inputs``.
    """
    num_steps = steps.length(inputs[0], 0)
    dtype = dtype or carry[0].dtype
    reads = [
        tf.TensorArray(x.dtype, num_steps, element_shape=x.shape[1:]).unstack(x) for x in inputs
    ]
    writes = tuple(tf.TensorArray(dtype, num_steps, element_shape=shape) for shape in outputs_like)

    def step(count, carry, writes):
        t = num_steps - 1 - count if reverse else count
        carry, outputs = body(carry, tuple(array.read(t) for array in reads))
        writes = tuple(array.write(t, x) for array, x in zip(writes, outputs, strict=True))
        return count + 1, carry, writes

    _, carry, writes = tf.while_loop(
        lambda count, *_: count < num_steps,
        step,
        (tf.constant(0), carry, writes),
        maximum_iterations=num_steps,
    )
    return carry, tuple(array.stack() for array in writes)


def forward(ssm: BatchLastLGSSM, stabilised: bool = False) -> FilterPass:
    """The Kalman filter over all time steps.

    Args:
      ssm: the model and its observations.
      stabilised: Joseph's form in the updates.

    Returns:
      A ``FilterPass``.
    """
    m, n = ssm.emission.shape[1:3]
    batch, number = ssm.initial_mean.shape[-1], ssm.initial_covariance.shape[-1]

    def step(carry, inputs):
        mean, covariance = carry
        transition, offset, q, emission, r, observation, observed = inputs
        seen = steps.update(mean, covariance, observation, observed, emission, r, stabilised)
        outputs = (seen.mean, seen.covariance, mean, covariance, *seen[2:])
        return steps.predict(seen.mean, seen.covariance, transition, offset, q), outputs

    vector, matrix = [n, batch], [n, n, number]
    _, outputs = scan(
        step,
        (ssm.initial_mean, ssm.initial_covariance),
        (*ssm[:5], ssm.observations, ssm.observed),
        [vector, matrix, vector, matrix, [m, n, number], [m, batch], [m, number]],
    )
    return FilterPass(*outputs)


def log_likelihood(ssm: BatchLastLGSSM, result: FilterPass) -> tf.Tensor:
    """log p(y) of each sequence, ``[B]``."""
    return tf.reduce_sum(step_log_likelihoods(ssm, result), axis=0)


def step_log_likelihoods(ssm: BatchLastLGSSM, result: FilterPass) -> tf.Tensor:
    """log p(y_t | y_{1:t-1}) of what was seen at each step, ``[T, B]``."""
    return steps.log_likelihoods(result.innovations, result.variances, ssm.observed)


def backward(
    ssm: BatchLastLGSSM, result: FilterPass, stabilised: bool = False, end=None
) -> SmootherPass:
    """The Rauch-Tung-Striebel smoother.

    Args:
      ssm: the model and its observations.
      result: the forward pass over it.
      stabilised: Joseph's form of L.
      end: smoothed mean ``[n, B]`` and covariance ``[n, n, B]`` of the step after the last one;
        None (default): there is none.

    Returns:
      A ``SmootherPass``; with an ``end`` its last cross-covariance is that with the step after.
    """
    A, q, P = ssm.transition, ssm.transition_noise, result.covariances
    if A.shape[1] > 8 and (A.shape[-1] or 0) >= 128:
        # Large matrices of a large batch: one step at a time stays in the processor's cache.
        _, (gain, residual) = scan(
            lambda carry, inputs: (carry, smoother_gains(*inputs)),
            (tf.zeros([], P.dtype),),
            (P, A, q),
            [P.shape[1:], P.shape[1:]],
        )
    else:
        gain, residual = smoother_gains(P, A, q)
    if stabilised:
        residual = joseph_residual(gain, P, A, q)
    successor = tf.roll(result.predicted_means, -1, axis=0)
    if end is None:
        # The last step has no successor: with G = 0 and L = P its smoothed moments are the
        # filtered.
        num_steps = tf.shape(P)[0]
        is_last = tf.reshape(tf.range(num_steps) == num_steps - 1, [-1, 1, 1, 1])
        gain = tf.where(is_last, tf.zeros_like(gain), gain)
        residual = tf.where(is_last, P, residual)
    else:
        after = steps.matvec(A[-1], result.means[-1]) + ssm.offset[-1]
        successor = tf.concat([successor[:-1], after[tf.newaxis]], axis=0)
    anchor = result.means - steps.matvec(gain, successor)

    def step(carry, inputs):
        mean, covariance = carry
        gain, anchor, residual = inputs
        mean = anchor + steps.matvec(gain, mean)
        covariance = residual + steps.congruence(gain, covariance)
        return (mean, covariance), (mean, covariance)

    last = (result.means[-1], P[-1]) if end is None else end
    shapes = [x.shape for x in last]
    _, (means, covariances) = scan(step, last, (gain, anchor, residual), shapes, reverse=True)
    following = covariances[1:]
    if end is None:
        gain = gain[:-1]
    else:
        following = tf.concat([following, end[1][tf.newaxis]], axis=0)
    return SmootherPass(means, covariances, steps.matmul(gain, following))


def joseph_residual(
    gain: tf.Tensor, covariance: tf.Tensor, transition: tf.Tensor, noise: tf.Tensor
) -> tf.Tensor:
    """L = (I - G A) P (I - G A)ᵀ + G diag(q) Gᵀ: a sum of two positive terms.

    Args:
      gain: ``[..., n, n, B]``, G.
      covariance: ``[..., n, n, B]`` filtered covariance P.
      transition: ``[..., n, n, B]``.
      noise: ``[..., n, B]`` variances.

    Returns:
      ``[..., n, n, B]``.
    """
    keep = steps.add_diagonal(-steps.matmul(gain, transition), tf.ones_like(noise))
    root = gain * tf.sqrt(noise)[..., tf.newaxis, :, :]
    spread = steps.symmetrise(steps.matmul_transposed(root, root))
    return steps.congruence(keep, covariance) + spread


def smoother_gains(
    covariance: tf.Tensor, transition: tf.Tensor, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """G and L of the smoother by n rank-1 updates (see the module's equations).

    Args:
      covariance: ``[..., n, n, B]`` filtered covariance.
      transition: ``[..., n, n, B]``.
      noise: ``[..., n, B]`` variances, zero allowed.

    Returns:
      The gain G and the remaining covariance L, both ``[..., n, n, B]``.
    """
    n = transition.shape[-2]
    tiny = tf.constant(1e-30, covariance.dtype)

    def see_row(carry, inputs):
        covariance, gain = carry
        a, noise, unit = inputs
        pa = steps.matvec(covariance, a)
        s = tf.maximum(steps.dot(a, pa), 0.0) + noise
        # A direction without variance has gain zero, not 0/0.
        g = tf.where(s > tiny, 1.0 / tf.maximum(s, tiny), 0.0)[..., tf.newaxis, :]
        # Row i of A_t z_t is seen as e_i·z_{t+1}: G <- (I - k aᵀ) G + k e_iᵀ.
        news = unit[:, tf.newaxis] - steps.matvec(steps.transpose(gain), a)
        gain = gain + steps.outer(pa * g, news)
        root = pa * tf.sqrt(g)
        covariance = covariance - steps.outer(root, root)
        return covariance, gain

    carry = (covariance, tf.zeros_like(covariance))
    rows = (
        tf.unstack(transition, axis=-3),
        tf.unstack(noise, axis=-2),
        tf.unstack(tf.eye(n, dtype=covariance.dtype)),
    )
    if n <= 4:
        for inputs in zip(*rows, strict=True):
            carry = see_row(carry, inputs)
    else:
        rows = tuple(tf.stack(x) for x in rows)
        carry, _ = scan(lambda carry, inputs: (see_row(carry, inputs), ()), carry, rows, [])
    residual, gain = carry
    return gain, residual
