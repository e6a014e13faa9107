"""Encoder and decoder as LiteRT files say what the model says."""

import numpy as np
import pytest
from conftest import SAVED_MODELS

from kvae_tf.errors import UserError
from kvae_tf.export import litert
from kvae_tf.export.loading import LoadedModel


def call(path, value):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    runner = interpreter.get_signature_runner()
    (name,) = runner.get_input_details()
    return runner(**{name: value})


@pytest.mark.parametrize(
    "kind",
    [
        "pendulum",
        "live",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("box", "fresh")),
    ],
)
def test_round_trip(kind, live, exported, tmp_path):
    """Of committed exports, of a fresh one, whose graphs have assertions, and of a live model."""
    if kind == "live":
        model = live("kvae")
    else:
        model = LoadedModel(exported("kvae") if kind == "fresh" else SAVED_MODELS / kind / "1")
    encoder, decoder = litert.convert(model, tmp_path)
    frames = np.random.default_rng(0).random((1, *model.frame_shape)).astype(np.float32)
    found = call(encoder, frames)
    expected = model.encode(frames[np.newaxis])
    np.testing.assert_allclose(found["encodings"], expected.mean[0], atol=1e-4)
    np.testing.assert_allclose(found["encoding_stds"], expected.std[0], atol=1e-4)
    back = call(decoder, found["encodings"])["frames"]
    np.testing.assert_allclose(back, model.decode(expected.mean)[0], atol=1e-4)


def test_a_system_without_an_encoder_of_frames(live, tmp_path):
    with pytest.raises(UserError, match="a DVBF does not encode single frames"):
        litert.convert(live("dvbf"), tmp_path)
    assert not list(tmp_path.iterdir())
