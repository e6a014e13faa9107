"""Adam with rest, and learning rates by the leg."""

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import data
from kvae_tf.experiments import presets
from kvae_tf.training import build
from kvae_tf.training.optimizer import PhasedAdam, PiecewiseSchedule, SchedulePiece

schedules = keras.optimizers.schedules


def run(optimizer, gradients):
    """Values of one variable after each of the gradients, from zeros."""
    variable = keras.Variable(np.zeros(3, np.float32))
    optimizer.build([variable])
    values = []
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        values.append(variable.numpy().copy())
    return np.stack(values)


GRADIENTS = np.random.default_rng(0).normal(size=(20, 3))


def test_without_rest_it_is_adam():
    expected = run(keras.optimizers.Adam(0.1, global_clipnorm=1.0), GRADIENTS)
    found = run(PhasedAdam(0.1, global_clipnorm=1.0), GRADIENTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_rest_neither_moves_nor_counts():
    rest = np.zeros((7, 3))
    rested = np.concatenate([GRADIENTS[:10], rest, GRADIENTS[10:]])
    found = run(PhasedAdam(0.1), rested)
    np.testing.assert_array_equal(found[10:17], np.repeat(found[9:10], 7, axis=0))
    expected = run(PhasedAdam(0.1), GRADIENTS)
    np.testing.assert_allclose(np.delete(found, range(10, 17), 0), expected, rtol=1e-5, atol=1e-6)


def test_a_zero_among_others_is_no_rest():
    gradients = GRADIENTS.copy()
    gradients[5:, 0] = 0.0
    expected = run(keras.optimizers.Adam(0.1), gradients)
    np.testing.assert_allclose(run(PhasedAdam(0.1), gradients), expected, rtol=1e-5, atol=1e-6)


def test_quick_variables_take_longer_steps():
    quick, slow = (keras.Variable(np.zeros(3, np.float32)) for _ in range(2))
    optimizer = PhasedAdam(0.01, [quick], factor=5.0)
    optimizer.build([slow, quick])
    for gradient in GRADIENTS:
        optimizer.apply([tf.constant(gradient, tf.float32)] * 2, [slow, quick])
    np.testing.assert_allclose(quick.numpy(), 5 * slow.numpy(), rtol=1e-5)


def test_a_part_that_rests_does_not_move_after_the_rest_is_forgotten():
    """As with a fresh Adam from there on; without it the old momentum moves all entries."""
    variable = keras.Variable(np.zeros(3, np.float32))
    optimizer = PhasedAdam(0.1)
    optimizer.build([variable])
    for gradient in GRADIENTS[:10]:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    before, later = variable.numpy().copy(), GRADIENTS[10:] * [0.0, 0.0, 1.0]
    optimizer.forget([variable])
    for gradient in later:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    np.testing.assert_array_equal(variable.numpy()[:2], before[:2])
    expected = run(PhasedAdam(0.1), later)[-1]
    np.testing.assert_allclose(variable.numpy() - before, expected, rtol=1e-4, atol=1e-6)


def test_each_leg_counts_from_its_start():
    first, second = schedules.CosineDecay(0.1, 10), schedules.ExponentialDecay(0.5, 4, 0.5)
    legs = PiecewiseSchedule([SchedulePiece(10, first), SchedulePiece(5, second)])
    expected = [float(first(i)) for i in range(10)] + [float(second(i)) for i in range(15)]
    np.testing.assert_allclose([float(legs(i)) for i in range(25)], expected, rtol=1e-6)


def test_settling_epochs_have_a_rate_of_their_own():
    train = data.WORLDS["pendulum"].splits(0, num_sequences=(20, 1, 1)).train
    rates = []
    for factor in (1.0, 0.25):
        settings = presets.settings(
            "pendulum_smoke", schedule="cosine", steps_per_epoch=5, epochs=4, settling_epochs=2,
            settling_rate=factor,
        )  # fmt: skip
        optimizer = build.optimizer(build.build(settings.plan, train), settings.plan, train)
        rates.append([])
        for step in range(20):
            optimizer.iterations.assign(step)
            rates[-1].append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates[1], np.multiply(rates[0], [1.0] * 10 + [0.25] * 10), rtol=1e-6)
    assert rates[0][10] == rates[0][0] > rates[0][9]
