"""The reference engine: TensorFlow Probability's ``LinearGaussianStateSpaceModel``, sequential.

TFP's mask means *missing*, and its predicted moments are those of the next step; both are converted
to this package's conventions here. TFP's parallel form is not used: its gradients are wrong.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm.model import LGSSM
from kvae_tf.lgssm.results import FilterResult, SmoothResult
from kvae_tf.lgssm.steps import length


def filter(model: LGSSM, observations: tf.Tensor, observed: tf.Tensor) -> FilterResult:
    """TFP's ``forward_filter`` as a ``FilterResult``.

    Args:
      model: the matrices.
      observations: ``[B, T, m]``, finite.
      observed: ``[B, T, m]``, 1 = seen, the same for all m of a step.

    Returns:
      A ``FilterResult``.
    """
    result, _ = _filter(model, observations, observed)
    return result


def smooth(model: LGSSM, observations: tf.Tensor, observed: tf.Tensor) -> SmoothResult:
    """TFP's ``posterior_marginals`` as a ``SmoothResult``.

    TFP inverts the predicted covariances, so none may be singular; where one is, a graph's result
    is NaN. TFP gives no cross-covariances; they are G_t P_{t+1|T} of the smoother's equations.

    Args:
      model: the matrices.
      observations: ``[B, T, m]``, finite.
      observed: ``[B, T, m]``, 1 = seen, the same for all m of a step.

    Raises:
      UserError: a predicted covariance is singular, in an eager call.
    """
    result, distribution = _filter(model, observations, observed)
    means, covariances = distribution.posterior_marginals(observations, mask=_missing(observed))
    shape = tf.shape(observations)
    A = model.broadcast(shape[0], shape[1]).transition[:, :-1]
    factor = tf.linalg.cholesky(result.predicted_covariances[:, 1:])
    if not (tf.is_symbolic_tensor(factor) or np.isfinite(factor).all()):
        raise UserError(
            "method 'tfp' inverts predicted covariances, and one of them is singular, expected "
            "transition_noise or an initial_covariance that prevents it, or method 'sequential'"
        )
    gain_transposed = tf.linalg.cholesky_solve(factor, A @ result.filtered_covariances[:, :-1])
    cross = tf.matmul(gain_transposed, covariances[:, 1:], transpose_a=True)
    return SmoothResult(result.log_likelihood, means, covariances, cross, result)


def log_likelihood(model: LGSSM, observations: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
    """TFP's ``log_prob``, ``[B]`` nats.

    Args:
      model: the matrices.
      observations: ``[B, T, m]``, finite.
      observed: ``[B, T, m]``, 1 = seen, the same for all m of a step.
    """
    distribution = _batched(model, observations).to_tfp(length(observations, 1))
    return distribution.log_prob(observations, mask=_missing(observed))


def _filter(model, observations, observed):
    model = _batched(model, observations)
    distribution = model.to_tfp(length(observations, 1))
    log_likelihoods, means, covariances, next_means, next_covariances, _, _ = (
        distribution.forward_filter(observations, mask=_missing(observed))
    )
    predicted_means = tf.concat([model.initial_mean[:, tf.newaxis], next_means[:, :-1]], axis=1)
    predicted_covariances = tf.concat(
        [model.initial_covariance[:, tf.newaxis], next_covariances[:, :-1]], axis=1
    )
    log_likelihood = tf.reduce_sum(log_likelihoods, axis=-1)
    result = FilterResult(
        log_likelihood,
        means,
        covariances,
        predicted_means,
        predicted_covariances,
        log_likelihoods,
    )
    return result, distribution


def _batched(model, observations):
    """The model with its initial moments given for every sequence, as TFP's results need them."""
    batch_size = tf.shape(observations)[0]
    n = model.latent_size
    return model._replace(
        initial_mean=tf.broadcast_to(model.initial_mean, [batch_size, n]),
        initial_covariance=tf.broadcast_to(model.initial_covariance, [batch_size, n, n]),
    )


def _missing(observed):
    return tf.equal(observed[..., 0], 0)
