"""Moments of latent states and encodings, given a linear Gaussian state-space model."""

from __future__ import annotations

import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.layers import Encoding
from kvae_tf.models.contract import Latents


def latent_moments(model: lgssm.LGSSM, a, observed, method: str) -> Latents:
    """Moments of the latents by the method ``"smooth"``, or ``"filter"``.

    Args:
      model: the LGSSM of a batch.
      a: encodings, ``[B, T, m]``.
      observed: ``[B, T]`` or ``[B, T, m]``, 1 = seen, or None.
      method: ``"smooth"`` or ``"filter"``.
    """
    if method == "smooth":
        result = lgssm.smooth(model, a, observed)
        return Latents(result.smoothed_means, result.smoothed_covariances)
    result = lgssm.filter(model, a, observed)
    return Latents(result.filtered_means, result.filtered_covariances)


def completed(q: Encoding, seen, emission, emission_noise, z: Latents) -> Encoding:
    """q where frames were seen; elsewhere the moments of a = C z + noise.

    Args:
      q: of the encoder, ``[..., m]``.
      seen: ``[...]``, 1 = seen.
      emission: C, ``[..., m, n]``.
      emission_noise: variances ``[m]``.
      z: mean ``[..., n]`` and covariance ``[..., n, n]`` of the latent states.
    """
    mean, P = z
    variance = tf.reduce_sum((emission @ P) * emission, axis=-1)  # diagonal of C P Cᵀ
    std = tf.sqrt(tf.maximum(variance, 0.0) + emission_noise)
    known = seen[..., tf.newaxis] > 0
    filled = tf.linalg.matvec(emission, mean)
    return Encoding(tf.where(known, q.mean, filled), tf.where(known, q.std, std))
