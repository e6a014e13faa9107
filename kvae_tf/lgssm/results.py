"""Results of the inference functions. Shapes are batch-first; units are those of the model."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class FilterResult(NamedTuple):
    """Moments of z_t given y_{1:t}, and of z_t given y_{1:t-1}.

    Attributes:
      log_likelihood: ``[B]``, log p(y) of the seen observations, nats.
      filtered_means: ``[B, T, n]``, E[z_t | y_{1:t}].
      filtered_covariances: ``[B, T, n, n]``.
      predicted_means: ``[B, T, n]``, E[z_t | y_{1:t-1}]; the initial mean at t = 0.
      predicted_covariances: ``[B, T, n, n]``.
      step_log_likelihoods: ``[B, T]``, log p(y_t | y_{1:t-1}) of what was seen at step t, nats; 0
        where nothing was. Their sum over t is ``log_likelihood``.
    """

    log_likelihood: tf.Tensor
    filtered_means: tf.Tensor
    filtered_covariances: tf.Tensor
    predicted_means: tf.Tensor
    predicted_covariances: tf.Tensor
    step_log_likelihoods: tf.Tensor


class SmoothResult(NamedTuple):
    """Moments of z_t given y_{1:T}.

    Attributes:
      log_likelihood: ``[B]``, log p(y) of the seen observations, nats.
      smoothed_means: ``[B, T, n]``, E[z_t | y].
      smoothed_covariances: ``[B, T, n, n]``.
      smoothed_cross_covariances: ``[B, T-1, n, n]``, cov(z_t, z_{t+1} | y).
      filter: the ``FilterResult`` of the forward pass.
    """

    log_likelihood: tf.Tensor
    smoothed_means: tf.Tensor
    smoothed_covariances: tf.Tensor
    smoothed_cross_covariances: tf.Tensor
    filter: FilterResult


class ForecastResult(NamedTuple):
    """Moments of the steps that follow the last one; entry k is step T + k.

    Attributes:
      means: ``[B, K, n]``, E[z_{T+k} | y_{1:T}].
      covariances: ``[B, K, n, n]``.
      observation_means: ``[B, K, m]``, E[y_{T+k} | y_{1:T}].
      observation_covariances: ``[B, K, m, m]``, emission noise included.
    """

    means: tf.Tensor
    covariances: tf.Tensor
    observation_means: tf.Tensor
    observation_covariances: tf.Tensor
