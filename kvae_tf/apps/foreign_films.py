"""Films that are no environment's: two objects in colour, and an object before a moving camera."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SIZE = 96  # pixels
_RADIUS = 10.0
_LIMITS = (14.0, 82.0)  # of a centre
_COLOURS = np.array([(230.0, 60.0, 40.0), (40.0, 90.0, 230.0)])
_WHITE = np.array([(250.0, 250.0, 250.0)])


def two_colours(seed: int, episodes: int, steps: int) -> Iterator[np.ndarray]:
    """A red and a blue disc before a dark wall; they bounce off its edges, not off each other.

    Args:
      seed: seed of the starts, an int.
      episodes: number of films.
      steps: number T of frames of a film.

    Yields:
      uint8 ``[T, 96, 96, 3]``.
    """
    rng = np.random.default_rng(seed)
    ground = np.full((SIZE, SIZE, 3), 20.0)
    for _ in range(episodes):
        paths = _paths(rng, 2, steps)
        yield np.stack([_discs(ground, places, _COLOURS) for places in paths])


def camera(seed: int, episodes: int, steps: int) -> Iterator[np.ndarray]:
    """A white disc before a pattern, seen by a camera that sways by a few pixels.

    Args:
      seed: seed of the starts and of the camera, an int.
      episodes: number of films.
      steps: number T of frames of a film.

    Yields:
      uint8 ``[T, 96, 96, 3]``.
    """
    rng = np.random.default_rng(seed)
    for _ in range(episodes):
        paths = _paths(rng, 1, steps)
        shift, speed, frames = 2.0 * rng.normal(size=2), np.zeros(2), []
        for places in paths:
            speed = 0.9 * speed + 0.3 * rng.normal(size=2)
            shift = np.clip(0.97 * shift + speed, -10.0, 10.0)
            frames.append(_discs(_pattern(shift), places - shift, _WHITE))
        yield np.stack(frames)


def _paths(rng, count, steps):
    """Centres of discs that move straight on between the walls, ``[T, count, 2]``."""
    places = rng.uniform(18.0, 78.0, (count, 2))
    speeds = rng.normal(size=(count, 2))
    speeds *= rng.uniform(3.0, 6.0, (count, 1)) / np.linalg.norm(speeds, axis=1, keepdims=True)
    path = []
    for _ in range(steps):
        path.append(places)
        places = places + speeds
        speeds = np.where(places < _LIMITS[0], np.abs(speeds), speeds)
        speeds = np.where(places > _LIMITS[1], -np.abs(speeds), speeds)
    return np.stack(path)


def _pattern(shift):
    y, x = np.mgrid[:SIZE, :SIZE] + shift[:, np.newaxis, np.newaxis]
    waves = [120 + 60 * np.sin(x / 9 + c) + 50 * np.cos(y / (7 + c)) for c in range(3)]
    return np.stack(waves, axis=-1)


def _discs(ground, places, colours):
    """A frame of discs with soft edges, the later ones before the earlier ones."""
    y, x = np.mgrid[:SIZE, :SIZE]
    frame = ground
    for place, colour in zip(places, colours, strict=True):
        inside = np.clip(_RADIUS + 0.5 - np.hypot(y - place[0], x - place[1]), 0.0, 1.0)
        frame = frame + inside[..., np.newaxis] * (colour - frame)
    return np.clip(frame, 0.0, 255.0).astype(np.uint8)
