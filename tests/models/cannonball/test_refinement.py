"""Readings of the light near expected positions: discs whose places are known."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.data.worlds import cannonballs
from kvae_tf.errors import UserError
from kvae_tf.models.cannonball.refinement import LightReadings

SIZE = 20
RNG = np.random.default_rng(0)
# The plane of the positions: another scale for each axis, and not along the frame's.
PLANE = np.array([[3.0, 0.5], [-1.0, 2.0]])
ORIGIN = np.array([5.0, -7.0])


def discs(count, objects, rng=RNG):
    """Centres ``[count, objects, 2]`` in pixels, and frames ``[count, SIZE, SIZE, 1]``."""
    centres = rng.uniform(2.0, SIZE - 3.0, size=(count, objects, 2))
    return centres, draw(centres)


def draw(centres, there=None):
    there = np.ones(centres.shape[:2], bool) if there is None else there
    frames = cannonballs.draw(centres[:, np.newaxis], there[:, np.newaxis], SIZE)[:, 0]
    return frames[..., np.newaxis].astype(np.float32)


def in_plane(centres):
    return (centres @ PLANE + ORIGIN).astype(np.float32)


def in_pixels(positions):
    return (np.asarray(positions) - ORIGIN) @ np.linalg.inv(PLANE)


def fitted(objects=1, change=lambda frames: frames, shape=(SIZE, SIZE, 1)):
    layer = LightReadings(shape)
    layer.build()
    centres, frames = discs(4000, objects)
    layer.fit(change(frames), in_plane(centres + RNG.normal(size=centres.shape, scale=0.3)))
    return layer


@pytest.fixture(scope="module")
def layer():
    return fitted()


@pytest.mark.parametrize("objects", [1, 2])
def test_pixels_have_their_places(layer, objects):
    found = layer if objects == 1 else fitted(2)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pixels = np.stack([columns, SIZE - 1 - rows], axis=-1).reshape(-1, 2)
    inside = np.all((pixels >= 3) & (pixels < SIZE - 3), axis=-1)
    off = in_pixels(found.places.numpy()) - pixels
    assert np.sqrt(np.square(off[inside]).mean()) < 0.3
    # The covariance of a disc and of the noise of the positions, 1 + 0.09 on either axis.
    to_pixels = np.linalg.inv(PLANE)
    covariance = to_pixels.T @ found.covariance.numpy() @ to_pixels
    np.testing.assert_allclose(covariance, 1.09 * np.eye(2), atol=0.25)
    assert 11 < found.whole.numpy() < 14
    assert found.is_fitted.numpy() == 1.0


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda frames: 0.8 - 0.5 * frames, (SIZE, SIZE, 1)),
        (lambda frames: frames * np.float32([1.0, 0.2, 0.0]), (SIZE, SIZE, 3)),
    ],
    ids=["dark on bright", "colour"],
)
def test_light_is_what_differs_from_the_background(layer, change, shape):
    other = fitted(change=change, shape=shape)
    centres, frames = discs(50, 1)
    expected, present = in_plane(centres + 0.7), np.ones((50, 1), np.float32)
    there = in_pixels(other(change(frames), expected, present).mean)
    assert np.sqrt(np.square(there - centres).mean()) < 0.5


def test_readings_of_discs_that_touch(layer):
    rng = np.random.default_rng(1)
    first = rng.uniform(5.0, SIZE - 6.0, size=(300, 2))
    angle = rng.uniform(0, 2 * np.pi, size=300)
    second = first + 3.5 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    centres = np.stack([first, second, np.zeros_like(first)], axis=1)
    there = np.array([True, True, False])[np.newaxis].repeat(300, axis=0)
    expected = in_plane(centres + rng.normal(size=centres.shape, scale=0.7))
    q = layer(draw(centres, there), expected, there.astype(np.float32))
    before, after = (in_pixels(x)[:, :2] - centres[:, :2] for x in (expected, q.mean))
    assert np.sqrt(np.square(after).mean()) < 0.5 * np.sqrt(np.square(before).mean())
    np.testing.assert_array_equal(q.mean[:, 2], expected[:, 2])  # absent


def test_a_hidden_object_is_read_less_precisely(layer):
    centres = np.full((1, 2, 2), 9.0)
    apart = centres.copy()
    apart[:, 1, 0] += 6.0
    present = np.ones((1, 2), np.float32)
    hidden, whole = (layer(draw(c), in_plane(c), present).std.numpy() for c in (centres, apart))
    assert (hidden > 2 * whole).all()
    nothing = layer(np.zeros_like(draw(centres)), in_plane(apart), present)
    np.testing.assert_allclose(nothing.mean, in_plane(apart), rtol=1e-5)
    np.testing.assert_allclose(nothing.std / whole, np.exp(5.5 / 2), rtol=0.3)


def test_far_from_everything_stays_finite(layer):
    _, frames = discs(1, 2)
    far = tf.Variable([[[1e4, -1e4], [np.float32(3e3), 0.0]]])
    with tf.GradientTape() as tape:
        q = layer(frames, far, np.ones((1, 2), np.float32))
        loss = tf.reduce_sum(q.mean) + tf.reduce_sum(tf.math.log(q.std))
    slopes = tape.gradient(loss, [far, *layer.trainable_variables])
    for value in (loss, *slopes[1:]):
        assert np.isfinite(value).all()
    assert slopes[0] is None  # readings do not learn where to begin


def test_axes_in_front(layer):
    centres, frames = discs(6, 2)
    expected, present = in_plane(centres), np.ones((6, 2), np.float32)
    flat = layer(frames, expected, present)
    deep = layer(*(x.reshape(2, 3, *x.shape[1:]) for x in (frames, expected, present)))
    np.testing.assert_allclose(np.reshape(deep.mean, [6, 2, 2]), flat.mean, rtol=1e-5)
    assert deep.std.shape == (2, 3, 2, 2)


def test_frames_that_say_nothing_are_refused():
    layer = LightReadings((SIZE, SIZE, 1))
    layer.build()
    centres, frames = discs(40, 1)
    with pytest.raises(UserError, match="half of the frames show nothing but the background"):
        layer.fit(np.where(np.arange(40)[:, None, None, None] < 10, frames, 0.0), in_plane(centres))
    with pytest.raises(UserError, match="objects do not move in all directions"):
        layer.fit(frames, in_plane(centres * [1.0, 0.0]))
    assert not layer.is_fitted.numpy()
