"""The motion's second beginning."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.data import SequenceData
from kvae_tf.layers import Encoding
from kvae_tf.models import Cannonball
from kvae_tf.models.cannonball.model import POSTERIORS
from kvae_tf.models.cannonball.motion_em import MotionEM, fit_motion, noise_of_positions, read
from kvae_tf.models.cannonball.newtonian import NewtonianMixture

SHAPE, N, T, OBJECTS = (6, 6, 1), 9, 5, 2
RNG = np.random.default_rng(0)
COUNTS = np.resize([1, 2], N).astype(np.int32)
NOISE = np.array([0.4, 0.9])


@pytest.fixture
def train():
    return SequenceData(
        frames=((RNG.random((N, T, *SHAPE)) > 0.7) * 255).astype(np.uint8),
        observed=np.ones((N, T), np.float32),
        controls=np.zeros((N, T, 0), np.float32),
        num_objects=COUNTS,
    )


@pytest.fixture(
    params=[p if p == "smoothed" else pytest.param(p, marks=pytest.mark.slow) for p in POSTERIORS]
)
def model(request):
    keras.utils.set_random_seed(0)
    found = Cannonball(SHAPE, max_objects=OBJECTS, state_size=9, posterior=request.param)
    found.build()
    return found


class Oracle:
    """In the place of a model: its readings are drawn from the law itself, with shots from two
    sides, whereas its motion knows only one side and hardly any noise."""

    max_objects, posterior = 1, "smoothed"

    def __init__(self, count, steps):
        true_motion = NewtonianMixture(2, 2, step=1.0)
        true_motion.build()
        true_motion.start_positions.assign([[-9.0, 0.0], [9.0, 0.0]])
        true_motion.start_velocities.assign([[5.0, 3.0], [-5.0, 3.0]])
        true_motion.start_log_scales.assign(np.log([[2.0, 2.0, 1.0, 0.5]] * 2))
        true_motion.force.assign([0.0, 0.0, 0.0, -0.4])
        true_motion.log_transition_noise.assign(np.log([1e-6] * 4))
        true_motion.set_emission_noise(NOISE)
        rng = np.random.default_rng(1)
        self.variances = rng.uniform(0.1, 2.0, size=(count, steps, 1, 2)).astype(np.float32)
        errors = rng.normal(size=self.variances.shape) * np.sqrt(self.variances)
        positions = true_motion.sample(count, steps, tf.constant([0, 3], tf.int64)).numpy()
        self.readings = (positions[:, :, np.newaxis] + errors).astype(np.float32)
        self.motion = NewtonianMixture(2, 2, 1.0, 1e-6, 1e-4)
        self.motion.build()
        self.motion.force.assign(true_motion.force)
        self.motion.start_log_scales.assign(np.full((2, 4), np.log(6.0)))
        # Sequences are known by their frames' only pixel.
        self.data = SequenceData(
            frames=np.tile(
                np.arange(count, dtype=np.float32)[:, None, None, None, None] / count,
                (1, steps, 1, 1, 1),
            ),
            observed=np.ones((count, steps), np.float32),
            controls=np.zeros((count, steps, 0), np.float32),
            num_objects=np.ones(count, np.int32),
        )

    def locate(self, frames, num_objects):
        rows = tf.cast(tf.round(frames[:, 0, 0, 0, 0] * len(self.readings)), tf.int32)
        return Encoding(tf.gather(self.readings, rows), tf.gather(np.sqrt(self.variances), rows))


def test_noise_and_start_are_those_that_readings_were_drawn_with():
    oracle = Oracle(600, 20)
    fit_motion(oracle, oracle.data)
    motion = oracle.motion
    np.testing.assert_allclose(motion.emission_noise, NOISE, rtol=0.05)
    order = np.argsort(motion.start_positions[:, 0])
    np.testing.assert_allclose(tf.nn.softmax(motion.component_logits), [0.5, 0.5], atol=0.06)
    expected = [[-9.0, 0.0, 5.0, 3.0], [9.0, 0.0, -5.0, 3.0]]
    np.testing.assert_allclose(motion.initial_means.numpy()[order], expected, atol=0.5)
    scales = np.sqrt(np.diagonal(motion.initial_covariances, axis1=1, axis2=2))
    np.testing.assert_allclose(scales, [[2.0, 2.0, 1.0, 0.5]] * 2, rtol=0.25)


def test_a_round_is_the_expectation_under_a_dense_gaussian():
    """E[(a - B h)²] with h and a given one reading each, from their joint covariance."""
    y, R, mean, P = 1.3, 0.6, 0.2, 0.5  # h a priori N(mean, P)
    joint = np.array([[P, P, P], [P, P + NOISE[0], P + NOISE[0]], [P, P + NOISE[0], 0.0]])
    joint[2, 2] = P + NOISE[0] + R  # of h, a and y
    gain = joint[:2, 2] / joint[2, 2]
    m = mean + gain * (y - mean)
    C = joint[:2, :2] - np.outer(gain, joint[2, :2])
    expected = (m[1] - m[0]) ** 2 + C[0, 0] + C[1, 1] - 2.0 * C[0, 1]
    found = noise_of_positions(
        NOISE[:1],
        np.full((1, 1, 1), y),
        np.full((1, 1, 1), R),
        np.array([[[m[0], 0.0]]]),
        np.diag([C[0, 0], 1.0])[np.newaxis, np.newaxis],
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_readings_are_those_of_objects_that_are_there(model, train):
    readings, variances = read(model, train)
    q = model.locate(train.unit_frames, num_objects=COUNTS)
    expected = np.concatenate(
        [q.mean.numpy()[i, :, :n].swapaxes(0, 1) for i, n in enumerate(COUNTS)]
    )
    np.testing.assert_allclose(readings, expected, atol=1e-5)
    assert variances.shape == readings.shape
    assert np.all(variances > 0) == (model.posterior == "smoothed")


def test_refit_of_a_model_leaves_the_law_of_motion_alone(model, train):
    before = model.motion.force.numpy(), model.motion.log_step.numpy()
    fit_motion(model, train)
    np.testing.assert_array_equal(model.motion.force, before[0])
    np.testing.assert_array_equal(model.motion.log_step, before[1])
    for variable in model.motion.trainable_variables:
        assert np.all(np.isfinite(variable.numpy())), variable.path
    batch = {"frames": train.unit_frames, "num_objects": COUNTS}
    assert np.all(np.isfinite(model.elbo(batch, tf.constant([0, 1], tf.int64)).elbo))


def test_objects_that_may_be_taken_for_others_have_no_part(model, train):
    other = dataclasses.replace(train, frames=train.frames.copy())
    other.frames[COUNTS == 2] = 255 - other.frames[COUNTS == 2]
    before, found = model.motion.get_weights(), []
    for data in (train, other):
        model.motion.set_weights(before)
        fit_motion(model, data)
        found.append(model.motion.get_weights())
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_it_happens_before_the_last_epochs_only(model, train):
    callback = MotionEM(train, epoch=3, seed=0)
    callback.set_model(model)
    before = model.motion.emission_noise.numpy()
    for epoch in (0, 2):
        callback.on_epoch_begin(epoch)
    np.testing.assert_array_equal(model.motion.emission_noise, before)
    for epoch in (3, 4):
        model.motion.set_emission_noise(before)
        callback.on_epoch_begin(epoch)
        assert np.all(model.motion.emission_noise.numpy() != before)


def test_light_is_fitted_once_and_the_plane_stays(train):
    keras.utils.set_random_seed(0)
    model = Cannonball(
        SHAPE, max_objects=OBJECTS, state_size=9, posterior="smoothed", refinements=1, map_degree=2
    )
    model.build()
    callback = MotionEM(train, epoch=1, seed=0)
    callback.set_model(model)
    callback.on_epoch_begin(0)
    assert not model.light_readings.is_fitted.numpy()
    callback.on_epoch_begin(1)
    assert model.light_readings.is_fitted.numpy()
    assert np.abs(model.light_readings.places.numpy()).max() > 0
    fixed = [*model.light_readings.weights, *model.to_motion.weights, *model.from_motion.weights]
    before = [variable.numpy() for variable in fixed]
    for variable in model.attention.trainable_variables:  # another plane, were it fitted again
        variable.assign_add(tf.ones_like(variable))
    callback.on_epoch_begin(2)
    for variable, value in zip(fixed, before, strict=True):
        np.testing.assert_array_equal(variable, value)
