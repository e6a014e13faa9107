"""Moments of pixels, against NumPy over all frames at once."""

import tracemalloc

import numpy as np
import pytest

from kvae_tf.data import SequenceData, moments, pixel_moments

N, T, SHAPE = 5, 7, (3, 4, 3)
RNG = np.random.default_rng(0)
FRAMES = RNG.random((N, T, *SHAPE), np.float32) * 0.1 + np.arange(N).reshape(N, 1, 1, 1, 1) / 10
OBSERVED = RNG.random((N, T)) < 0.7
OBSERVED[2] = False  # a sequence of which nothing is seen


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("block", [2, 1000])
def test_moments_are_those_of_the_seen_frames(dtype, block, monkeypatch):
    monkeypatch.setattr(moments, "_FRAMES", block)
    frames = (255 * FRAMES).astype(np.uint8) if dtype == np.uint8 else FRAMES
    data = SequenceData.from_arrays(frames, observed=OBSERVED)
    x = data.unit_frames.astype(np.float64)
    own = [x[i, OBSERVED[i]] for i in range(N) if OBSERVED[i].any()]
    whole = np.concatenate(own)
    apart = np.concatenate([x - x.mean(axis=0) for x in own])
    found = pixel_moments(data)
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.variance, whole.var(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.within, np.square(apart).mean(axis=0), rtol=1e-6)
    assert (found.within < 0.5 * found.variance).all()  # the sequences differ in brightness


def test_a_still_film_has_no_variance():
    """Not even where the mean of many frames is rounded."""
    data = SequenceData.from_arrays(np.full((3, 50, *SHAPE), 0.1, np.float32))
    found = pixel_moments(data)
    np.testing.assert_allclose(found.mean, 0.1, rtol=1e-6)
    assert found.variance.max() < 1e-30
    assert found.within.max() < 1e-30


def test_the_frames_are_floats_a_block_at_a_time():
    """A long film of uint8 takes far less than its floats would."""
    film = SequenceData.from_arrays(np.zeros((1, 20_000, 16, 16), np.uint8))
    tracemalloc.start()
    pixel_moments(film)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * film.frames.size / 4
