"""How far frames are from the truth, pixel by pixel and as shapes."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance_nd

THRESHOLD = 0.5  # above it a pixel is lit


def incorrect_pixels(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The fraction of pixels on the wrong side of 0.5: ``[..., H, W, C] -> [...]``."""
    return np.mean((guess > THRESHOLD) != (truth > THRESHOLD), axis=(-3, -2, -1))


def wasserstein(guess: np.ndarray, truth: np.ndarray) -> float:
    """The distance, in pixels, by which the lit pixels of one frame must travel to the other's.

    The 1-Wasserstein distance between the uniform distributions over the two sets of lit pixels.

    Args:
      guess: ``[H, W, C]``; channels are averaged.
      truth: ``[H, W, C]``.

    Returns:
      Pixels; the frame's diagonal where only one of the two has a lit pixel, 0 where none has.
    """
    one, two = (np.argwhere(frame.mean(-1) > THRESHOLD) for frame in (guess, truth))
    if not (len(one) and len(two)):
        return 0.0 if len(one) == len(two) else math.hypot(*truth.shape[:2])
    if len(one) != len(two):
        return float(wasserstein_distance_nd(one, two))
    # Sets of one size: some best plan moves each pixel as a whole.
    distances = np.linalg.norm(one[:, np.newaxis] - two[np.newaxis], axis=-1)
    return float(distances[linear_sum_assignment(distances)].mean())
