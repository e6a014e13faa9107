"""Moments over the seen frames of many sequences: of pixels, in float64 and with little memory; of
the entries of vectors.
"""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import numpy as np

from kvae_tf.data.sequence_data import SequenceData, as_unit

_FRAMES = 1000  # that are floats at a time


class PixelMoments(NamedTuple):
    """Moments of each pixel over all seen frames; 0 where no frame is seen.

    Attributes:
      mean: ``[H, W, C]`` float64, of frames in [0, 1].
      variance: ``[H, W, C]`` float64, mean square of the difference from ``mean``.
      within: ``[H, W, C]`` float64, mean square of the difference from the pixel's mean over the
        seen frames of its own sequence.
    """

    mean: np.ndarray
    variance: np.ndarray
    within: np.ndarray


class _Sum(NamedTuple):
    """Number of frames, their mean, and the sum of squares of the differences from it."""

    count: int
    mean: np.ndarray
    squares: np.ndarray


def pixel_moments(data: SequenceData) -> PixelMoments:
    """Moments of each pixel; missing frames do not count.

    Blocks of frames are joined by the formula of Chan, Golub and LeVeque (1979), so that only one
    block is there as floats, and no digits cancel.

    Args:
      data: sequences of pictures. Of vectors, moments of an entry with NaN are NaN.
    """
    nothing = _Sum(0, np.zeros(data.frame_shape), np.zeros(data.frame_shape))
    total, within = nothing, np.zeros(data.frame_shape)
    for frames, seen in zip(data.frames, data.observed > 0, strict=True):
        steps = np.flatnonzero(seen)
        blocks = np.split(steps, range(_FRAMES, len(steps), _FRAMES))
        own = functools.reduce(
            _join, (_sum(frames[block]) for block in blocks if len(block)), nothing
        )
        total = _join(total, own)
        within += own.squares
    count = max(total.count, 1)
    return PixelMoments(total.mean, total.squares / count, within / count)


def _sum(frames):
    x = as_unit(frames).astype(np.float64)
    mean = x.mean(axis=0)
    return _Sum(len(x), mean, np.square(x - mean).sum(axis=0))


def _join(one, two):
    if not one.count or not two.count:
        return one if one.count else two
    count = one.count + two.count
    step = two.mean - one.mean
    mean = one.mean + step * (two.count / count)
    squares = one.squares + two.squares + np.square(step) * (one.count * two.count / count)
    return _Sum(count, mean, squares)


def entry_moments(data: SequenceData) -> list[list[float]]:
    """Means and standard deviations of the entries of vectors, two lists of D numbers.

    An entry that never changes, or is always missing, has the standard deviation 1.

    Args:
      data: sequences of vectors.
    """
    entries = np.where(data.observed[..., None] > 0, data.frames[:, :, 0, :, 0], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # entries that are always missing
        mean, spread = np.nanmean(entries, axis=(0, 1)), np.nanstd(entries, axis=(0, 1))
    spread = np.where(np.nan_to_num(spread) > 0, spread, 1.0)
    return [np.nan_to_num(mean).tolist(), spread.tolist()]
