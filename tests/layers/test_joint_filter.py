"""The joint filter: Kalman filter and dynamics parameter network in one loop."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf.layers import (
    DynamicsParameterNetwork,
    ModeMixture,
    filter_start,
    filter_step,
    joint_filter,
    rollout,
)

B, T, M, N, K, U = 2, 5, 2, 3, 4, 2


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_network(kind="lstm", learned_controls=0):
    network = DynamicsParameterNetwork(K, 6, kind, window=3, learned_controls=learned_controls)
    network.build((None, None, M))
    for i, variable in enumerate(network.trainable_variables):
        variable.assign(normal(*variable.shape, seed=i))
    return network


def make_mixture(control_size=U):
    mixture = ModeMixture(K, N, M, control_size)
    mixture.build()
    mixture.transition.assign(0.5 * np.eye(N) + 0.2 * normal(K, N, N, seed=11))
    mixture.control.assign(normal(K, N, control_size, seed=12))
    mixture.emission.assign(normal(K, M, N, seed=13))
    return mixture


def to_reference(model):
    """An LGSSM as the oracle's, in float64."""
    return reference.Model(**model._asdict()).cast(np.float64)


@pytest.mark.parametrize("kind", ["lstm", "gru", "mlp", "fifo"])
@pytest.mark.parametrize(("control_size", "learned"), [(0, 0), (U, 0), (0, N), (U, N)])
def test_joint_filter_fills_in_its_own_predictions(control_size, learned, kind):
    network, mixture = make_network(kind, learned), make_mixture(control_size + learned)
    a, controls = normal(B, T, M), normal(B, T, control_size, seed=5)
    observed = np.array([[1, 0, 0, 1, 0], [0, 1, 1, 0, 1]], np.float32)
    result = joint_filter(network, mixture, a, observed, controls)
    # The pass is the fixed point of: weights follow from the encodings, the model from the weights,
    # the predictions from the model, and the missing encodings from the predictions.
    for found, expected in zip(result.parameters, network(result.encodings), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    weights, learned_controls = result.parameters
    controls = np.concatenate([controls, learned_controls[:, 1:]], axis=-1)
    model = to_reference(mixture(weights, controls))
    oracle = reference.loop_filter(model, a.astype(np.float64), observed)
    predicted = np.einsum("btij,btj->bti", model.emission, oracle.predicted_means)
    expected = np.where(observed[..., None] > 0, a, predicted)
    np.testing.assert_allclose(result.encodings, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.filtered_means, oracle.filtered_means, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lstm", "fifo", "state"])
def test_a_rollout_with_learned_controls(kind):
    """Each candidate is the filter's own walk over missing frames."""
    network, mixture = make_network(kind, learned_controls=N), make_mixture(U + N)
    if kind == "state":
        network = DynamicsParameterNetwork(K, 6, kind, learned_controls=N)
        network.build((None, None, N))
    state = filter_start(network, mixture, B)
    seen, hidden = np.ones(B, np.float32), np.zeros(B, np.float32)
    controls = normal(B, 3, 4, U, seed=6)
    first = normal(B, M)
    start, _ = filter_step(network, mixture, state, first, seen, np.zeros((B, U), np.float32))
    encodings, latents = rollout(network, mixture, start, controls)
    for i in range(3):
        later, _ = filter_step(network, mixture, state, first, seen, controls[:, i, 0])
        for k in range(4):
            control = controls[:, i, min(k + 1, 3)]
            later, step = filter_step(network, mixture, later, first, hidden, control)
            for found, expected in ((encodings, step.encoding), (latents, step.mean)):
                np.testing.assert_allclose(found[:, i, k], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("control_size", [0, U])
def test_weights_of_the_filtered_state(control_size):
    """The network reads E[z_t | a_{1:t}]; modes have offsets and noises of their own."""
    network = DynamicsParameterNetwork(K, 6, "state")
    network.build((None, None, N))
    for i, variable in enumerate(network.trainable_variables):
        variable.assign(normal(*variable.shape, seed=i))
    network.input_scale.assign([1.0, 2.0, 0.5])
    mixture = ModeMixture(K, N, M, control_size, affine_modes=True, mode_noise=True)
    mixture.build()
    mixture.transition.assign(0.5 * np.eye(N) + 0.2 * normal(K, N, N, seed=11))
    mixture.control.assign(normal(K, N, control_size, seed=12))
    mixture.emission.assign(normal(K, M, N, seed=13))
    mixture.affine.assign(normal(K, N, seed=14))
    mixture.log_transition_noise.assign(normal(K, N, seed=15))
    a, controls = normal(B, T, M), normal(B, T, control_size, seed=5)
    observed = np.array([[1, 0, 0, 1, 0], [0, 1, 1, 0, 1]], np.float32)
    result = joint_filter(network, mixture, a, observed, controls)
    weights = result.parameters.mode_weights
    np.testing.assert_allclose(
        weights, network(result.filtered_means).mode_weights, rtol=1e-4, atol=1e-5
    )
    oracle = reference.loop_filter(
        to_reference(mixture(weights, controls)), a.astype(np.float64), observed
    )
    np.testing.assert_allclose(result.filtered_means, oracle.filtered_means, rtol=1e-4, atol=1e-4)
    likelihood = tf.reduce_sum(result.step_log_likelihoods, axis=1)
    np.testing.assert_allclose(likelihood, oracle.log_likelihood, rtol=1e-4, atol=1e-4)
    # Draws of zero are the means; others lead elsewhere.
    same = joint_filter(network, mixture, a, observed, controls, draws=tf.zeros([B, T, N]))
    np.testing.assert_allclose(same.filtered_means, result.filtered_means, atol=1e-5)
    other = joint_filter(network, mixture, a, observed, controls, draws=normal(B, T, N, seed=6))
    assert np.abs(other.filtered_means - result.filtered_means).max() > 1e-3


def test_joint_filter_with_small_noises_is_exact():
    """R = Q = 1e-6 beside a start of variance 20: more digits than a float32 covariance holds."""
    network = make_network("mlp")
    mixture = ModeMixture(K, N, M, 0, transition_noise=1e-6, emission_noise=1e-6)
    mixture.build()
    rotations = np.linalg.qr(normal(K, N, N, seed=11))[0]
    mixture.transition.assign(rotations)
    mixture.emission.assign(normal(K, M, N, seed=13))
    a = normal(B, T, M)
    observed = np.array([[1, 0, 0, 1, 1], [0, 1, 1, 0, 1]], np.float32)
    result = joint_filter(network, mixture, a, observed, tf.zeros([B, T, 0]))
    model = to_reference(mixture(result.parameters.mode_weights, tf.zeros([B, T, 0])))
    exact = reference.loop_filter(model, a.astype(np.float64), observed)
    stds = np.sqrt(np.diagonal(exact.filtered_covariances, axis1=-2, axis2=-1))
    # Weights, matrices and results are float32: each of T steps rounds z by a few eps of its size.
    tolerance = 4 * T * np.finfo(np.float32).eps * np.max(np.abs(exact.filtered_means))
    error = np.abs(result.filtered_means - exact.filtered_means)
    assert np.max(error / stds) < tolerance / np.min(stds)


def test_joint_filter_of_everything_seen_is_the_network():
    network, mixture, a = make_network(), make_mixture(), normal(B, T, M)
    result = joint_filter(network, mixture, a, tf.ones([B, T]), tf.zeros([B, T, U]))
    np.testing.assert_array_equal(result.encodings, a)
    np.testing.assert_allclose(result.parameters.mode_weights, network(a).mode_weights, atol=1e-5)
