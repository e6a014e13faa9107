"""Encoder, decoder and ``filter_step`` of a model as LiteRT (TensorFlow Lite) files.

For small devices: each call takes one frame of one sequence. No TensorFlow operations are needed.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import tensorflow as tf

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.export import step_graph
from kvae_tf.export.frozen import freeze
from kvae_tf.export.loading import LoadedModel
from kvae_tf.models.base import SequenceModel


def convert(model: LoadedModel | SequenceModel, folder: Path) -> list[Path]:
    """Writes ``encoder.tflite`` and ``decoder.tflite``.

    The encoder takes ``frames [1, H, W, C]`` and gives ``encodings`` and ``encoding_stds``
    ``[1, m]``; the decoder takes ``encodings [1, m]`` and gives ``frames [1, H, W, C]``.

    Args:
      model: an export, or a live model, that answers ``encode`` and ``decode``.
      folder: folder for the two files.

    Returns:
      Paths of the two files, the encoder first.

    Raises:
      UserError: the model does not encode single frames.
    """
    if not {"encode", "decode"} <= model.supports:
        name = model.path if isinstance(model, LoadedModel) else f"a {type(model).__name__}"
        raise UserError(f"{name} does not encode single frames: it has no such LiteRT form")

    def encode(frames):
        q = model.encode(frames[tf.newaxis])
        return {"encodings": q.mean[0], "encoding_stds": q.std[0]}

    def decode(encodings):
        return {"frames": model.decode(encodings[tf.newaxis])[0]}

    blank = tf.zeros([1, *model.frame_shape])
    paths = folder / "encoder.tflite", folder / "decoder.tflite"
    for path, function, name, value in zip(
        paths,
        (encode, decode),
        ("frames", "encodings"),
        (blank, encode(blank)["encodings"]),
        strict=True,
    ):
        _write(path, freeze(function, {name: tf.TensorSpec(value.shape)}))
    return list(paths)


def convert_step(model: SequenceModel, path: Path) -> None:
    """Writes ``filter_step`` for one sequence, see ``step_graph.trace``.

    All of it is computed in float32. Names are those of the signature ``filter_step``.

    Args:
      model: a built, live model.
      path: the file.

    Raises:
      UserError: the model does not filter frame by frame, or LiteRT lacks one of its operations.
    """
    _write(path, step_graph.trace(model, single_precision=True))


def _write(path, frozen):
    # Through a SavedModel, which keeps the names of inputs and outputs.
    with tempfile.TemporaryDirectory() as temporary:
        tf.saved_model.save(tf.Module(), temporary, signatures=frozen.function())
        try:
            converted = tf.lite.TFLiteConverter.from_saved_model(temporary).convert()
        except Exception as error:  # of a class that TensorFlow does not name in public
            lacking = re.search(r"ops: (.+)", str(error))
            words = lacking[1] if lacking else " ".join(str(error).split())[:200]
            raise UserError(f"{path}: LiteRT lacks operations of the model: {words}") from None
    storage.write_bytes(path, converted)
