"""Several objects: orders, the affine map, identity switches, discs in frames, accelerations."""

import numpy as np
import pytest

from kvae_tf import evaluation
from kvae_tf.data.worlds import billiards, cannonballs
from kvae_tf.evaluation import discs
from kvae_tf.evaluation.objects import fit_in_any_order
from kvae_tf.models import Frames, Latents
from kvae_tf.models.contract import Bound

RNG = np.random.default_rng(0)
SIZE, STEPS = 32, 20
MAP = np.array([[0.3, -0.2], [0.1, 0.5]])


@pytest.fixture(scope="module")
def data():
    return cannonballs.simulate(60, STEPS, 0, size=SIZE, num_balls=(1, 2))


class Seer:
    """Knows all: encodings are the true positions under a map, each sequence in an order."""

    max_objects = 2
    supports = frozenset({"smooth", "impute", "forecast"})
    imputation_methods = ("smooth", "filter")

    def __init__(self, data):
        self.truth = evaluation.true_positions(data)
        self.frames = data.unit_frames
        self.counts = data.num_objects
        self.swapped = (np.arange(len(data)) % 2 == 0) & (self.counts > 1)

    def _rows(self, frames):
        import tensorflow as tf

        def find(frames):
            first = self.frames[:, 0].reshape(len(self.frames), -1)
            shown = np.asarray(frames)[:, 0].reshape(len(frames), -1)
            return np.array([np.abs(first - x).sum(1).argmin() for x in shown])

        return tf.numpy_function(find, [frames], tf.int64)

    def impute(self, frames, observed=None, controls=None, method="smooth", num_objects=None):
        import tensorflow as tf

        a = tf.gather(self._encodings(), self._rows(frames))
        a = tf.ensure_shape(a, [None, STEPS, 4])
        return Frames(self.decode(a), a, a, a, a[..., :0])

    def smooth(self, frames, observed=None, controls=None, num_objects=None):
        import tensorflow as tf

        a = tf.reshape(self.impute(frames).encodings, [-1, STEPS, 2, 2])
        h = tf.concat([a, tf.zeros_like(a)], axis=-1)  # velocities are not asked for
        return Latents(tf.reshape(h, [-1, STEPS, 8]), None)

    def decode(self, encodings, num_objects=None):
        import tensorflow as tf

        known = self._encodings()
        rows = tf.numpy_function(
            lambda a: np.array([np.abs(known - x).sum((1, 2)).argmin() for x in a]),
            [encodings], tf.int64,
        )  # fmt: skip
        return tf.gather(self.frames, rows)

    def _encodings(self):
        swapped = np.where(self.swapped[:, None, None, None], self.truth[:, :, ::-1], self.truth)
        return (swapped @ MAP + 3.0).reshape(len(swapped), STEPS, 4).astype(np.float32)

    def forecast(self, frames, num_steps=1, num_objects=None):
        found = self.impute(frames)
        return Frames(*(x if x is None else x[:, -num_steps:] for x in found))


def test_one_who_knows_all_makes_no_errors(data):
    found = evaluation.object_errors(Seer(data), data, data)
    assert found.r_squared.keys() == {1, 2}
    assert min(found.r_squared.values()) > 1 - 1e-5
    assert max(found.rmse.values()) < 0.02
    assert max(found.filter_rmse.values()) < 0.02
    assert found.identity_switch_rate == 0.0
    assert found.mix_up_rate == {2: 0.0}
    assert len(found.forecast_error) == STEPS - 5
    assert max(found.forecast_error) < 0.02
    np.testing.assert_allclose(found.acceleration_ratio, 1.0, rtol=1e-2)
    assert found.acceleration_angle < 1.0


def test_without_a_pull_there_is_no_acceleration():
    data = billiards.simulate(60, STEPS, 0, size=20, num_balls=(1, 2))
    found = evaluation.object_errors(Seer(data), data, data)
    assert min(found.r_squared.values()) > 1 - 1e-5
    assert found.acceleration_ratio is None
    assert found.acceleration_angle is None


def test_generation_of_the_truth(data):
    found = evaluation.generation(Seer(data), data)
    assert found.frames == list(range(5, STEPS))
    assert max(found.incorrect_pixels) == 0.0
    assert max(found.nats) < 0.01
    assert max(found.position_error) < 1.5  # noise of the drawn position, rounding, overlaps
    found = evaluation.interpolation(Seer(data), data)
    assert found.frames == list(range(5, STEPS - 5))


def test_the_count_with_the_largest_bound(data):
    class Counter(Seer):
        """Its bound is largest at the true number, but for every fifth sequence."""

        def elbo(self, batch, seed):
            import tensorflow as tf

            rows = self._rows(batch["frames"])
            truth = np.where(np.arange(len(self.counts)) % 5 == 0, 1, self.counts)
            off = tf.cast(batch["num_objects"], tf.float32) - tf.gather(
                truth.astype(np.float32), rows
            )
            return Bound(-tf.square(off) * tf.cast(seed[1] + 1, tf.float32), {}, tf.ones_like(off))

    found = evaluation.inferred_counts(Counter(data), data, draws=2)
    expected = np.where(np.arange(len(data)) % 5 == 0, 1, data.num_objects)
    np.testing.assert_array_equal(found, expected)


def test_map_is_found_where_no_sequence_has_one_object_only():
    truth = RNG.normal(size=(40, 10, 2, 2)) * 3 + RNG.normal(size=(40, 1, 2, 2)) * 8
    swapped = np.where(RNG.random((40, 1, 1, 1)) < 0.5, truth[:, :, ::-1], truth)
    fit = fit_in_any_order((swapped - 2.0) @ np.linalg.inv(MAP), truth, np.full(40, 2))
    np.testing.assert_allclose(fit.matrix, MAP, atol=1e-6)
    np.testing.assert_allclose(fit.offset, 2.0, atol=1e-6)


def test_orders_leave_absent_objects_alone():
    truth = RNG.normal(size=(3, 5, 3, 2))
    found = truth[:, :, [1, 0, 2]]
    orders = evaluation.best_orders(found, truth, np.array([1, 2, 3]))
    np.testing.assert_array_equal(orders, [[0, 1, 2], [1, 0, 2], [1, 0, 2]])
    sorted_ = evaluation.in_order(found, orders)
    np.testing.assert_array_equal(sorted_[2], truth[2])


def test_identity_switches():
    """Two tracks 10 apart: swapped in the middle, swapped and back, jittered by less than 4."""
    truth = np.zeros((4, 9, 2, 2))
    truth[:, :, 1, 0] = 10.0
    found = truth.copy()
    found[0, 4:] = found[0, 4:, ::-1]
    found[1, 3:6] = found[1, 3:6, ::-1]
    found[2] += RNG.uniform(-2, 2, size=found[2].shape)
    counts = np.array([2, 2, 2, 2])
    np.testing.assert_array_equal(
        evaluation.identity_switches(found, truth, counts, 4.0), [1, 2, 0, 0]
    )
    # Objects that meet and part again are not exchanged by small errors while they are close.
    truth[..., 1, 0] = np.abs(np.arange(9) - 4.0)
    found = truth[:, :, ::-1] + 0.01
    assert not evaluation.identity_switches(found, truth, counts, 4.0).any()


def test_two_that_begin_at_one_place_are_told_apart_by_the_whole_sequence():
    """Small errors at the start exchange their nearest matches; later they are far apart."""
    truth = np.zeros((1, 9, 2, 2))
    truth[:, :, 1, 0] = 0.2 + 2.0 * np.arange(9)
    found = truth.copy()
    found[0, 0, :, 0] = 0.5, 0.0
    orders, count = np.array([[0, 1]]), np.array([2])
    assert evaluation.identity_switches(found, truth, count, 4.0) == 1
    assert evaluation.identity_switches(found, truth, count, 4.0, orders) == 0
    # Exchanged for good, or from the middle on, they are mixed up all the same.
    for start in (0, 5):
        wrong = found.copy()
        wrong[0, start:] = wrong[0, start:, ::-1]
        assert evaluation.identity_switches(wrong, truth, count, 4.0, orders) == 1


def test_discs_are_found_one_by_one():
    centres = RNG.uniform(3, SIZE - 4, size=(50, 1, 2, 2))
    apart = np.linalg.norm(centres[:, 0, 0] - centres[:, 0, 1], axis=-1) > 6
    counts = np.where(np.arange(50) % 2, 2, 1)
    there = (np.arange(2) < counts[:, None])[:, None]
    frames = cannonballs.draw(centres, there, SIZE)[:, 0].astype(float)
    found = discs.find(frames, counts, 2)
    truth = centres[:, 0]
    for i in np.flatnonzero(apart):
        ways = [found[i, : counts[i]], found[i, : counts[i]][::-1]]
        off = min(np.linalg.norm(way - truth[i, : counts[i]], axis=-1).max() for way in ways)
        assert off < 0.6
    assert np.isfinite(discs.find(np.zeros((2, 8, 8)), np.array([2, 1]), 2)).all()
