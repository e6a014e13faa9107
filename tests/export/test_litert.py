"""Encoder and decoder as LiteRT files say what the export says."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.export import litert
from kvae_tf.export.loading import LoadedModel

SAVED = Path(__file__).parents[2] / "saved_models"


def call(path, value):
    interpreter = tf.lite.Interpreter(str(path))
    (signature,) = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(signature)
    (name,) = runner.get_input_details()
    return runner(**{name: value})


@pytest.mark.parametrize(
    "world",
    ["pendulum", *(pytest.param(name, marks=pytest.mark.slow) for name in ("box", "fresh"))],
)
def test_round_trip(world, exported, tmp_path):
    """Of committed exports, and of a fresh one, whose graphs have assertions."""
    model = LoadedModel(exported("kvae") if world == "fresh" else SAVED / world / "1")
    encoder, decoder = litert.convert(model, tmp_path)
    frames = np.random.default_rng(0).random((1, *model.frame_shape)).astype(np.float32)
    found = call(encoder, frames)
    expected = model.encode(frames[np.newaxis])
    np.testing.assert_allclose(found["encodings"], expected.mean[0], atol=1e-4)
    np.testing.assert_allclose(found["encoding_stds"], expected.std[0], atol=1e-4)
    back = call(decoder, found["encodings"])["frames"]
    np.testing.assert_allclose(back, model.decode(expected.mean)[0], atol=1e-4)


def test_a_system_without_an_encoder_of_frames(tmp_path):
    class Other:
        supports, path = frozenset({"decode"}), "somewhere"

    with pytest.raises(UserError, match="does not encode single frames"):
        litert.convert(Other(), tmp_path)
