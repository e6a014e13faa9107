"""The oracles agree with each other and with TensorFlow Probability."""

import numpy as np
import pytest
import reference
import tensorflow as tf
from scipy import stats

B, T, N, M = 2, 6, 3, 2


def case(seed=0, kind="per_step", length=T, **options):
    rng = np.random.default_rng(seed)
    model = reference.random_model(rng, B, length, N, M, **options)
    latents, y = reference.simulate(rng, model, B, length)
    return model, latents, y, reference.random_mask(rng, kind, B, length, M)


def tfp_model(model, length):
    """TFP's model, built from the expanded arrays."""
    import tensorflow_probability as tfp

    A, b, q, C, r, mean, covariance = model.expand(B, length)
    operator, normal = tf.linalg.LinearOperatorFullMatrix, tfp.distributions.MultivariateNormalDiag

    def entry(x, t):
        return tf.gather(tf.constant(x), t, axis=1)

    return tfp.distributions.LinearGaussianStateSpaceModel(
        num_timesteps=length,
        transition_matrix=lambda t: operator(entry(A, t)),
        transition_noise=lambda t: normal(entry(b, t), tf.sqrt(entry(q, t))),
        observation_matrix=lambda t: operator(entry(C, t)),
        observation_noise=lambda t: normal(tf.zeros([M], tf.float64), tf.sqrt(entry(r, t))),
        initial_state_prior=tfp.distributions.MultivariateNormalTriL(
            tf.constant(mean), tf.linalg.cholesky(covariance)
        ),
    )


@pytest.mark.parametrize("kind", reference.MASKS)
@pytest.mark.parametrize("time_invariant", [False, True])
def test_loop_agrees_with_the_dense_joint(kind, time_invariant):
    model, _, y, mask = case(
        kind=kind,
        time_invariant=time_invariant,
        step_noises=not time_invariant,
        offset=kind != "all_seen",
        batched_initial=not time_invariant,
    )
    y = reference.hide(y, mask)
    dense = reference.dense_posterior(model, y, mask)
    reference.assert_moments_close(reference.loop_smoother(model, y, mask), dense, 1e-11)


@pytest.mark.parametrize("length", [1, 2])
def test_loop_agrees_with_the_dense_joint_on_short_sequences(length):
    model, _, y, mask = case(seed=1, kind="per_dimension", length=length)
    dense = reference.dense_posterior(model, y, mask)
    reference.assert_moments_close(reference.loop_smoother(model, y, mask), dense, 1e-11)


def test_loop_agrees_with_the_dense_joint_on_a_long_sequence():
    model, _, y, mask = case(seed=1, kind="per_dimension", length=200)
    means, covariances, log_likelihood = reference.dense_trajectory(model, y, mask)
    steps = np.arange(200)
    blocks = covariances.reshape(B, 200, N, 200, N).swapaxes(2, 3)
    loop = reference.loop_smoother(model, y, mask)
    pairs = [
        (loop.log_likelihood, log_likelihood),
        (loop.smoothed_means, means.reshape(B, 200, N)),
        (loop.smoothed_covariances, blocks[:, steps, steps]),
        (loop.smoothed_cross_covariances, blocks[:, steps[:-1], steps[1:]]),
    ]
    assert max(reference.scaled_error(a, e) for a, e in pairs) < 1e-11


@pytest.mark.tfp
@pytest.mark.parametrize("kind", ["none", "per_step"])
def test_dense_joint_agrees_with_tfp(kind):
    model, _, y, mask = case(seed=2, kind=kind, step_noises=True)
    missing = None if mask is None else mask == 0
    expected, theirs = reference.dense_posterior(model, y, mask), tfp_model(model, T)

    log_likelihoods, means, covariances, next_means, next_covariances, _, _ = tf.function(
        lambda: theirs.forward_filter(y, mask=missing), autograph=False
    )()
    smoothed_means, smoothed_covariances = tf.function(
        lambda: theirs.posterior_marginals(y, mask=missing), autograph=False
    )()
    pairs = [
        (tf.reduce_sum(log_likelihoods, 1), expected.log_likelihood),
        (means, expected.filter.filtered_means),
        (covariances, expected.filter.filtered_covariances),
        (next_means[:, :-1], expected.filter.predicted_means[:, 1:]),
        (next_covariances[:, :-1], expected.filter.predicted_covariances[:, 1:]),
        (smoothed_means, expected.smoothed_means),
        (smoothed_covariances, expected.smoothed_covariances),
    ]
    assert max(reference.scaled_error(a, e) for a, e in pairs) < 1e-11


def test_dense_joint_has_the_moments_of_simulated_sequences():
    model, _, _, _ = case(seed=3, length=3, time_invariant=True, offset=False)
    model = model._replace(
        initial_mean=model.initial_mean[0], initial_covariance=model.initial_covariance[0]
    )
    samples = 20_000
    z, y = reference.simulate(np.random.default_rng(4), model, samples, 3)
    x = np.concatenate([z.reshape(samples, -1), y.reshape(samples, -1)], axis=1)
    mean, covariance = (moment[0] for moment in reference.dense_joint(model, 1, 3))
    reference.assert_sample_moments(x, mean, covariance)


def test_joint_density_is_posterior_density_times_likelihood():
    model, z, y, mask = case(seed=5, kind="per_dimension")
    means, covariances, log_likelihood = reference.dense_trajectory(model, y, mask)
    posterior = [
        stats.multivariate_normal(mean, covariance).logpdf(x.reshape(-1))
        for mean, covariance, x in zip(means, covariances, z, strict=True)
    ]
    expected = np.array(posterior) + log_likelihood
    assert reference.scaled_error(reference.joint_log_density(model, z, y, mask), expected) < 1e-11


def test_all_missing_leaves_the_prior():
    model, _, y, mask = case(seed=6, kind="all_missing")
    result = reference.dense_posterior(model, reference.hide(y, mask), mask)
    means, covariances = reference.dense_joint(model, B, T)
    assert np.all(result.log_likelihood == 0)
    assert np.array_equal(result.smoothed_means.reshape(B, -1), means[:, : T * N])
    assert np.array_equal(result.smoothed_covariances[:, 0], covariances[:, :N, :N])


def test_scaled_error_refuses_other_shapes_and_nan():
    with pytest.raises(AssertionError, match="shape"):
        reference.scaled_error(np.zeros(2), np.zeros(3))
    with pytest.raises(AssertionError, match="finite"):
        reference.scaled_error(np.array([np.nan]), np.zeros(1))
