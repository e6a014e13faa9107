"""Simulated worlds, written to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kvae_tf import data
from kvae_tf.errors import UserError
from kvae_tf.visualisation import films


def write(
    dataset: str,
    path: Path,
    seed: int = 0,
    num_sequences: tuple[int, ...] = (),
    num_steps: int = 0,
    fps: float = 10.0,
    shards: int = 0,
) -> None:
    """Simulates a world and writes it.

    Args:
      dataset: name of the world.
      path: a ``.npz`` file for all three parts, a ``.gif`` or ``.mp4`` file for one test sequence,
        or a folder for TFRecord shards.
      seed: seed of the simulation, a non-negative int; 0 by default.
      num_sequences: numbers of sequences of the three parts; empty: the world's defaults (default).
      num_steps: number of frames of a sequence; 0: the world's default (default).
      fps: pictures per second of a film, 10 by default.
      shards: number of TFRecord files of the training part; 0: no shards, the format is given by
        ``path`` (default).

    Raises:
      UserError: there is no such world or format, or a number is out of its range.
    """
    if dataset not in data.WORLDS:
        raise UserError(
            f"--dataset is {dataset!r}, expected one of: {', '.join(sorted(data.WORLDS))}"
        )
    if not shards and path.suffix not in (".npz", *films.FORMATS):
        raise UserError(
            f"--output={path} ends in {path.suffix!r}, expected .npz, .gif or .mp4; "
            "or --format=tfrecord"
        )
    if len(num_sequences) not in (0, 3):
        raise UserError(f"--num_sequences has {len(num_sequences)} numbers, expected 3 with commas")
    options = {"num_steps": num_steps} if num_steps else {}
    if path.suffix in films.FORMATS:
        num_sequences = (1, 1, 1)
    if num_sequences:
        options["num_sequences"] = num_sequences
    splits = data.WORLDS[dataset].splits(seed, **options)
    if shards:
        data.save_records(path, splits, shards)
        return
    if path.suffix == ".npz":
        data.save_npz(path, splits)
        return
    frames = splits.test.unit_frames[0]
    pictures = np.round(np.broadcast_to(frames, (*frames.shape[:3], 3)) * 255).astype(np.uint8)
    films.write(path, pictures, fps)
