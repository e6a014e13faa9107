"""Pixel likelihoods against SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from kvae_tf.errors import UserError
from kvae_tf.layers import BernoulliFrames, GaussianFrames, frame_likelihood

SHAPE = (4, 5, 2)
RNG = np.random.default_rng(0)
DECODED = RNG.normal(size=(2, 3, *SHAPE)).astype(np.float32)
GREY = RNG.uniform(size=DECODED.shape).astype(np.float32)
PIXELS = (-3, -2, -1)


def gaussian(per_pixel=True, floor=1e-4, log_std=None, shape=SHAPE):
    layer = GaussianFrames(shape, per_pixel=per_pixel, variance_floor=floor)
    layer.build((None, *shape))
    if log_std is not None:
        layer.log_std.assign(np.broadcast_to(log_std, layer.log_std.shape))
    return layer


def test_bernoulli():
    binary = (GREY > 0.5).astype(np.float32)
    expected = stats.bernoulli(special.expit(DECODED)).logpmf(binary).sum(PIXELS)
    log_prob = BernoulliFrames().log_prob(DECODED, binary)
    assert log_prob.shape == (2, 3)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


def test_bernoulli_of_grey_is_cross_entropy():
    p = stats.bernoulli(special.expit(DECODED))
    expected = (GREY * p.logpmf(1) + (1 - GREY) * p.logpmf(0)).sum(PIXELS)
    np.testing.assert_allclose(BernoulliFrames().log_prob(DECODED, GREY), expected, rtol=1e-5)


def test_bernoulli_of_extreme_logits_is_finite():
    logits = tf.Variable(np.full((1, *SHAPE), 200.0, np.float32))
    with tf.GradientTape() as tape:
        log_prob = BernoulliFrames().log_prob(logits, tf.zeros([1, *SHAPE]))
    np.testing.assert_allclose(log_prob, [-200.0 * np.prod(SHAPE)], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(log_prob, logits), -np.ones((1, *SHAPE)))


@pytest.mark.parametrize("per_pixel", [True, False])
def test_gaussian(per_pixel):
    log_std = RNG.normal(-1.0, 0.5, size=SHAPE if per_pixel else (1,))
    layer = gaussian(per_pixel, log_std=log_std)
    assert layer.log_std.shape == log_std.shape
    expected = stats.norm(DECODED, np.exp(log_std)).logpdf(GREY).sum(PIXELS)
    log_prob = layer.log_prob(DECODED, GREY)
    assert log_prob.shape == (2, 3)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)


@pytest.mark.parametrize("per_pixel", [True, False])
def test_variance_floor_is_the_ceiling_of_the_bound(per_pixel):
    ceiling = 256 * 0.5 * np.log(1 / (2 * np.pi * 1e-4))  # 943.7 nats a frame
    frames = GREY[:1, 0, :1, :1, :1] * np.ones((1, 16, 16, 1), np.float32)
    for log_std in (-20.0, np.log(1e-2)):
        layer = gaussian(per_pixel, log_std=log_std, shape=(16, 16, 1))
        np.testing.assert_allclose(layer.log_prob(frames, frames), [ceiling], rtol=1e-5)
    wider = gaussian(per_pixel, log_std=np.log(2e-2), shape=(16, 16, 1))
    assert wider.log_prob(frames, frames)[0] < ceiling - 100
    # Another floor, another ceiling.
    loose = gaussian(per_pixel, floor=1e-2, log_std=-20.0, shape=(16, 16, 1))
    expected = stats.norm(0, 0.1).logpdf(0) * 256
    np.testing.assert_allclose(loose.log_prob(frames, frames), [expected], rtol=1e-5)


def test_std_is_learned_as_the_residuals_say():
    layer = gaussian(per_pixel=False)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_sum(layer.log_prob(DECODED, GREY))
    s = 0.1
    # d/dlog s of Σ (e² / 2s² + log s)
    expected = np.sum(1 - ((GREY - DECODED) / s) ** 2)
    np.testing.assert_allclose(tape.gradient(loss, layer.log_std), [expected], rtol=1e-4)


@pytest.mark.xfail(strict=True, reason="tf.maximum cuts both pulls: such a pixel never recovers")
def test_pixel_below_the_floor_is_still_pulled_up():
    layer = gaussian(log_std=-6.0)  # a variance of 6e-6, below the floor
    with tf.GradientTape() as tape:
        loss = -tf.reduce_sum(layer.log_prob(DECODED, GREY))
    assert np.max(tape.gradient(loss, layer.log_std)) < 0  # residuals of order 1 ask for more


def test_means_are_frames():
    np.testing.assert_allclose(
        BernoulliFrames().mean(DECODED), special.expit(DECODED), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(gaussian().mean(DECODED), np.clip(DECODED, 0, 1))


def test_config_rebuilds_the_layer():
    layer = GaussianFrames(SHAPE, per_pixel=False, initial_std=0.3, variance_floor=1e-3)
    again = GaussianFrames.from_config(layer.get_config())
    again.build((None, *SHAPE))
    assert again.log_std.shape == (1,)
    np.testing.assert_allclose(again.variance, [0.09], rtol=1e-5)
    assert again.variance_floor == 1e-3


def test_by_name():
    assert isinstance(frame_likelihood("bernoulli", SHAPE, True, 1e-4), BernoulliFrames)
    layer = frame_likelihood("gaussian", SHAPE, False, 1e-3)
    assert isinstance(layer, GaussianFrames)
    assert (layer.per_pixel, layer.variance_floor) == (False, 1e-3)
    with pytest.raises(UserError, match="'poisson'.*bernoulli, gaussian"):
        frame_likelihood("poisson", SHAPE, True, 1e-4)
