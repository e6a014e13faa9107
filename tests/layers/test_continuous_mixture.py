"""Modes as generators: mixed, discretised by SciPy, and in the loop of the joint filter."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import expm

from kvae_tf import lgssm
from kvae_tf.layers import ContinuousMixture, DynamicsParameterNetwork, joint_filter
from kvae_tf.lgssm import LGSSM

K, N, M, U, B, T = 3, 4, 2, 2, 3, 6
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


CONTROLS, A = normal(B, T, U), normal(B, T, M)
INTERVALS = RNG.uniform(0.2, 2.0, (B, T)).astype(np.float32)
OBSERVED = (RNG.random((B, T)) < 0.6).astype(np.float32)


@pytest.fixture(scope="module")
def mixture():
    found = ContinuousMixture(K, N, M, U, affine_modes=True, mode_noise=True, learn_initial=True)
    found.build()
    assert not found.transition.numpy().any()
    for variable, scale in ((found.transition, 0.4), (found.affine, 1.0), (found.emission, 1.0)):
        variable.assign(scale * normal(*variable.shape))
    found.log_transition_noise.assign(0.3 * normal(K, N) - 1.0)
    return found


def network(kind="lstm"):
    found = DynamicsParameterNetwork(K, 8, kind, window=2, reads_intervals=True)
    found.build((None, None, N if kind == "state" else M))
    return found


def test_generators_are_mixed_and_discretised(mixture):
    weights = RNG.dirichlet(np.ones(K), (B, T + 1)).astype(np.float32)
    model, basis = mixture(weights, CONTROLS, INTERVALS)
    one = np.diag(np.ones(N, np.float32))
    np.testing.assert_array_equal(basis[:, 0], np.broadcast_to(one, (B, N, N)))
    for b, t in np.ndindex(B, T - 1):
        alpha = weights[b, t + 1].astype(float)
        drift = np.tensordot(alpha, mixture.transition.numpy(), 1)
        force = np.tensordot(alpha, mixture.control.numpy(), 1) @ CONTROLS[b, t]
        force += alpha @ mixture.affine.numpy()
        block = np.zeros((N + 1, N + 1))
        block[:N, :N], block[:N, N] = drift, force
        moved = expm(block * INTERVALS[b, t])
        there, back = basis[b, t + 1].numpy(), np.linalg.inv(basis[b, t])
        found = there @ model.transition[b, t].numpy() @ back
        np.testing.assert_allclose(found, moved[:N, :N], rtol=1e-4, atol=1e-4)
        found = there @ model.transition_offset[b, t].numpy()
        np.testing.assert_allclose(found, moved[:N, N], rtol=1e-4, atol=1e-4)
        double = np.zeros((2 * N, 2 * N))
        density = np.exp(mixture.log_transition_noise.numpy().T) @ alpha
        double[:N, :N], double[:N, N:], double[N:, N:] = drift, np.diag(density), -drift.T
        noise = expm(double * INTERVALS[b, t])[:N, N:] @ moved[:N, :N].T
        found = (there * model.transition_noise[b, t].numpy()) @ there.T
        np.testing.assert_allclose(found, noise, rtol=1e-3, atol=1e-4)
        emission = np.tensordot(weights[b, t], mixture.emission.numpy(), 1)
        found = model.emission[b, t].numpy() @ back
        np.testing.assert_allclose(found, emission, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lstm", "fifo", "state"])
def test_the_loop_is_the_filter_of_its_own_matrices(mixture, kind):
    own = network(kind)
    result = joint_filter(own, mixture, A, OBSERVED, CONTROLS, intervals=INTERVALS)
    model, basis = mixture(result.parameters.mode_weights, CONTROLS, INTERVALS)
    filtered = lgssm.filter(model, result.encodings, OBSERVED)
    found = filtered.step_log_likelihoods
    np.testing.assert_allclose(result.step_log_likelihoods, found, rtol=1e-3, atol=1e-4)
    means = tf.linalg.matvec(basis, filtered.filtered_means)
    np.testing.assert_allclose(result.filtered_means, means, rtol=1e-3, atol=1e-3)


def test_weights_depend_on_the_interval():
    own = network()
    one, two = own(A, INTERVALS).mode_weights, own(A, INTERVALS + 1.0).mode_weights
    np.testing.assert_array_equal(one[:, 0], two[:, 0])
    assert np.abs(one[:, 1:] - two[:, 1:]).min(axis=-1).max() > 1e-3
    again = DynamicsParameterNetwork.from_config(own.get_config())
    assert again.reads_intervals


def test_a_linear_model_of_steps_as_a_start():
    mixture = ContinuousMixture(1, 2, 2)
    mixture.build()
    values = LGSSM(
        np.diag([0.9, 0.5]), None, np.array([0.3, 0.2]), np.eye(2), np.ones(2), np.zeros(2),
        np.eye(2),
    )  # fmt: skip
    mixture.assign(values)
    step = mixture.step(tf.ones([1, 1]), tf.zeros([1, 0]), tf.ones([1]))
    np.testing.assert_allclose(step.transition[..., 0], values.transition, atol=1e-6)
    np.testing.assert_allclose(step.noise[..., 0], np.diag([0.3, 0.2]), atol=1e-5)
