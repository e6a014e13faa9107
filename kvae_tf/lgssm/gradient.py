r"""log p(y) with its analytic gradient: one backward pass instead of a differentiated loop.

Write l_t = log p(y_{t:T} | y_{1:t-1}) as a function of the predicted moments (x, P) of z_t, and

    r = dl/dx,    N = -d²l/dx².

A Gaussian solves the heat equation, so dl/dP = ½ (r rᵀ - N), and r, N are all that must be carried
back. Through a transition (r, N at step t+1):      r <- Aᵀ r,   N <- Aᵀ N A.
Through a scalar observation (row c, gain k, innovation v, variance s):

    e = v/s - k·r,   h = N k - ½ (k·N k + 1/s) c
    r <- r + c e,    N <- N - c hᵀ - h cᵀ

The derivatives follow without further recursion, for all steps at once. With r, N of step t+1 and
the smoothed mean x_{t|T} = x_{t|t} + P_{t|t} A_tᵀ r:

    dl/dA_t = r x_{t|T}ᵀ - N A_t P_{t|t}      dl/db_t = r       dl/dq_t = ½ (r² - diag N)
    dl/dc   = e x_{t|T} - k + P N k           dl/dy   = -e      dl/dr_i = ½ (e² - 1/s - k·N k)

where P is the covariance after that scalar was seen and N that from before e and h are applied.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.lgssm import steps
from kvae_tf.lgssm.sequential import BatchLastLGSSM, FilterPass, forward, log_likelihood, scan


def log_likelihood_with_gradient(ssm: BatchLastLGSSM, stabilised: bool = False) -> tf.Tensor:
    """log p(y), ``[B]``, differentiable once in every field of ``ssm`` but ``observed``.

    Args:
      ssm: the model and its observations.
      stabilised: Joseph's form in the forward pass.

    Returns:
      ``[B]`` log-likelihoods in nats.
    """

    @tf.custom_gradient
    def evaluate(*fields):
        ssm = BatchLastLGSSM(*fields)
        result = forward(ssm, stabilised)

        def gradient(upstream):
            return gradients(ssm, result, upstream)

        return log_likelihood(ssm, result), gradient

    return evaluate(*ssm)


def adjoint(ssm: BatchLastLGSSM, result: FilterPass, end=None):
    """The backward recursion of r and N.

    Args:
      ssm: the model and its observations.
      result: the forward pass over it.
      end: r ``[n, B]`` and N ``[n, n, B]`` of the step after the last one; None: zero.

    Returns:
      r ``[T, n, B]`` and N ``[T, n, n, B]`` at the predicted moments of each step; e ``[T, m, B]``
      and N k ``[T, m, n, B]`` of each scalar observation.
    """
    m, n = ssm.emission.shape[1:3]
    end = end or _zeros(result)
    batch, number = (x.shape[-1] for x in end)

    def step(carry, inputs):
        carry, errors, pulls = _step_back(carry, inputs)
        return carry, (*carry, tf.stack(errors), tf.stack(pulls))

    _, outputs = scan(
        step,
        end,
        _backward_inputs(ssm, result),
        [[n, batch], [n, n, number], [m, batch], [m, n, number]],
        reverse=True,
    )
    return outputs


def adjoint_from_zero(ssm: BatchLastLGSSM, result: FilterPass):
    """The backward recursion as an affine map of what comes from behind, r <- M r + r_0.

    Args:
      ssm: the model and its observations.
      result: the forward pass over it.

    Returns:
      M ``[n, n, B]``; r_0 ``[n, B]`` and N_0 ``[n, n, B]``, where N <- M N Mᵀ + N_0.
    """

    def step(carry, inputs):
        *moments, whole = carry
        transition, emission, gains, *_ = inputs
        moments, _, _ = _step_back(moments, inputs)
        whole = steps.matmul(steps.transpose(transition), whole)
        for i in reversed(range(emission.shape[0])):
            seen = steps.matvec(steps.transpose(whole), gains[i])
            whole = whole - steps.outer(emission[i], seen)
        return (*moments, whole), ()

    r, N = _zeros(result)
    start = (r, N, steps.add_diagonal(N, tf.ones_like(r)))
    (r, N, whole), _ = scan(step, start, _backward_inputs(ssm, result), [], reverse=True)
    return whole, r, N


def _zeros(result):
    """r and N behind the last step."""
    return tf.zeros_like(result.means[0]), tf.zeros_like(result.covariances[0])


def _backward_inputs(ssm, result):
    precision = ssm.observed / result.variances  # 1/s, 0 where unobserved
    return ssm.transition, ssm.emission, result.gains, result.innovations, precision


def _step_back(carry, inputs):
    """r and N at a step from those at the next, and e and N k of its scalar observations."""
    r, N = carry
    transition, emission, gains, innovations, precision = inputs
    m = emission.shape[0]
    back = steps.transpose(transition)
    r = steps.matvec(back, r)
    N = steps.congruence(back, N)
    errors, pulls = [None] * m, [None] * m
    for i in reversed(range(m)):
        c, k, it = emission[i], gains[i], precision[i]
        Nk = steps.matvec(N, k)
        e = innovations[i] * it - steps.dot(k, r)
        h = Nk - 0.5 * (steps.dot(k, Nk) + it) * c
        r = r + c * e
        ch = steps.outer(c, h)
        N = N - (ch + steps.transpose(ch))
        errors[i], pulls[i] = e, Nk
    return (r, N), errors, pulls


def gradients(ssm: BatchLastLGSSM, result: FilterPass, upstream: tf.Tensor) -> BatchLastLGSSM:
    """Gradients of ``sum(upstream * log p(y))`` for every field (None for the mask).

    Args:
      ssm: the model and its observations.
      result: the forward pass over it.
      upstream: ``[B]``.

    Returns:
      A ``BatchLastLGSSM`` of gradients.
    """
    return gradients_of(ssm, result, adjoint(ssm, result), _zeros(result), upstream)


def gradients_of(
    ssm: BatchLastLGSSM, result: FilterPass, adjoints, end, upstream: tf.Tensor
) -> BatchLastLGSSM:
    """``gradients`` given the backward recursion.

    Args:
      ssm: the model and its observations.
      result: the forward pass over it.
      adjoints: what ``adjoint`` returns.
      end: r ``[n, B]`` and N ``[n, n, B]`` of the step after the last one.
      upstream: ``[B]``.
    """
    r, N, e, Nk = adjoints
    precision = ssm.observed / result.variances
    r_next, N_next = (
        tf.concat([x[1:], last[tf.newaxis]], axis=0) for x, last in zip((r, N), end, strict=True)
    )

    A, P = ssm.transition, result.covariances
    smoothed = result.means + steps.matvec(P, steps.matvec(steps.transpose(A), r_next))
    d_transition = steps.outer(r_next, smoothed) - steps.matmul(steps.matmul(N_next, A), P)
    d_transition_noise = 0.5 * (tf.square(r_next) - steps.diagonal(N_next))

    rows = []
    for i in reversed(range(ssm.emission.shape[1])):
        k = result.gains[:, i]
        rows.append(e[:, i, tf.newaxis] * smoothed - k + steps.matvec(P, Nk[:, i]))
        # Step back to the covariance from before this scalar was seen.
        P = P + steps.outer(k, k) * result.variances[:, i, tf.newaxis, tf.newaxis]
    # An unobserved entry has k = 0 and e = 0, so its row vanishes by itself.
    d_emission = tf.stack(rows[::-1], axis=1)
    d_emission_noise = 0.5 * (tf.square(e) - precision - steps.dot(result.gains, Nk))

    found = BatchLastLGSSM(
        transition=d_transition,
        offset=r_next,
        transition_noise=d_transition_noise,
        emission=d_emission,
        emission_noise=d_emission_noise,
        initial_mean=r[0],
        initial_covariance=0.5 * (steps.outer(r[0], r[0]) - N[0]),
        observations=-e,
        observed=None,
    )
    return BatchLastLGSSM(
        *(
            None if x is None else _summed_like(x * upstream, given)
            for x, given in zip(found, ssm, strict=True)
        )
    )


def _summed_like(x, given):
    """Gradients of sequences, summed where one field is that of all."""
    return tf.reduce_sum(x, axis=-1, keepdims=True) if given.shape[-1] == 1 else x
