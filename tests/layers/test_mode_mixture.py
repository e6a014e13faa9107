"""The modes and their mixture."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.layers import ModeMixture

B, T, M, N, K, U = 2, 5, 2, 3, 4, 2


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_mixture(control_size=U, **options):
    mixture = ModeMixture(K, N, M, control_size, **options)
    mixture.build()
    mixture.transition.assign(0.5 * np.eye(N) + 0.2 * normal(K, N, N, seed=11))
    mixture.control.assign(normal(K, N, control_size, seed=12))
    mixture.emission.assign(normal(K, M, N, seed=13))
    return mixture


def random_weights(lead, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(K), size=lead).astype(np.float32)


def test_mixing_and_time_index():
    mixture = make_mixture()
    weights, controls = random_weights((B, T + 1)), normal(B, T, U)
    model = mixture(weights, controls)
    later = weights[:, 1:]
    A = np.einsum("btk,kij->btij", later, mixture.transition.numpy())
    Bu = np.einsum("btk,kij,btj->bti", later, mixture.control.numpy(), controls)
    C = np.einsum("btk,kij->btij", weights[:, :-1], mixture.emission.numpy())
    np.testing.assert_allclose(model.transition, A, atol=1e-5)
    np.testing.assert_allclose(model.transition_offset, Bu, atol=1e-5)
    np.testing.assert_allclose(model.emission, C, atol=1e-5)


def test_what_may_depend_on_the_mode():
    """Offsets and noises of the modes are mixed; one emission serves all modes."""
    mixture = make_mixture(affine_modes=True, mode_noise=True)
    mixture.affine.assign(normal(K, N, seed=3))
    mixture.log_transition_noise.assign(normal(K, N, seed=4))
    weights, controls = random_weights((B, T + 1)), normal(B, T, U)
    model, later = mixture(weights, controls), weights[:, 1:]
    offset = np.einsum("btk,kij,btj->bti", later, mixture.control.numpy(), controls)
    offset += later @ mixture.affine.numpy()
    np.testing.assert_allclose(model.transition_offset, offset, atol=1e-5)
    noise = later @ np.exp(normal(K, N, seed=4))
    np.testing.assert_allclose(model.transition_noise, noise, rtol=1e-4)
    same = ModeMixture(K, N, M, shared_emission=True, affine_modes=True)
    same.build()
    assert same.has_offset
    assert same.emission.shape == (1, M, N)
    model = same(weights, tf.zeros([B, T, 0]))
    expected = np.broadcast_to(same.emission.numpy(), (B, T, M, N))
    np.testing.assert_allclose(model.emission, expected, atol=1e-7)
    np.testing.assert_array_equal(model.transition_offset, np.zeros((B, T, N)))


def test_control_acts_from_its_step_to_the_next():
    mixture, weights = make_mixture(), random_weights((B, T + 1))
    controls = np.zeros((B, T, U), np.float32)
    controls[:, 2] = 1.0
    offset = mixture(weights, controls).transition_offset.numpy()
    assert (np.abs(offset).max(axis=(0, 2)) > 0).tolist() == [False, False, True, False, False]
    one_hot = np.zeros((B, T + 1, K), np.float32)
    one_hot[..., 0] = 1.0
    one_hot[:, 3] = np.eye(K)[1]  # alpha_3 carries step 2 to step 3
    offset = mixture(one_hot, controls).transition_offset.numpy()
    np.testing.assert_allclose(offset[0, 2], mixture.control.numpy()[1].sum(-1), atol=1e-5)


def test_no_controls():
    model = make_mixture(control_size=0)(random_weights((B, T + 1)), tf.zeros([B, T, 0]))
    assert model.transition_offset is None


def test_start_of_the_noises():
    mixture = ModeMixture(K, N, M, transition_noise=0.3, emission_noise=0.2, initial_variance=7.0)
    mixture.build()
    np.testing.assert_allclose(mixture.transition_noise, np.full(N, 0.3), rtol=1e-4)
    np.testing.assert_allclose(mixture.emission_noise, np.full(M, 0.2), rtol=1e-4)
    np.testing.assert_allclose(mixture.initial_covariance, 7.0 * np.eye(N), rtol=1e-4)
    np.testing.assert_allclose(mixture.transition, np.broadcast_to(np.eye(N), (K, N, N)))
    assert 0.02 < np.std(mixture.emission) < 0.1


@pytest.mark.parametrize(
    ("options", "learned"),
    [
        ({}, set()),
        ({"learn_noise": True}, {"log_q", "log_r"}),
        ({"learn_initial": True}, {"initial_mean", "initial_log_scale", "initial_corner"}),
    ],
)
def test_what_is_learned(options, learned):
    mixture = make_mixture(**options)
    names = {variable.name for variable in mixture.trainable_variables}
    assert names == {"transition", "control", "emission"} | learned


def test_initial_covariance_is_full_and_positive():
    mixture = make_mixture(learn_initial=True)
    mixture.initial_corner.assign(normal(N, N))
    mixture.initial_log_scale.assign([-1.0, 0.0, 1.0])
    covariance = mixture.initial_covariance.numpy()
    factor = np.tril(normal(N, N), -1) + np.diag(np.exp([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(covariance, factor @ factor.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["transition_noise", "emission_noise", "initial_variance"])
def test_variances_are_positive(name):
    with pytest.raises(UserError, match=f"{name} is 0.0, expected a positive variance"):
        ModeMixture(K, N, M, **{name: 0.0})


def test_mixture_of_a_seed():
    first, same, other = (ModeMixture(K, N, M, U, seed=seed) for seed in (1, 1, 2))
    for mixture in (first, same, other):
        mixture.build()
    np.testing.assert_array_equal(first.emission, same.emission)
    assert np.abs(first.emission - other.emission).max() > 1e-3
