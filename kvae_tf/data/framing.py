"""Frame size, colour and windows of videos that nobody has described, chosen from a few of them.

The aspect of a frame is kept: nothing is cropped, and nothing is padded. Its longer side becomes 32
pixels, which most motion needs no more than and small networks learn in minutes.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from kvae_tf.data import memory, video

_LONGER_SIDE = 32  # pixels
_WINDOW = 20  # frames
_LOOKED_AT = 8  # videos
_WINDOWS = 400  # so many at least, as far as windows may overlap
_COLOURED = 24  # of 255, between the smallest and the largest channel of a pixel
_SHARE = 0.002  # of pixels that are coloured


class Framing(NamedTuple):
    """How videos become sequences; the flags of the same names.

    Attributes:
      frame_size: ``(height, width)`` in pixels.
      channels: 1 for grey, 3 for red, green and blue.
      window: number T of frames of a sequence.
      stride: number of frames from the start of one window to the start of the next.
    """

    frame_size: tuple[int, int]
    channels: int
    window: int
    stride: int


def choose(
    path: str | os.PathLike, crop: tuple[int, ...] = (), max_memory: float = memory.DEFAULT
) -> Framing:
    """Framing for the videos of a path.

    Args:
      path: a video file, a folder of pictures, or a folder of videos, as ``load_videos`` takes.
      crop: ``(top, left, height, width)`` of the part that is kept, pixels; empty: all (default).
      max_memory: largest size of a video's frames, GiB, 8 by default.

    Raises:
      UserError: there are no videos, or one is refused.
    """
    files = video.find(path)
    some = np.unique(np.linspace(0, len(files) - 1, _LOOKED_AT).astype(int))
    height, width = crop[2:] if crop else video.size_of(files[0])
    scale = min(1.0, _LONGER_SIDE / max(height, width))
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    transform = video.FrameTransform(tuple(crop) or None, size, channels=3)
    frames = [video.read(files[i], transform, max_memory) for i in some]
    lengths = [len(x) for x in frames]
    window = int(min(_WINDOW, max(2, np.median(lengths))))
    total = np.mean(lengths) * len(files)
    stride = int(np.clip(total // _WINDOWS, 1, max(1, window // 2)))
    return Framing(size, 3 if _is_coloured(frames) else 1, window, stride)


def _is_coloured(videos):
    pixels = np.concatenate([x.reshape(-1, 3) for x in videos]).astype(np.int16)
    return np.mean(np.ptp(pixels, axis=1) > _COLOURED) > _SHARE
