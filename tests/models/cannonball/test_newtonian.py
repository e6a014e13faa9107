"""Newtonian motion with a mixed start, against one dense Gaussian for each component."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from kvae_tf import lgssm
from kvae_tf.models.cannonball.newtonian import NewtonianMixture

K, M, L, T = 3, 2, 5, 6
RNG = np.random.default_rng(0)
POSITIONS = RNG.normal(size=(L, T, M)).astype(np.float32)
VARIANCES = RNG.uniform(0.3, 2.0, size=(L, T, M)).astype(np.float32)
OBSERVED = (RNG.random((L, T)) > 0.3).astype(np.float32)


@pytest.fixture(scope="module")
def motion():
    keras.utils.set_random_seed(0)
    layer = NewtonianMixture(K, M)
    layer.build()
    for variable in layer.trainable_variables:
        variable.assign_add(RNG.normal(size=variable.shape, scale=0.5))
    return layer


def dense(layer, k):
    """Mean ``[T * m]`` and covariance of a whole trajectory that starts from component k."""
    return trajectory(
        layer, layer.initial_means[k].numpy(), layer.initial_covariances[k].numpy().astype(float)
    )


def trajectory(layer, mean, P):
    """Likewise, from any Gaussian start."""
    n = 2 * M
    A = np.eye(n) + float(layer.step) * np.eye(n, k=M)
    u, q = layer.force.numpy(), np.diag(layer.transition_noise.numpy())
    means, covariances = [mean], [P]
    for _ in range(T - 1):
        means.append(A @ means[-1] + u)
        covariances.append(A @ covariances[-1] @ A.T + q)
    joint = np.zeros((T, M, T, M))
    for t in range(T):
        carried = covariances[t]
        for later in range(t, T):
            joint[later, :, t] = carried[:M, :M]
            joint[t, :, later] = carried[:M, :M].T
            carried = A @ carried
        joint[t, :, t] += np.diag(layer.emission_noise.numpy())
    return np.array(means)[:, :M].ravel(), joint.reshape(T * M, T * M)


@pytest.mark.parametrize("masked", [False, True])
def test_densities_of_components_and_their_mixture(motion, masked):
    observed = OBSERVED if masked else np.ones((L, T), np.float32)
    weights = special.log_softmax(motion.component_logits.numpy().astype(float))
    expected = np.zeros((L, K))
    for k in range(K):
        mean, covariance = dense(motion, k)
        for i in range(L):
            seen = np.repeat(observed[i] > 0, M)
            gaussian = stats.multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)])
            expected[i, k] = weights[k] + gaussian.logpdf(POSITIONS[i].ravel()[seen])
    given = observed if masked else None
    found = motion.component_log_probs(POSITIONS, given)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    mixed = motion.log_prob(POSITIONS, given)
    np.testing.assert_allclose(mixed, special.logsumexp(expected, axis=1), rtol=1e-4)
    np.testing.assert_array_equal(motion.likeliest(POSITIONS, given), expected.argmax(1))


def readings_posterior(layer):
    """Mean ``[L, T * m]`` and covariance of a given the readings, start from one Gaussian."""
    mean, P = (x.numpy().astype(float) for x in layer.initial_moments)
    weights = special.softmax(layer.component_logits.numpy().astype(float))
    starts = layer.initial_means.numpy().astype(float)
    np.testing.assert_allclose(mean, weights @ starts, rtol=1e-4, atol=1e-5)
    second = layer.initial_covariances.numpy() + starts[:, :, None] * starts[:, None]
    np.testing.assert_allclose(
        P + np.outer(mean, mean), np.tensordot(weights, second, 1), rtol=1e-4, atol=1e-4
    )
    prior_mean, prior = trajectory(layer, mean, P)
    found = []
    for i in range(L):
        seen = np.repeat(OBSERVED[i] > 0, M)
        noise = np.diag(VARIANCES[i].ravel())[seen][:, seen]
        gain = prior[:, seen] @ np.linalg.inv(prior[np.ix_(seen, seen)] + noise)
        y = POSITIONS[i].ravel()[seen]
        found.append((prior_mean + gain @ (y - prior_mean[seen]), prior - gain @ prior[seen]))
    return found


def test_posterior_of_readings_against_a_dense_gaussian(motion):
    draw = tf.function(motion.posterior_sample, autograph=False)
    repeated = [np.repeat(x, 4000, axis=0) for x in (POSITIONS, VARIANCES, OBSERVED)]
    a, _ = draw(*repeated, tf.constant([0, 3], tf.int64))
    a = a.numpy().reshape(L, 4000, T * M)
    for draws, observed, (mean, covariance) in zip(
        a, OBSERVED, readings_posterior(motion), strict=True
    ):
        # Of a step without a reading only the state is known; nothing looks at its position.
        seen = np.repeat(observed > 0, M)
        std = np.sqrt(np.diag(covariance))
        assert (np.abs(draws.mean(0) - mean) < 5 * std / 4000**0.5)[seen].all()
        scale = np.outer(std, std)
        error = np.abs(np.cov(draws.T) - covariance) / scale
        assert error[np.ix_(seen, seen)].max() < 0.1


def test_cost_of_the_posterior():
    motion = NewtonianMixture(1, M)
    motion.build()
    motion.force.assign([0.1, -0.3, 0.2, -0.1])
    many = [np.repeat(x, 4000, axis=0) for x in (POSITIONS, VARIANCES, OBSERVED)]
    _, log_ratio = tf.function(motion.posterior_sample, autograph=False)(
        *many, tf.constant([0, 4], tf.int64)
    )
    found = log_ratio.numpy().reshape(L, 4000)
    prior_mean, prior = dense(motion, 0)
    for i, (mean, covariance) in enumerate(readings_posterior(motion)):
        seen = np.repeat(OBSERVED[i] > 0, M)
        y, noise = POSITIONS[i].ravel()[seen], VARIANCES[i].ravel()[seen]
        # One component: minus the divergence is ln p(y) - E_q[ln p(y | a)].
        evidence = stats.multivariate_normal(
            prior_mean[seen], prior[np.ix_(seen, seen)] + np.diag(noise)
        ).logpdf(y)
        expected = np.square(y - mean[seen]) + np.diag(covariance)[seen]
        log_reading = -0.5 * (expected / noise + np.log(2 * np.pi * noise)).sum()
        error = found[i].std() / 4000**0.5
        assert abs(found[i].mean() - (evidence - log_reading)) < 5 * error


def test_cost_of_the_start(motion):
    """Readings that say nothing: p / q is that of the mixed start, whose mean under q is 1."""
    many = [np.repeat(x[:1], 20000, axis=0) for x in (POSITIONS, 1e6 * VARIANCES, OBSERVED)]
    _, log_ratio = tf.function(motion.posterior_sample, autograph=False)(
        *many, tf.constant([0, 5], tf.int64)
    )
    assert log_ratio.numpy().std() > 0.1
    np.testing.assert_allclose(np.exp(log_ratio).mean(), 1.0, atol=0.05)


def test_without_noise_objects_fall_on_parabolas():
    layer = NewtonianMixture(1, 2, step=0.5, transition_noise=1e-9, emission_noise=1e-9)
    layer.build()
    layer.start_velocities.assign([[1.0, 2.0]])
    layer.force.assign([0.0, -0.5 * 0.25 * 9.81, 0.0, -0.5 * 9.81])
    layer.start_log_scales.assign(np.full((1, 4), -12.0))
    time = 0.5 * np.arange(8)[:, None]
    start = layer.start_positions.numpy()
    expected = start + time * [1.0, 2.0] - 0.5 * 9.81 * time**2 * [0.0, 1.0]
    drawn = layer.sample(3, 8, tf.constant([0, 0], tf.int64))
    np.testing.assert_allclose(drawn, np.broadcast_to(expected, (3, 8, 2)), atol=0.02)


def test_samples_have_the_components_shares_and_moments(motion):
    drawn = motion.sample(20000, T, tf.constant([0, 1], tf.int64)).numpy().reshape(20000, -1)
    again = motion.sample(20000, T, tf.constant([0, 1], tf.int64)).numpy().reshape(20000, -1)
    np.testing.assert_array_equal(drawn, again)
    shares = special.softmax(motion.component_logits.numpy())
    moments = [dense(motion, k) for k in range(K)]
    mean = sum(share * mean for share, (mean, _) in zip(shares, moments, strict=True))
    second = sum(
        share * (covariance + np.outer(mean, mean))
        for share, (mean, covariance) in zip(shares, moments, strict=True)
    )
    covariance = second - np.outer(mean, mean)
    error = np.sqrt(np.diag(covariance) / 20000)
    assert (np.abs(drawn.mean(0) - mean) < 5 * error).all()
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.06 * covariance.max())


@pytest.mark.parametrize("jit", [False, True])
def test_gradients_against_differences(motion, jit):
    variables = motion.trainable_variables

    @tf.function(jit_compile=jit, autograph=False)
    def value_and_gradients():
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(motion.log_prob(POSITIONS, OBSERVED))
        return value, tape.gradient(value, variables)

    _, gradients = value_and_gradients()
    for variable, gradient in zip(variables, gradients, strict=True):
        start = variable.numpy()
        direction = RNG.normal(size=start.shape)
        direction /= np.linalg.norm(direction)
        ends = []
        for sign in (1, -1):
            variable.assign(start + sign * 1e-2 * direction)
            ends.append(float(value_and_gradients()[0]))
        variable.assign(start)
        slope = (ends[0] - ends[1]) / 2e-2
        np.testing.assert_allclose(
            np.sum(gradient.numpy() * direction), slope, rtol=0.02, atol=0.05, err_msg=variable.path
        )


def test_float32_survives_a_wide_start_and_tiny_noise():
    layer = NewtonianMixture(2, 2, transition_noise=1e-6, initial_variance=np.exp(5.0))
    layer.build()
    positions = 5.0 * RNG.normal(size=(4, 50, 2)).cumsum(1).astype(np.float32)
    components = tf.zeros([4], tf.int32)
    result = lgssm.smooth(layer.model(components), positions)
    eigenvalues = np.linalg.eigvalsh(result.smoothed_covariances.numpy().astype(float))
    assert np.isfinite(layer.log_prob(positions)).all()
    assert eigenvalues.min() > -1e-4


def test_the_transition_noise_can_rest():
    layer = NewtonianMixture(learn_transition_noise=False)
    layer.build()
    assert all(v.name != "log_transition_noise" for v in layer.trainable_variables)
    again = NewtonianMixture.from_config(layer.get_config())
    again.build()
    assert [v.shape for v in again.trainable_variables] == [
        v.shape for v in layer.trainable_variables
    ]


def test_filtering_follows_the_likeliest_component_so_far(motion):
    whole = motion.filter(POSITIONS, OBSERVED)
    for t in (2, T):
        best = motion.likeliest(POSITIONS[:, :t], OBSERVED[:, :t])
        result = lgssm.filter(motion.model(best), POSITIONS[:, :t], OBSERVED[:, :t])
        for found, expected in zip(
            whole[:2], (result.filtered_means, result.filtered_covariances), strict=True
        ):
            np.testing.assert_allclose(found[:, t - 1], expected[:, -1], rtol=1e-4, atol=1e-5)
        log_p = motion.component_log_probs(POSITIONS[:, :t], OBSERVED[:, :t])
        np.testing.assert_allclose(whole[2][:, t - 1], log_p, rtol=1e-4)
    readings = [x[:, -1] for x in motion.filter(POSITIONS, OBSERVED, VARIANCES)]
    assert all(np.abs(x - y[:, -1]).max() > 1e-2 for x, y in zip(readings, whole, strict=True))
