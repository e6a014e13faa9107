"""The polynomial map under which bent paths become parabolas again."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.models.cannonball import straightening
from kvae_tf.models.cannonball.straightening import PolynomialMap, straighten, straighten_to

RNG = np.random.default_rng(0)
FORCE = np.array([0.0, -0.01])


def built(degree=5):
    layer = PolynomialMap(2, degree)
    layer.build()
    return layer


def paths(count=400, steps=30):
    t = np.arange(steps)[:, np.newaxis]
    rng = np.random.default_rng(1)
    start, velocity = rng.uniform(-1, 1, size=(2, count, 1, 2)) * [[[[2.0]]], [[[0.1]]]]
    return start + velocity * t + 0.5 * FORCE * t**2


def bent(x):
    """A smooth map of the plane that is neither affine nor a polynomial."""
    return np.stack(
        [
            np.tanh(x[..., 0] / 3.0) + 0.05 * x[..., 1],
            np.sin((x[..., 1] + 2.0) / 6.0) + 0.03 * x[..., 0],
        ],
        -1,
    )


def unexplained(x, truth):
    """The share of the variance of the truth that no affine map of x explains."""
    extended = np.concatenate([x.reshape(-1, 2), np.ones((x.size // 2, 1))], axis=1)
    residual = np.linalg.lstsq(extended, truth.reshape(-1, 2), rcond=None)[1]
    return residual / (truth.reshape(-1, 2).var(0) * len(extended))


def test_it_starts_as_the_identity():
    x = RNG.normal(size=(50, 2)).astype(np.float32) * 3
    layer = built()
    np.testing.assert_allclose(layer(x), x, rtol=1e-6)
    np.testing.assert_allclose(layer.image_std(np.clip(x, -1, 1), np.abs(x)), np.abs(x), rtol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_bent_paths_become_straight(noise):
    truth = paths()
    readings = bent(truth) + noise * RNG.normal(size=truth.shape)
    there, back = built(), built()
    acceleration = straighten(there, back, readings)
    positions = there(readings.astype(np.float32)).numpy()
    clean = there(bent(truth).astype(np.float32)).numpy()
    before, after = unexplained(bent(truth), truth), unexplained(clean, truth)
    assert (after < before / 5).all()
    assert np.abs(back(positions) - readings).mean() < 0.005 * np.ptp(readings)
    found = np.diff(clean, 2, axis=1).mean((0, 1))
    np.testing.assert_allclose(acceleration, found, atol=0.02 * np.linalg.norm(found))


def test_noise_hardly_bends_the_map(monkeypatch):
    truth = paths()
    readings = bent(truth) + 0.02 * np.random.default_rng(2).normal(size=truth.shape)

    def left():
        there = built()
        straighten(there, built(), readings)
        return unexplained(there(bent(truth).astype(np.float32)).numpy(), truth).sum()

    averaged = left()
    monkeypatch.setattr(straightening, "_TIME_DEGREE", 1000)
    assert averaged < 0.5 * left()


def test_bent_readings_become_features_that_are_straight():
    truth = paths().reshape(-1, 2)
    readings = bent(truth) + 0.003 * RNG.normal(size=truth.shape)
    there, back = built(), built()
    straighten_to(there, back, readings, truth @ [[0.3, 0.1], [-0.2, 0.5]] + 7.0)
    positions = there(readings.astype(np.float32)).numpy()
    before, after = (unexplained(x, truth) for x in (bent(truth), positions))
    assert (after < before / 5).all()
    # In the readings' own units and place.
    np.testing.assert_allclose(positions.mean(0), readings.mean(0), atol=0.01)
    assert np.abs(back(positions) - readings).mean() < 0.005 * np.ptp(readings)


def test_deviations_follow_the_slopes():
    layer = built(3)
    straighten(layer, built(3), bent(paths()))
    x = 0.5 * RNG.uniform(-1, 1, size=(20, 2)) * layer.half_width + layer.centre
    std = RNG.uniform(0.5, 1.0, size=x.shape).astype(np.float32)
    x = tf.cast(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    J = tape.batch_jacobian(y, x).numpy()
    expected = np.sqrt(np.square(J * std[:, np.newaxis]).sum(-1))
    np.testing.assert_allclose(layer.image_std(x, std), expected, rtol=1e-4)


def test_beyond_the_box_it_goes_on():
    layer = built()
    straighten(layer, built(), bent(paths()))
    centre, width = layer.centre.numpy(), layer.half_width.numpy()
    edge = centre + width
    np.testing.assert_allclose(
        layer(edge + 2.0 * width) - layer(edge), 2.0 * width, rtol=1e-4, atol=1e-5
    )


def test_it_survives_a_round_trip_of_its_config():
    layer = built(4)
    again = PolynomialMap.from_config(layer.get_config())
    again.build()
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]
