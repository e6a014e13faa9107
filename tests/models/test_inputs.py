"""What all systems do with their inputs: which frames are drawn, encoded and blanked."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.models import inputs

B, T = 4, 7
SEEN = np.array(
    [[1, 1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0, 0], [0] * T], np.float32
)
VALUES = np.random.default_rng(0).normal(size=(B, T)).astype(np.float32)


def draw(count, seed):
    sampler = lgssm.as_sampler((0, seed))
    return inputs.subsample_observed(count, sampler, tf.constant(SEEN), tf.constant(VALUES))


@pytest.mark.parametrize("count", [1, 3, 7, 9])
def test_drawn_frames_were_seen_and_estimate_the_sum_without_bias(count):
    sums = []
    for seed in range(150):
        kept, scale, values = draw(count, seed)
        assert kept.shape == values.shape == (B, min(count, T))
        np.testing.assert_array_equal(np.sum(kept, 1), np.minimum(SEEN.sum(1), count))
        for row in range(B):
            allowed = VALUES[row][SEEN[row] > 0]
            drawn = values[row].numpy()[kept[row].numpy() > 0]
            assert np.isin(drawn, allowed).all()
            assert len(set(drawn)) == len(drawn)
        sums.append(tf.reduce_sum(scale * kept * values, axis=1))
    error = np.std(sums, 0) / np.sqrt(len(sums))
    assert (np.abs(np.mean(sums, 0) - (SEEN * VALUES).sum(1)) <= 4 * error + 1e-5).all()


def test_no_count_means_every_frame():
    kept, scale, values = draw(0, 0)
    np.testing.assert_array_equal(kept, SEEN)
    np.testing.assert_array_equal(scale * values, VALUES)


@pytest.mark.parametrize("mask", [SEEN, np.ones_like(SEEN), np.zeros_like(SEEN)])
def test_seen_frames_alone_are_encoded(mask):
    frames = np.random.default_rng(1).uniform(size=(B, T, 2, 3, 1)).astype(np.float32)
    weights = tf.constant(np.random.default_rng(2).normal(size=(6, 2)), tf.float32)
    asked = []

    def encode(rows):
        asked.append(rows.shape[0])
        mean = tf.reshape(rows, [-1, 6]) @ weights
        return mean, tf.exp(mean)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(weights)
        mean, std = inputs.encode_observed(encode, tf.constant(frames), tf.constant(mask))
        every, every_std = (tf.reshape(x, [B, T, 2]) for x in encode(tf.constant(frames)))
        loss = tf.reduce_sum(mean * std)
        masked = tf.reduce_sum(mask[..., None] * every * every_std)
    seen = mask[..., None] > 0
    np.testing.assert_allclose(mean, np.where(seen, every, 0.0), rtol=1e-5)
    np.testing.assert_allclose(std, np.where(seen, every_std, 1.0), rtol=1e-5)
    np.testing.assert_allclose(
        tape.gradient(loss, weights) if mask.any() else tf.zeros([6, 2]),
        tape.gradient(masked, weights),
        rtol=1e-4,
        atol=1e-5,
    )
    assert asked[0] <= mask.sum() + inputs._ROUND


def test_hidden_frames_cost_nothing():
    asked = []

    def encode(rows):
        asked.append(rows.shape[0])
        return tf.zeros([rows.shape[0], 1]), tf.ones([rows.shape[0], 1])

    mask = np.zeros([32, 20], np.float32)
    mask[:, :5] = 1.0
    inputs.encode_observed(encode, tf.zeros([32, 20, 2, 2, 1]), tf.constant(mask))
    assert asked == [160]
