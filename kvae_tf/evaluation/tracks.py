"""Discs of single frames linked through time, so that each object has one track."""

from __future__ import annotations

import numpy as np

from kvae_tf.evaluation import discs
from kvae_tf.evaluation.objects import best_orders, in_order, mean_distances

# A centre is found to about a pixel only, so half of what a prediction was off corrects a velocity.
_VELOCITY_GAIN = 0.5
# Pixels. Of a disc that another one hides the place found may be anywhere: its track goes on alone.
_LONGEST_JUMP = 8.0


def track_errors(
    frames: np.ndarray, truth: np.ndarray, before: np.ndarray, counts: np.ndarray, radius: int
) -> np.ndarray:
    """How far the discs of a film are from the true positions, if each disc keeps its identity.

    Discs are found frame by frame and linked to tracks. A track begins at the true positions of an
    object and stands for this object to the end: discs that exchange their places are wrong from
    then on.

    Args:
      frames: ``[N, T, H, W]`` in [0, 1].
      truth: ``[N, T, objects, 2]``, columns and rows from below, pixels.
      before: ``[N, 2, objects, 2]``, the true positions in the two frames before, pixels.
      counts: ``[N]``, objects in a sequence.
      radius: of the discs, pixels.

    Returns:
      ``[N, T]`` pixels, the mean distance over the objects of a sequence.
    """
    N, T = frames.shape[:2]
    centres = discs.find(frames.reshape(N * T, *frames.shape[2:]), np.repeat(counts, T), radius)
    places = np.zeros(truth.shape)
    places[:, :, : centres.shape[1]] = centres.reshape(N, T, -1, 2)
    return mean_distances(link(places, before, counts), truth, counts)


def link(places: np.ndarray, before: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Tracks of objects that move at nearly constant velocity from one frame to the next.

    The places of a frame go to the tracks under the one assignment with the least total squared
    distance from the tracks' predictions, position plus velocity.

    Args:
      places: ``[N, T, objects, 2]``, in each frame in any order.
      before: ``[N, 2, objects, 2]``, positions in the two frames before, in the tracks' order.
      counts: ``[N]``, objects in a sequence; places beyond it stay where they are.

    Returns:
      ``[N, T, objects, 2]``, the places in the tracks' order.
    """
    position, velocity = before[:, 1], before[:, 1] - before[:, 0]
    tracks = []
    for t in range(places.shape[1]):
        predicted = position + velocity
        now = places[:, t : t + 1]
        now = in_order(now, best_orders(now, predicted[:, np.newaxis], counts))[:, 0]
        tracks.append(now)
        off = now - predicted
        off *= np.linalg.norm(off, axis=-1, keepdims=True) < _LONGEST_JUMP
        position, velocity = predicted + off, velocity + _VELOCITY_GAIN * off
    return np.stack(tracks, axis=1)
