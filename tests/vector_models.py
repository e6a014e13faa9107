"""Small models of vectors with the same dynamics, and the exact answers about their entries."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from reference import Model, condition, dense_joint

from kvae_tf.lgssm import LGSSM
from kvae_tf.models.kvae import LinearKVAE, VectorKVAE

B, T, D, N, U = 2, 5, 3, 4, 2
STANDARDISE = [[1.0, -20.0, 0.3], [0.5, 4.0, 1.5]]
_RNG = np.random.default_rng(0)
VECTORS = (_RNG.normal(size=(B, T, D)) * STANDARDISE[1] + STANDARDISE[0]).astype(np.float32)
VECTORS[_RNG.random((B, T, D)) < 0.3] = np.nan
VECTORS[1, 2] = np.nan  # nothing of this row
VECTORS[0, 0] = VECTORS[0, 1] + 1.0
MISSING = np.isnan(VECTORS)
CONTROLS = _RNG.normal(size=(B, T, U)).astype(np.float32)
BATCH = {"frames": VECTORS[:, :, None, :, None], "controls": CONTROLS}


class Exact(NamedTuple):
    """Answers about the entries of ``VECTORS``, in their own units.

    Attributes:
      log_likelihood: ``[B]``, log density of the entries that are there, nats.
      means, stds: ``[B, T, D]``, of the missing entries given the others; the entries themselves
        and 0 where they are there.
    """

    log_likelihood: np.ndarray
    means: np.ndarray
    stds: np.ndarray


def linear(num_modes=1, dynamics_network="constant", control_size=U, **options):
    """A linear model, and the values of its dynamics."""
    return _built(
        LinearKVAE, num_modes, dynamics_network, control_size, network="linear", **options
    )


def vector(num_modes=1, dynamics_network="constant", **options):
    """A model with an encoder and a decoder, and the values of its dynamics."""
    return _built(VectorKVAE, num_modes, dynamics_network, U, units=(8,), **options)


def _built(model, num_modes, dynamics_network, control_size, **options):
    model = model(
        (1, D, 1), control_size, encoding_size=D, latent_size=N, num_modes=num_modes,
        dynamics_network=dynamics_network, dynamics_units=8, standardise=STANDARDISE, **options,
    )  # fmt: skip
    model.build()
    rng = np.random.default_rng(1)
    root = rng.normal(size=(N, N))
    values = LGSSM(
        transition=0.9 * np.linalg.qr(rng.normal(size=(N, N)))[0],
        transition_offset=None,
        transition_noise=rng.uniform(0.05, 0.3, N),
        emission=rng.normal(size=(D, N)),
        emission_noise=rng.uniform(0.02, 0.2, D),
        initial_mean=rng.normal(size=N),
        initial_covariance=root @ root.T + 0.1 * np.eye(N),
    )
    model.mixture.assign(values, rng.normal(size=(N, control_size)))
    return model, values


def exact(values, control):
    """The answers of an LGSSM, from the Gaussian of all entries of a sequence at once.

    Args:
      values: the ``LGSSM`` of the standardised entries, without offset.
      control: ``[N, U]``.
    """
    offset = CONTROLS.astype(float) @ control.T
    answers = []
    for x, mean, covariance in zip(
        VECTORS.reshape(B, -1).astype(float),
        *dense_joint(Model(*values._replace(transition_offset=offset)), B, T),
        strict=True,
    ):
        shift, scale = (np.tile(moments, T) for moments in STANDARDISE)
        mean = mean[T * N :] * scale + shift
        covariance = covariance[T * N :, T * N :] * np.outer(scale, scale)
        known = np.flatnonzero(~np.isnan(x))
        mean, covariance, log_prob = condition(mean, covariance, known, x[known])
        mean[known], covariance[known, known] = x[known], 0.0
        answers.append((log_prob, mean.reshape(T, D), np.sqrt(np.diag(covariance)).reshape(T, D)))
    return Exact(*map(np.stack, zip(*answers, strict=True)))


def check_row_at_a_time(model):
    """``filter_step`` gives what ``impute`` and ``score`` do. Returns the scores ``[B, T]``."""
    expected = model.impute(VECTORS, None, CONTROLS, method="filter")
    state, rows, scores = model.filter_start(B), [], []
    for t in range(T):
        seen = 1.0 - MISSING[:, t].all(1)
        state, step = model.filter_step(state, VECTORS[:, t], seen, CONTROLS[:, t])
        rows.append(step["frames"])
        scores.append(step["scores"])
    np.testing.assert_allclose(tf.stack(rows, 1), expected.frames, rtol=1e-4, atol=1e-4)
    found = model.score(VECTORS, None, CONTROLS).scores
    np.testing.assert_allclose(tf.stack(scores, 1), found, rtol=1e-4, atol=1e-4)
    return found


def check_gradients(model):
    """The gradients of the training's bound are finite, and none is 0."""
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:  # so that modes differ, and hang on the networks
        variable.assign_add(rng.normal(size=variable.shape, scale=0.1))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.training_bound(BATCH, 0).elbo)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 1e-4, variable.path  # more than rounding errors
