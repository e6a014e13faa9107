"""The motion's second beginning."""

import keras
import numpy as np
import pytest

from kvae_tf.data import SequenceData
from kvae_tf.models import Cannonball
from kvae_tf.models.cannonball import POSTERIORS
from kvae_tf.refit import Refit, first_states, refit

SHAPE, N, T, OBJECTS = (6, 6, 1), 9, 5, 2
RNG = np.random.default_rng(0)
COUNTS = np.resize([1, 2], N).astype(np.int32)


@pytest.fixture
def train():
    return SequenceData(
        frames=((RNG.random((N, T, *SHAPE)) > 0.7) * 255).astype(np.uint8),
        observed=np.ones((N, T), np.float32),
        controls=np.zeros((N, T, 0), np.float32),
        num_objects=COUNTS,
    )


@pytest.fixture(params=POSTERIORS)
def model(request):
    keras.utils.set_random_seed(0)
    found = Cannonball(SHAPE, max_objects=OBJECTS, state_size=9, posterior=request.param)
    found.build()
    return found


def test_first_states_are_draws_of_the_smoothed_ones(model, train):
    moments = model.smooth(train.unit_frames, num_objects=COUNTS)
    there = np.arange(OBJECTS) < COUNTS[:, None]
    means = moments.means.numpy()[:, 0].reshape(N, OBJECTS, 4)[there]
    covariances = moments.covariances.numpy()[:, 0].astype(float)
    covariances = np.stack([covariances[:, :4, :4], covariances[:, 4:, 4:]], axis=1)[there]
    rest = (first_states(model, train) - means)[..., np.newaxis]
    white = np.linalg.solve(np.linalg.cholesky(covariances), rest).ravel()
    assert white.size == 4 * COUNTS.sum()
    assert np.abs(white).max() < 4.0
    assert 0.7 < white.std() < 1.3


def test_the_start_has_the_moments_of_the_first_states(model, train):
    states = first_states(model, train, seed=3)
    before = model.motion.force.numpy()
    refit(model, train, noise=0.5, seed=3)
    mean, covariance = model.motion.initial_moments
    np.testing.assert_allclose(mean, states.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(covariance, np.cov(states.T, bias=True), rtol=0.01, atol=1e-3)
    np.testing.assert_allclose(model.motion.emission_noise, 0.5, rtol=1e-4)
    np.testing.assert_array_equal(model.motion.force, before)  # the rest stays as learned


def test_a_refit_raises_the_bound_that_it_maximises(model, train):
    states = first_states(model, train)

    def start_log_prob():
        motion = model.motion
        weights = np.exp(motion.component_logits - np.max(motion.component_logits))
        weights /= weights.sum()
        found = 0.0
        for w, mean, covariance in zip(
            weights, motion.initial_means.numpy(), motion.initial_covariances.numpy(), strict=True
        ):
            rest = states - mean
            square = np.einsum("in,nm,im->i", rest, np.linalg.inv(covariance), rest)
            found += w * np.exp(-0.5 * square) / np.sqrt(np.linalg.det(2.0 * np.pi * covariance))
        return np.log(found).mean()

    before = start_log_prob()
    refit(model, train, noise=1.0)
    assert start_log_prob() > before + 0.1


def test_it_happens_before_its_epoch_only(model, train):
    callback = Refit(train, epoch=3, noise=0.25, seed=0)
    callback.set_model(model)
    before = model.motion.component_logits.numpy(), model.motion.emission_noise.numpy()
    for epoch in (0, 2, 4):
        callback.on_epoch_begin(epoch)
    np.testing.assert_array_equal(model.motion.emission_noise, before[1])
    callback.on_epoch_begin(3)
    np.testing.assert_allclose(model.motion.emission_noise, 0.25, rtol=1e-4)
