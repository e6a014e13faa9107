"""Where discs of one size are in a frame, whichever model made it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def find(frames: np.ndarray, counts: np.ndarray, radius: int) -> np.ndarray:
    """The centres of the brightest discs, one after the other.

    The brightest place, its centroid, then what is there is taken away; a frame that shows
    nothing has such places too, so a model that loses an object cannot do better by hiding it.

    Args:
      frames: ``[N, H, W]`` in [0, 1].
      counts: ``[N]``, how many discs to look for.
      radius: pixels.

    Returns:
      Columns and rows from below, ``[N, most discs, 2]``; 0 beyond a frame's count.
    """
    height = frames.shape[1]
    axis = np.arange(-radius, radius + 1)
    disc = (np.square(axis)[:, None] + np.square(axis)[None] <= radius**2).astype(np.float64)
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]]
    centres = np.zeros((len(frames), counts.max(), 2))
    for place, frame, count in zip(centres, frames.astype(np.float64), counts, strict=True):
        frame = frame.copy()
        for n in range(count):
            light = ndimage.correlate(frame, disc, mode="constant")
            row, column = np.unravel_index(light.argmax(), light.shape)
            near = (rows - row) ** 2 + (columns - column) ** 2
            weight = np.where(near <= (radius + 1) ** 2, frame, 0.0) + 1e-12 * (near == 0)
            weight /= weight.sum()
            row, column = (weight * rows).sum(), (weight * columns).sum()
            frame[(rows - row) ** 2 + (columns - column) ** 2 <= (radius + 0.5) ** 2] = 0.0
            place[n] = column, height - 1 - row
    return centres
