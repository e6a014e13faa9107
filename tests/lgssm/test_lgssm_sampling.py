"""Samples against the dense Gaussian, and the densities of latents and observations."""

import numpy as np
import pytest
import reference
import tensorflow as tf
from scipy import stats

from kvae_tf import lgssm

SAMPLES = 5000


def case(kind="per_step", seed=0, B=2, T=5, n=3, m=2, **options):
    rng = np.random.default_rng(seed)
    model = reference.random_model(rng, B, T, n, m, **options)
    z, y = reference.simulate(rng, model, B, T)
    mask = reference.random_mask(rng, kind, B, T, m)
    return model, z, reference.hide(y, mask), mask


def engine_model(model):
    return lgssm.LGSSM(*model.cast(np.float64))


def flat(*arrays):
    """`[S, T, n]` arrays as the vectors `[S, T n + …]` of the dense joint."""
    return np.concatenate([np.reshape(x, (len(x), -1)) for x in arrays], axis=1)


def test_prior_samples_have_the_moments_of_the_dense_joint():
    T = 3
    model, _, _, _ = case(B=1, T=T, n=2, step_noises=True)
    repeated = reference.Model(*(np.repeat(x, SAMPLES, 0) for x in model.expand(1, T)))
    latents, observations = lgssm.sample(engine_model(repeated), seed=1)
    assert latents.shape == (SAMPLES, T, 2)
    assert observations.shape == (SAMPLES, T, 2)
    mean, covariance = (x[0] for x in reference.dense_joint(model, 1, T))
    reference.assert_sample_moments(flat(latents, observations), mean, covariance)


def test_prior_samples_of_a_time_invariant_model():
    model, _, _, _ = case(seed=1, time_invariant=True, offset=False, batched_initial=False)
    latents, observations = lgssm.sample(
        engine_model(model), seed=(3, 4), num_steps=4, batch_size=SAMPLES
    )
    assert latents.shape == (SAMPLES, 4, 3)
    mean, covariance = (x[0] for x in reference.dense_joint(model, 1, 4))
    reference.assert_sample_moments(flat(latents, observations), mean, covariance)


def test_prior_samples_with_no_process_noise_follow_the_transition():
    model, _, _, _ = case(seed=2)
    model = model._replace(transition_noise=np.zeros(3))
    latents, _ = lgssm.sample(engine_model(model), seed=5)
    z, A, b = latents.numpy(), model.transition, model.transition_offset
    follows = np.einsum("btij,btj->bti", A, z)[:, :-1] + b[:, :-1]
    assert reference.scaled_error(z[:, 1:], follows) < 1e-12


@pytest.mark.parametrize("kind", ["none", "per_dimension", "row_missing"])
def test_posterior_samples_have_the_moments_of_the_dense_posterior(kind):
    model, _, y, mask = case(kind, seed=3, T=4, n=2, step_noises=True)
    samples = lgssm.posterior_sample(engine_model(model), y, mask, seed=6, num_samples=SAMPLES)
    assert samples.shape == (SAMPLES, 2, 4, 2)
    means, covariances, _ = reference.dense_trajectory(model, y, mask)
    for row in range(2):
        reference.assert_sample_moments(flat(samples[:, row]), means[row], covariances[row])


def test_posterior_samples_with_no_process_noise():
    model, _, y, mask = case("per_step", seed=4, T=3, n=2)
    model = model._replace(transition_noise=np.zeros(2))
    samples = lgssm.posterior_sample(engine_model(model), y, mask, seed=7, num_samples=SAMPLES)
    means, covariances, _ = reference.dense_trajectory(model, y, mask)
    for row in range(2):
        reference.assert_sample_moments(flat(samples[:, row]), means[row], covariances[row])


def draw_prior(model, y, mask, seed):
    return lgssm.sample(model, seed)[0]


def draw_posterior(model, y, mask, seed):
    return lgssm.posterior_sample(model, y, mask, seed, 2)


@pytest.mark.parametrize("draw", [draw_prior, draw_posterior])
def test_a_seed_gives_the_same_sample_every_time(draw):
    model, _, y, mask = case(seed=5)

    def sample(seed):
        return draw(engine_model(model), y, mask, seed).numpy()

    assert np.array_equal(sample(8), sample(8))
    assert np.array_equal(sample((8, 9)), sample(tf.constant([8, 9])))
    assert not np.allclose(sample(8), sample(9))
    assert not np.allclose(sample((8, 9)), sample((8, 10)))
    tf.random.set_seed(0)
    assert np.array_equal(sample(8), sample(8))
    graph = tf.function(lambda seed: draw(engine_model(model), y, mask, seed), autograph=False)
    assert reference.scaled_error(graph(tf.constant([8, 9])), sample((8, 9))) < 1e-12


def test_posterior_samples_differ_from_each_other():
    model, _, y, mask = case(seed=6)
    samples = lgssm.posterior_sample(engine_model(model), y, mask, seed=1, num_samples=3).numpy()
    assert not np.allclose(samples[0], samples[1])
    assert not np.allclose(samples[:, 0] - samples[:1, 0], samples[:, 1] - samples[:1, 1])


@pytest.mark.parametrize("kind", ["none", "per_step", "per_dimension", "all_missing"])
def test_joint_log_prob_is_the_dense_density(kind):
    model, z, y, mask = case(kind, seed=7, step_noises=True)
    log_prob = lgssm.joint_log_prob(engine_model(model), z, y, mask)
    expected = reference.joint_log_density(model, z, y, mask)
    assert reference.scaled_error(log_prob, expected) < 1e-9


@pytest.mark.parametrize("kind", ["none", "per_dimension", "row_missing"])
def test_posterior_log_prob_is_the_dense_density(kind):
    model, z, y, mask = case(kind, seed=8, step_noises=True)
    result = lgssm.filter(engine_model(model), y, mask)
    log_prob = lgssm.posterior_log_prob(engine_model(model), result, z)
    means, covariances, _ = reference.dense_trajectory(model, y, mask)
    expected = [
        stats.multivariate_normal(means[row], covariances[row]).logpdf(z[row].reshape(-1))
        for row in range(len(z))
    ]
    assert reference.scaled_error(log_prob, expected) < 1e-9


@pytest.mark.parametrize("method", ["sequential", "parallel"])
@pytest.mark.parametrize("kind", ["none", "per_dimension"])
def test_joint_less_posterior_is_the_likelihood_for_any_latents(kind, method):
    model, z, y, mask = case(kind, seed=9, T=15, n=4, time_invariant=kind == "none")
    ours = engine_model(model)
    result = lgssm.filter(ours, y, mask, method=method)
    for latents in (z, np.zeros_like(z), 3.0 * np.random.default_rng(0).normal(size=z.shape)):
        joint = lgssm.joint_log_prob(ours, latents, y, mask)
        posterior = lgssm.posterior_log_prob(ours, result, latents)
        assert reference.scaled_error(joint - posterior, result.log_likelihood) < 1e-8


def test_joint_log_prob_gradient_ignores_nan_under_a_zero():
    model, z, y, mask = case("per_dimension", seed=10)
    z, y = tf.constant(z), tf.constant(y)
    with tf.GradientTape() as tape:
        tape.watch([z, y])
        log_prob = lgssm.joint_log_prob(engine_model(model), z, y, mask)
    for gradient in tape.gradient(log_prob, [z, y]):
        assert np.all(np.isfinite(gradient))
