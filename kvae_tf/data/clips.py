"""Videos as sequences: split into parts, cut into windows, padded where they are short."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kvae_tf.data import annotations as tables
from kvae_tf.data import memory, number_checks, video
from kvae_tf.data.sequence_data import FRACTIONS, SequenceData, Splits, check_seen
from kvae_tf.errors import UserError

_MANY = 10  # videos; with this number or more, every video belongs to one part as a whole


class Clip(NamedTuple):
    """A piece of a video.

    Attributes:
      frames: ``[T, H, W, C]`` uint8.
      observed: ``[T]`` float32, 1 = seen.
      controls: ``[T, U]`` float32.
      times: ``[T]`` seconds; None: frames are equally spaced.
      num_objects: number of objects; None: unknown.
    """

    frames: np.ndarray
    observed: np.ndarray
    controls: np.ndarray
    times: np.ndarray | None = None
    num_objects: int | None = None

    def cut(self, start: int, end: int | None = None) -> Clip:
        """The steps from ``start`` to before ``end``; None: to the last one (default)."""
        *arrays, count = self
        return Clip(*(None if x is None else x[start:end] for x in arrays), count)


def load_video(
    path: str | os.PathLike,
    seed: int = 0,
    frame_size: Sequence[int] = (),
    crop: Sequence[int] = (),
    channels: int = 1,
    window: int = 0,
    stride: int = 0,
    annotations: str | os.PathLike = "",
    fractions: Sequence[float] = FRACTIONS,
    max_memory: float = memory.DEFAULT,
) -> Splits:
    """A video, or several, as train, validation and test sequences.

    With ten videos or more, each video belongs to one part as a whole. With fewer videos, each is
    cut into three pieces in time, the first for training, the last for testing, so that no test
    frame lies between training frames.

    Args:
      path: a video file; a folder of pictures, which are one video; or a folder of videos.
      seed: seed of the shuffle of the videos, a non-negative int; 0 by default.
      frame_size: ``(height, width)`` to which frames are resized, pixels; empty: as they are
        (default).
      crop: ``(top, left, height, width)`` of the part that is kept before resizing, pixels; empty:
        the whole frame (default).
      channels: 1 for grey (default), 3 for colour.
      window: number T of frames of a sequence; 0: whole pieces, the shorter ones padded with
        missing frames (default).
      stride: number of frames from the start of one window to the start of the next; 0: ``window``
        (default).
      annotations: a CSV file as in ``data.annotations``; empty: none (default).
      fractions: shares of train, validation and test; 0.8, 0.1 and 0.1 by default.
      max_memory: largest size of all frames, GiB, 8 by default.

    Raises:
      UserError: a file is refused, frames differ in size or are too many for ``max_memory``,
        ``stride`` is given without ``window``, or a part would be empty or without a seen frame.
    """
    window = number_checks.integer("window", window, minimum=0)
    stride = number_checks.integer("stride", stride, minimum=0)
    if window == 1:
        raise UserError("--window is 1, expected 0 or at least 2 frames")
    if stride and not window:
        raise UserError(f"--stride is {stride}, expected 0, or --window for frames of a sequence")
    transform = video.FrameTransform(tuple(crop) or None, tuple(frame_size) or None, channels)
    _check_transform(transform)
    clips = _clips(Path(path).expanduser(), transform, os.fspath(annotations), max_memory)
    parts = _deal(clips, number_checks.fractions(fractions), seed, path)
    length = window or max(len(clip.frames) for part in parts for clip in part)
    parts = [
        [piece for clip in part for piece in _cut(clip, window, stride or window)] for part in parts
    ]
    frame = clips[0].frames[0]
    size = sum(map(len, parts)) * length * frame.nbytes
    memory.check(
        f"{path} as {sum(map(len, parts))} sequences of {length} frames",
        size,
        max_memory,
        "expected a larger --stride, or a smaller --frame_size",
    )
    splits = Splits(*(_joined(part, length) for part in parts))
    for name, part in splits._asdict().items():
        check_seen(part, f"{path}, {name} part")
    return splits


def _check_transform(transform):
    for name, value, count in (("frame_size", transform.size, 2), ("crop", transform.crop, 4)):
        if value is not None and len(value) != count:
            raise UserError(f"--{name} is {','.join(map(str, value))}, expected {count} numbers")
        for number in value or ():
            number_checks.integer(name, number, minimum=int(name == "frame_size"))
    if transform.channels not in (1, 3):
        raise UserError(f"--channels is {transform.channels!r}, expected one of 1, 3")


def _clips(path, transform, annotations_path, max_memory):
    """Each video as one ``Clip``."""
    frames, size = {}, 0
    for file in video.find(path):
        frames[file.name] = video.read(file, transform, max_memory)
        size += frames[file.name].nbytes
        memory.check(path, size, max_memory, "expected fewer videos, or a smaller --frame_size")
    shapes = {name: x.shape[1:] for name, x in frames.items()}
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if shape != shapes[first]:
            raise UserError(
                f"{Path(path) / name} has frames {shape}, expected {shapes[first]} as {first}: "
                "pass --frame_size"
            )
    known = tables.read(annotations_path, {name: len(x) for name, x in frames.items()})
    return [Clip(x, known[name].observed, known[name].controls) for name, x in frames.items()]


def _deal(clips, fractions, seed, path):
    """Lists of clips for the three parts."""
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
                part.append(clip.cut(start, end))
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
    return [clip.cut(start, start + window) for start in starts]


def _joined(clips, length):
    """Clips as one ``SequenceData``; shorter clips are padded with missing frames."""

    def padded(x):
        return np.pad(x, [(0, length - len(x))] + [(0, 0)] * (x.ndim - 1))

    return SequenceData(*(np.stack(column) for column in zip(*(
        [padded(x) for x in (clip.frames, clip.observed, clip.controls)] for clip in clips
    ), strict=True)))  # fmt: skip
