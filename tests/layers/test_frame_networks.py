"""Shapes, bounds and independence of frames of the encoders and decoders."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.layers import FrameDecoder, FrameEncoder

SHAPES = [(8, 8, 1), (10, 13, 2)]
UNITS = (6, 4)
KINDS = ("mlp", "cnn")


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def encoder(kind, **options):
    return FrameEncoder(kind, 3, UNITS, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lead", [(4,), (2, 3), (2, 1, 3)])
def test_shapes(kind, shape, lead):
    mean, std = encoder(kind)(uniform(*lead, *shape))
    assert mean.shape == std.shape == (*lead, 3)
    decoded = FrameDecoder(kind, shape, UNITS)(uniform(*lead, 3))
    assert decoded.shape == (*lead, *shape)
    assert mean.dtype == std.dtype == decoded.dtype == tf.float32


@pytest.mark.parametrize("kind", KINDS)
def test_leading_axes_are_only_a_batch(kind):
    frames = uniform(2, 3, 10, 13, 1)
    layer, decoder = encoder(kind), FrameDecoder(kind, (10, 13, 1), UNITS)
    together, one = layer(frames), layer(frames[1:, 2])
    np.testing.assert_allclose(together.mean[1, 2], one.mean[0], atol=1e-5)
    np.testing.assert_allclose(together.std[1, 2], one.std[0], atol=1e-5)
    decoded = decoder(together.mean)
    np.testing.assert_allclose(decoded[1, 2], decoder(one.mean)[0], atol=1e-5)
    assert np.abs(decoded[1, 2] - decoded[0, 0]).max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_dynamic_batch(kind):
    layer, decoder = encoder(kind), FrameDecoder(kind, (10, 13, 1), UNITS)
    signature = tf.TensorSpec([None, None, 10, 13, 1])

    @tf.function(input_signature=[signature], autograph=False)
    def graph(frames):
        mean, std = layer(frames)
        decoded = decoder(mean)
        assert mean.shape.as_list() == std.shape.as_list() == [None, None, 3]
        assert decoded.shape.as_list() == [None, None, 10, 13, 1]
        return mean, decoded

    for lead in ((2, 3), (5, 1)):
        frames = uniform(*lead, 10, 13, 1)
        mean, decoded = graph(frames)
        np.testing.assert_allclose(mean, layer(frames).mean, atol=1e-5)
        assert decoded.shape == (*lead, 10, 13, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_variance", [0.03, 2.0])
def test_std_is_bounded(kind, max_variance):
    layer = encoder(kind, max_variance=max_variance)
    frames = uniform(50, 8, 8, 1)
    np.testing.assert_array_less(layer(frames).std, max_variance**0.5)
    # With a head of huge weights the bound is reached from below, and zero never.
    layer.head.kernel.assign(1e3 * np.random.default_rng(1).normal(size=layer.head.kernel.shape))
    std = layer(frames).std.numpy()
    assert std.min() > 0
    assert std.max() <= max_variance**0.5 * (1 + 1e-5)
    assert std.max() > 0.99 * max_variance**0.5
    assert std.min() < 0.01 * max_variance**0.5
    assert np.isfinite(np.log(std)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_learns(kind):
    keras.utils.set_random_seed(0)  # a narrow layer can be born dead
    frames = uniform(6, 10, 13, 1)
    layer, decoder = encoder(kind), FrameDecoder(kind, (10, 13, 1), UNITS)
    with tf.GradientTape() as tape:
        mean, std = layer(frames)
        loss = tf.reduce_sum(tf.square(decoder(mean + std) - frames))
    variables = layer.trainable_variables + decoder.trainable_variables
    # Kernels and biases of two trunk layers and a head each; a cnn decoder also has a stem.
    assert len(variables) == (12 if kind == "mlp" else 14)
    for gradient in tape.gradient(loss, variables):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_config_rebuilds_the_layer(kind):
    frames = uniform(2, 10, 13, 1)
    layer, decoder = encoder(kind, max_variance=0.5), FrameDecoder(kind, (10, 13, 1), UNITS)
    mean, std = layer(frames)
    decoded = decoder(mean)
    again = FrameEncoder.from_config(layer.get_config())
    again_decoder = FrameDecoder.from_config(decoder.get_config())
    again.build((None, 10, 13, 1))
    again_decoder.build((None, 3))
    again.set_weights(layer.get_weights())
    again_decoder.set_weights(decoder.get_weights())
    np.testing.assert_allclose(again(frames).std, std, atol=1e-6)
    np.testing.assert_allclose(again_decoder(mean), decoded, atol=1e-6)


def test_unknown_kind():
    with pytest.raises(UserError, match="'rnn'.*mlp, cnn"):
        FrameEncoder("rnn", 2, UNITS)
    with pytest.raises(UserError, match="'rnn'.*mlp, cnn"):
        FrameDecoder("rnn", (8, 8, 1), UNITS)


# TensorFlow 2.21 looks at the processor, not at oneDNN's limit, and then crashes.
bfloat16 = pytest.param(
    "mixed_bfloat16",
    marks=pytest.mark.skipif(
        "DNNL_MAX_CPU_ISA" in os.environ, reason="oneDNN is limited to older instructions"
    ),
)


@pytest.mark.parametrize("precision", [bfloat16, "mixed_float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_lower_precision_stays_inside(kind, precision):
    frames = uniform(4, 10, 13, 1)
    plain, lower = encoder(kind), encoder(kind, precision=precision)
    mean = plain(frames).mean
    lower.build(frames.shape)
    lower.set_weights(plain.get_weights())
    found = lower(frames)
    assert found.mean.dtype == found.std.dtype == tf.float32
    assert all(variable.dtype == "float32" for variable in lower.variables)
    np.testing.assert_allclose(found.mean, mean, atol=0.03)
    assert np.abs(found.mean - mean).max() > 0  # or else nothing was lower
    decoders = [
        FrameDecoder(kind, (10, 13, 1), UNITS, precision=name) for name in ("float32", precision)
    ]
    one = decoders[0](mean)
    decoders[1].build(mean.shape)
    decoders[1].set_weights(decoders[0].get_weights())
    two = decoders[1](mean)
    assert two.dtype == tf.float32
    np.testing.assert_allclose(two, one, atol=0.03)
    again = FrameDecoder.from_config(decoders[1].get_config())
    assert again.precision == precision
