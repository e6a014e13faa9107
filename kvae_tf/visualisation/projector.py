"""Encodings for TensorBoard's embedding projector, each with its frame as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.plugins import projector

from kvae_tf import evaluation
from kvae_tf.data import SequenceData, storage
from kvae_tf.models.contract import VideoModel
from kvae_tf.visualisation import images

_MOST = 1000  # points
_LARGEST = 256  # pixels of a frame: 32 of them side by side are 8192, all that browsers draw


def write(folder: Path, model: VideoModel, data: SequenceData) -> None:
    """Writes encodings of seen frames, the frames, and sequence, step and true states of each.

    Args:
      folder: a log folder for ``tensorboard --logdir``.
      model: a model that can ``impute``; for other models nothing is written.
      data: the sequences, of which the first ones with 1,000 frames in all are used.
    """
    if "impute" not in model.supports:
        return
    data = data.select(slice(0, max(1, _MOST // data.num_steps)))
    a = evaluation.encodings(model, data)
    seen = data.observed > 0
    folder.mkdir(parents=True, exist_ok=True)
    _table(folder / "encodings.tsv", a[seen])
    sequence, step = np.nonzero(seen)
    known = {"sequence": sequence, "step": step}
    if data.states is not None:
        columns = np.moveaxis(data.states[seen], -1, 0)
        known |= dict(zip(data.state_names, columns, strict=True))
    _table(folder / "known.tsv", np.stack(list(known.values()), axis=-1), list(known))

    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "encodings"
    embedding.tensor_path, embedding.metadata_path = "encodings.tsv", "known.tsv"
    if not data.is_vector:
        height, width = _sprite(folder / "frames.png", data.unit_frames[seen])
        embedding.sprite.image_path = "frames.png"
        embedding.sprite.single_image_dim.extend([width, height])
    projector.visualize_embeddings(str(folder), config)


def _table(path, rows, header=None):
    lines = ["\t".join(header)] if header else []
    lines += ["\t".join(f"{value:.6g}" for value in row) for row in rows.astype(float)]
    storage.write_text(path, "\n".join(lines) + "\n")


def _sprite(path, frames):
    """Writes frames in a square, row by row, for the projector; returns a frame's size."""
    side = int(np.ceil(np.sqrt(len(frames))))
    frames = frames[:, :_LARGEST, :_LARGEST]
    height, width, channels = frames.shape[1:]
    cells = np.zeros((side * side, height, width, channels), np.float32)
    cells[: len(frames)] = frames
    rows = cells.reshape(side, side, height, width, channels).transpose(0, 2, 1, 3, 4)
    picture = np.round(rows.reshape(side * height, side * width, channels) * 255).astype(np.uint8)
    images.save_png(path, np.broadcast_to(picture, (*picture.shape[:2], 3)))
    return height, width
