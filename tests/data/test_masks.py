"""Patterns of missing frames."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.data import gap, missing_at_random, stateless_missing_at_random
from kvae_tf.errors import UserError


def _numpy(seed, N, T, rate, first_seen):
    return missing_at_random(N, T, rate, first_seen, seed)


def _graph(seed, N, T, rate, first_seen):
    return stateless_missing_at_random([seed, 0], N, T, rate, first_seen).numpy()


@pytest.mark.parametrize("pattern", [_numpy, _graph])
class TestMissingAtRandom:
    def test_rate_and_first_frames(self, pattern):
        observed = pattern(0, 2000, 10, 0.3, 4)
        assert observed.shape == (2000, 10)
        assert observed.dtype == np.float32
        assert set(np.unique(observed)) == {0.0, 1.0}
        assert observed[:, :4].all()
        # 12,000 draws: four standard deviations of their mean.
        assert 1 - observed[:, 4:].mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 12000))
        assert np.abs(np.corrcoef(observed[:, 4:].T) - np.eye(6)).max() < 0.12  # independent

    @pytest.mark.parametrize(("rate", "seen"), [(0.0, 1.0), (1.0, 0.0)])
    def test_extremes(self, pattern, rate, seen):
        np.testing.assert_array_equal(pattern(0, 50, 6, rate, 2)[:, 2:], seen)
        np.testing.assert_array_equal(pattern(0, 50, 6, rate, 9), 1.0)
        np.testing.assert_array_equal(pattern(0, 50, 6, rate, 0), seen)

    def test_the_seed_decides(self, pattern):
        np.testing.assert_array_equal(pattern(1, 20, 9, 0.5, 1), pattern(1, 20, 9, 0.5, 1))
        assert (pattern(1, 20, 9, 0.5, 1) != pattern(2, 20, 9, 0.5, 1)).any()

    def test_a_higher_rate_hides_more_of_the_same(self, pattern):
        assert (pattern(1, 20, 9, 0.6, 1) <= pattern(1, 20, 9, 0.4, 1)).all()


def test_stateless_in_a_graph_keeps_the_static_shape():
    function = tf.function(
        lambda seed: stateless_missing_at_random(seed, 4, 6, 0.5, 1), autograph=False
    )
    seed = tf.constant([3, 4], tf.int64)
    assert function.get_concrete_function(seed).output_shapes == (4, 6)
    eager = stateless_missing_at_random(seed, 4, 6, 0.5, 1)
    assert eager.dtype == tf.float32
    np.testing.assert_array_equal(function(seed), eager)


def test_gap():
    np.testing.assert_array_equal(gap(2, 6, 2, 4), [[1, 1, 0, 0, 1, 1]] * 2)
    assert gap(2, 6, 2, 4).dtype == np.float32
    np.testing.assert_array_equal(gap(1, 3, 0, 3), [[0, 0, 0]])
    np.testing.assert_array_equal(gap(1, 3, 1, 1), [[1, 1, 1]])


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (2, 7)])
def test_gap_outside_the_sequence(start, stop):
    with pytest.raises(UserError, match=f"from frame {start} to {stop}"):
        gap(2, 6, start, stop)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((2, 3, 1.5, 1, 0), "rate is 1.5"),
        ((2, 3, "a", 1, 0), "rate is 'a'"),
        ((2, 3, 0.5, -1, 0), "first_seen is -1"),
        ((0, 3, 0.5, 1, 0), "num_sequences is 0"),
        ((2, 3, 0.5, 1, -1), "seed is -1"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(UserError, match=name):
        missing_at_random(*arguments)


def test_mixed_rates_differ_between_sequences():
    seen = stateless_missing_at_random([0, 1], 2000, 40, 0.8, 3, mixed_rates=True).numpy()
    assert (seen[:, :3] == 1).all()
    shares = 1.0 - seen[:, 3:].mean(axis=1)
    assert abs(shares.mean() - 0.4) < 0.02
    # Uniform on [0, 0.8] has a std of 0.23; one rate for all would have 0.08.
    assert 0.2 < shares.std() < 0.28
