"""A user's videos as sequences: cut into windows, split into parts, padded where they are short."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kvae_tf.data import annotations, checks, video
from kvae_tf.data.sequence_data import FRACTIONS, SequenceData, Splits
from kvae_tf.errors import UserError

_MANY = 10  # videos; from so many on whole videos go to one part or the other
_MOST = 4 * 2**30  # bytes of frames in memory


class Clip(NamedTuple):
    """A stretch of a video.

    Attributes:
      frames: ``[T, H, W, C]`` uint8.
      observed: ``[T]``, 1 = seen.
      controls: ``[T, U]``.
    """

    frames: np.ndarray
    observed: np.ndarray
    controls: np.ndarray


def load_videos(
    path: str | os.PathLike,
    seed: int = 0,
    transform: video.FrameTransform = video.WHOLE,
    window: int = 0,
    stride: int = 0,
    annotations_path: str = "",
    fractions: Sequence[float] = FRACTIONS,
) -> Splits:
    """Videos as train, validation and test sequences.

    Ten videos or more are dealt out whole; of fewer ones each is cut into three stretches in time,
    the first to train on, the last to test on, so that no test frame lies among training frames.

    Args:
      path: what ``video.find`` takes.
      seed: of the shuffle of the videos.
      transform: what becomes of each frame.
      window: frames T of a sequence; 0: whole stretches, the shorter ones padded with missing
        frames.
      stride: frames from the start of one window to that of the next; 0: a window.
      annotations_path: a CSV file as in ``annotations``; empty: none.
      fractions: shares of train, validation and test.

    Raises:
      UserError: a file is refused, frames differ in size, or a part would be empty.
    """
    window = checks.integer("window", window, minimum=0)
    stride = checks.integer("stride", stride, minimum=0) or window
    if window == 1:
        raise UserError("--window is 1, expected 0 or at least 2 frames")
    clips = _clips(path, transform, annotations_path)
    parts = _deal(clips, checks.fractions(fractions), seed, path)
    length = window or max(len(clip.frames) for part in parts for clip in part)
    parts = [[piece for clip in part for piece in _cut(clip, window, stride)] for part in parts]
    frame = clips[0].frames[0]
    size = sum(map(len, parts)) * length * frame.nbytes
    if size > _MOST:
        raise UserError(
            f"{path} makes {sum(map(len, parts))} sequences of {length} frames, more than "
            f"{_MOST / 2**30:.0f} GiB; expected a larger --stride, or a smaller --frame_size"
        )
    return Splits(*(_joined(part, length) for part in parts))


def _clips(path, transform, annotations_path):
    """Every video whole."""
    files = video.find(path)
    frames = {file.name: video.read(file, transform) for file in files}
    shapes = {name: x.shape[1:] for name, x in frames.items()}
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if shape != shapes[first]:
            raise UserError(
                f"{Path(path) / name} has frames {shape}, expected {shapes[first]} as {first}: "
                "pass --frame_size"
            )
    known = annotations.read(annotations_path, {name: len(x) for name, x in frames.items()})
    return [Clip(x, known[name].observed, known[name].controls) for name, x in frames.items()]


def _deal(clips, fractions, seed, path):
    """Clips of the three parts."""
    shares = np.cumsum(fractions) / np.sum(fractions)
    if len(clips) >= _MANY:
        order = np.random.default_rng(seed).permutation(len(clips))
        ends = np.rint(shares * len(clips)).astype(int)
        # Every part gets one video at least.
        ends = np.minimum(np.maximum(ends, [1, 2, 3]), len(clips) - np.array([2, 1, 0]))
        parts = np.split(order, ends[:-1])
        return [[clips[i] for i in part] for part in parts]
    parts = [[], [], []]
    for clip in clips:
        ends = np.rint(shares * len(clip.frames)).astype(int)
        for part, start, end in zip(parts, [0, *ends[:-1]], ends, strict=True):
            if end - start >= 2:
                part.append(Clip(*(x[start:end] for x in clip)))
    for name, part in zip(Splits._fields, parts, strict=True):
        if not part:
            count = sum(len(clip.frames) for clip in clips)
            raise UserError(
                f"{path} has {count} frames, too few for a {name} part; expected a longer video"
            )
    return parts


def _cut(clip, window, stride):
    """Windows of a clip; the last one ends where the clip does."""
    length = len(clip.frames)
    if not window or length <= window:
        return [clip]
    starts = [*range(0, length - window, stride), length - window]
    return [Clip(*(x[start : start + window] for x in clip)) for start in starts]


def _joined(clips, length):
    """Clips as one array; what the shorter ones lack is missing."""

    def padded(x):
        return np.pad(x, [(0, length - len(x))] + [(0, 0)] * (x.ndim - 1))

    return SequenceData(*(np.stack(column) for column in zip(*(
        [padded(x) for x in clip] for clip in clips
    ), strict=True)))  # fmt: skip
