"""Encoder and decoder of an export as LiteRT (TensorFlow Lite) files, for small devices.

Each call takes one frame; the dynamics between frames are not converted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tensorflow as tf

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.export.loading import LoadedModel


def convert(model: LoadedModel, folder: Path) -> list[Path]:
    """Writes ``encoder.tflite`` and ``decoder.tflite``.

    The encoder takes ``frames [1, H, W, C]`` and gives ``encodings`` and ``encoding_stds``
    ``[1, m]``; the decoder takes ``encodings [1, m]`` and gives ``frames [1, H, W, C]``.

    Args:
      model: an export that answers ``encode`` and ``decode``.
      folder: folder for the two files.

    Returns:
      Paths of the two files, the encoder first.

    Raises:
      UserError: the model does not encode single frames.
    """
    if not {"encode", "decode"} <= model.supports:
        raise UserError(f"{model.path} does not encode single frames: it has no such LiteRT form")

    @tf.function(
        input_signature=[tf.TensorSpec([1, *model.frame_shape], name="frames")], autograph=False
    )
    def encoder(frames):
        q = model.encode(frames[tf.newaxis])
        return {"encodings": q.mean[0], "encoding_stds": q.std[0]}

    blank = model.encode(tf.zeros([1, 1, *model.frame_shape])).mean

    @tf.function(
        input_signature=[tf.TensorSpec([1, blank.shape[-1]], name="encodings")], autograph=False
    )
    def decoder(encodings):
        return {"frames": model.decode(encodings[tf.newaxis])[0]}

    paths = []
    for function in (encoder, decoder):
        module = tf.Module()
        module.model = model.module  # holds the variables
        # Through a SavedModel, which keeps the names of inputs and outputs.
        with tempfile.TemporaryDirectory() as temporary:
            tf.saved_model.save(module, temporary, signatures=function)
            converted = tf.lite.TFLiteConverter.from_saved_model(temporary).convert()
        paths.append(folder / f"{function.python_function.__name__}.tflite")
        storage.write_bytes(paths[-1], converted)
    return paths
