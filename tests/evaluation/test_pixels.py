"""Distances between frames, against cases worked out by hand."""

import numpy as np
import pytest

from kvae_tf.evaluation import incorrect_pixels, wasserstein


def blank(*lit, size=8):
    frame = np.zeros((size, size, 1), np.float32)
    for y, x in lit:
        frame[y, x] = 0.9
    return frame


def test_incorrect_pixels_counts_sides_of_one_half():
    truth = np.array([0.0, 0.0, 1.0, 1.0], np.float32).reshape(1, 1, 2, 2, 1)
    guess = np.array([0.4, 0.6, 0.4, 0.6], np.float32).reshape(1, 1, 2, 2, 1)
    np.testing.assert_array_equal(incorrect_pixels(guess, truth), [[0.5]])


def test_a_shifted_shape_travels_its_shift():
    shape = [(1, 1), (1, 2), (2, 1)]
    moved = [(y + 3, x + 4) for y, x in shape]
    np.testing.assert_allclose(wasserstein(blank(*shape), blank(*moved)), 5.0)
    assert wasserstein(blank(*shape), blank(*shape)) == 0.0


def test_shapes_of_different_sizes():
    # Half of the mass at (0, 0) stays, half travels 4 pixels to (0, 4).
    np.testing.assert_allclose(wasserstein(blank((0, 0)), blank((0, 0), (0, 4))), 2.0, rtol=1e-6)


def test_distance_is_symmetric_and_no_worse_than_any_plan():
    rng = np.random.default_rng(0)
    one, two = (rng.random((8, 8, 1)) > 0.7 for _ in range(2))
    one, two = one.astype(np.float32), two.astype(np.float32)
    np.testing.assert_allclose(wasserstein(one, two), wasserstein(two, one), rtol=1e-6)
    equal = [(0, 0), (0, 5)], [(0, 1), (0, 4)]
    assert wasserstein(blank(*equal[0]), blank(*equal[1])) == 1.0  # not 4, the crossed plan


@pytest.mark.parametrize(("lit", "distance"), [([(0, 0)], np.hypot(8, 8)), ([], 0.0)])
def test_empty_frames(lit, distance):
    assert wasserstein(blank(), blank(*lit)) == distance
    assert wasserstein(blank(*lit), blank()) == distance
