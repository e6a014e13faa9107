"""What is learned of collisions, from readings of a world that is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.data.worlds import billiards
from kvae_tf.layers import Encoding
from kvae_tf.models.cannonball import together
from kvae_tf.models.cannonball.collision_fit import Ascent, fit_collisions, read_together
from kvae_tf.models.cannonball.newtonian import NewtonianMixture

T, SEEN, NOISE = 16, 8, 0.2


class Oracle:
    """In the place of a model: it reads true positions, with errors."""

    max_objects, posterior = 2, "smoothed"

    def __init__(self, data):
        self.readings, self.variances = noisy(data)
        self.frames = data.unit_frames[:, 0].reshape(len(data), -1)
        keras.utils.set_random_seed(0)
        self.motion = NewtonianMixture(1, 2, 1.0, 0.01, 0.01, 30.0, collision_modes=6)
        self.motion.build()

    def locate(self, frames, num_objects):
        def find(frames):
            shown = frames[:, 0].reshape(len(frames), -1)
            return np.array([np.abs(self.frames - x).sum(1).argmin() for x in shown])

        rows = tf.numpy_function(find, [frames], tf.int64)
        shape = [None, *self.readings.shape[1:]]
        found = (tf.gather(x, rows) for x in (self.readings, np.sqrt(self.variances)))
        return Encoding(*(tf.ensure_shape(x, shape) for x in found))


def positions(data):
    return data.states.reshape(len(data), T, 2, 4)[..., :2] - 10.0


def noisy(data):
    errors = NOISE * np.random.default_rng(1).normal(size=positions(data).shape)
    readings = (positions(data) + errors).astype(np.float32)
    return readings, np.full_like(readings, NOISE**2)


def forecast_error(motion, data):
    """Root mean square of filtered positions after the last frame seen, pixels."""
    seen = np.ones((len(data), T), np.float32)
    seen[:, SEEN:] = 0.0
    present = (np.arange(2) < data.num_objects[:, None]).astype(np.float32)
    means = together.follow(motion, *noisy(data), seen, present).means.numpy()[..., :2]
    errors = np.square(means - positions(data)).sum(-1)[:, SEEN:]
    return np.sqrt(errors[np.broadcast_to(present[:, None] > 0, errors.shape)].mean())


@pytest.fixture(scope="module")
def worlds():
    parts = billiards.splits(0, (1500, 20, 200), T, size=20, num_balls=(1, 2))
    return parts.train, parts.test


@pytest.fixture(scope="module")
def oracle(worlds):
    return Oracle(worlds[0])


@pytest.fixture(scope="module")
def ascent(oracle):
    return Ascent(oracle.motion)


def test_readings_of_all_objects_together(worlds, oracle):
    readings, variances, present = read_together(oracle, worlds[0])
    np.testing.assert_array_equal(readings, oracle.readings)
    np.testing.assert_allclose(variances, oracle.variances, rtol=1e-6)
    np.testing.assert_array_equal(present.sum(1), worlds[0].num_objects)


@pytest.mark.slow
def test_a_fit_is_that_of_its_seed(worlds, oracle, ascent):
    start, fitted = [v.numpy() for v in oracle.motion.weights], []
    for seed in (3, 3, 4):
        fit_collisions(oracle, worlds[0], 2, seed, ascent=ascent)
        assert float(oracle.motion.collisions.is_fitted) == 1.0
        weights = [v.numpy() for v in oracle.motion.weights]
        fitted.append(np.concatenate([x.ravel() for x in weights]))
        for variable, value in zip(oracle.motion.weights, start, strict=True):
            variable.assign(value)
    np.testing.assert_array_equal(fitted[0], fitted[1])
    assert np.any(fitted[0] != fitted[2])


@pytest.mark.slow
def test_collisions_are_learned(worlds, oracle, ascent):
    train, test = worlds
    before = forecast_error(oracle.motion, test)
    fit_collisions(oracle, train, 300, ascent=ascent)
    assert forecast_error(oracle.motion, test) < 0.6 * before
