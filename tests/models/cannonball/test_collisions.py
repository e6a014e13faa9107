"""The law of objects that meet, and their filters side by side."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.models.cannonball import together
from kvae_tf.models.cannonball.collisions import Law
from kvae_tf.models.cannonball.newtonian import NewtonianMixture

B, T, N, M, K = 4, 9, 3, 2, 5
RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(B, N, 2 * M)).astype(np.float32)
READINGS = RNG.normal(size=(B, T, N, M)).astype(np.float32)
VARIANCES = RNG.uniform(0.1, 1.0, size=READINGS.shape).astype(np.float32)
SEEN = (RNG.random((B, T)) < 0.7).astype(np.float32)
EVERYBODY = np.ones((B, N), np.float32)


@pytest.fixture(scope="module")
def motion():
    keras.utils.set_random_seed(0)
    found = NewtonianMixture(2, M, 0.5, 0.1, 0.3, collision_modes=K, collision_units=8)
    found.build()
    for variable in found.trainable_variables:
        variable.assign_add(0.3 * RNG.normal(size=variable.shape))
    found.collisions.standardise(RNG.normal(size=(50, 2 * M), loc=0.4, scale=1.7))
    return found


def by_hand(motion, states, present, n):
    """Mean of the next state of one object, from the sums of the module's docstring."""
    c = motion.collisions
    get = np.asarray
    z = (states - get(c.centre)) / get(c.scale)

    def weights(network, x):
        for layer in network:
            x = layer(x[np.newaxis]).numpy()[0]
        return x[1:]

    change = np.zeros(2 * M)
    for k, w in enumerate(weights(c.of_one, z[n])):
        change += w * (get(c.one_matrices)[k] @ z[n] + get(c.one_offsets)[k])
    for other in range(N):
        if other == n or not present[other] or not present[n]:
            continue
        pair = weights(c.of_pair, np.concatenate([z[n], z[other] - z[n]]))
        for k, w in enumerate(pair):
            change += w * (
                get(c.pair_matrices)[k] @ z[n]
                + get(c.pair_matrices_of_other)[k] @ z[other]
                + get(c.pair_offsets)[k]
            )
    return get(motion.transition) @ states[n] + get(motion.force) + get(c.scale) * change


@pytest.mark.parametrize("present", [(1, 1, 1), (1, 1, 0), (1, 0, 0)])
def test_the_law_is_the_mixture_of_modes(motion, present):
    there = np.tile(np.array(present, np.float32), (B, 1))
    found = motion.law(STATES, there).mean(STATES).numpy()
    for b in range(B):
        for n in range(sum(present)):
            expected = by_hand(motion, STATES[b], present, n)
            np.testing.assert_allclose(found[b, n], expected, rtol=1e-4, atol=1e-5)


def test_objects_may_be_named_in_any_order(motion):
    order = [2, 0, 1]
    law = motion.law(STATES, EVERYBODY)
    other = motion.law(STATES[:, order], EVERYBODY)
    for x, y in zip(law, other, strict=True):
        np.testing.assert_allclose(x.numpy()[:, order], y, rtol=1e-5, atol=1e-5)


def test_before_a_fit_nothing_is_met():
    motion = NewtonianMixture(2, M, collision_modes=K)
    motion.build()
    for x, y in zip(motion.law(STATES, EVERYBODY), motion.free_law, strict=True):
        np.testing.assert_allclose(x, np.broadcast_to(y, x.shape), atol=1e-6)


def test_filters_side_by_side_are_those_of_the_engine_under_their_law(motion):
    law, log_p, means = together.follow(motion, READINGS, VARIANCES, SEEN, EVERYBODY)
    mean, covariance = motion.initial_moments
    for n in range(N):
        ssm = motion._ssm(mean, covariance, VARIANCES[:, :, n], Law(*(x[:, :, n] for x in law)))
        result = lgssm.filter(ssm, READINGS[:, :, n], SEEN)
        np.testing.assert_allclose(means[:, :, n], result.filtered_means, rtol=1e-3, atol=1e-3)
        found = tf.reduce_sum(log_p[:, :, n], axis=1)
        np.testing.assert_allclose(found, result.log_likelihood, rtol=1e-4, atol=1e-3)


def test_the_law_along_a_path_is_that_where_its_filters_are(motion):
    law, _, means = together.follow(motion, READINGS, VARIANCES, SEEN, EVERYBODY)
    for t in (0, T - 1):
        for x, y in zip(law, motion.law(means[:, t], EVERYBODY), strict=True):
            np.testing.assert_allclose(x[:, t], y, rtol=1e-4, atol=1e-4)


def test_draws_from_the_prior_follow_the_law(motion):
    """Two steps of many draws: what is left of the second after the law is its noise."""
    quiet = 1e-8
    motion.log_emission_noise.assign(np.full(M, np.log(quiet)))
    present = np.ones((4000, N), np.float32)
    positions = together.sample(motion, present, 3, tf.constant([0, 1], tf.int64)).numpy()
    assert positions.shape == (4000, 3, N, M)
    again = together.sample(motion, present, 3, tf.constant([0, 1], tf.int64)).numpy()
    np.testing.assert_array_equal(positions, again)
    start = motion.initial_moments[0].numpy()[:M]
    spread = positions[:, 0].reshape(-1, M).std(0) / np.sqrt(4000 * N)
    assert np.all(np.abs(positions[:, 0].mean((0, 1)) - start) < 5.0 * spread)
    assert np.isfinite(positions).all()
