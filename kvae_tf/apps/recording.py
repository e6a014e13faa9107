"""Episodes of a Gymnasium environment as videos, with the actions as their controls."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.visualisation import films


def record(
    environment: str,
    output: Path,
    episodes: int = 100,
    steps: int = 60,
    hold: int = 4,
    size: int = 96,
    seed: int = 0,
) -> None:
    """Films random actions: ``OUTPUT/videos/0000.mp4`` …, ``OUTPUT/actions.csv``.

    The table, a file for ``--annotations``, has a row for each frame with the action taken there: a
    column for each discrete action, or for each entry of a vector.

    Args:
      environment: name of the environment for ``gymnasium.make``.
      output: a new folder, which takes its place only when it is complete.
      episodes: number of videos, 100 by default.
      steps: number of frames of a video, 60 by default; fewer where an episode ends earlier.
      hold: number of steps for which an action is kept, 4 by default.
      size: pixels of a frame's longer side, 96 by default.
      seed: seed of the actions and of the environment, an int, 0 by default.

    Raises:
      UserError: the package gymnasium is missing, the environment is unknown, renders no pictures
        or has actions that are no numbers, or the folder exists or cannot be written.
    """
    if output.exists():
        raise UserError(f"--output={output} exists, expected a new folder")
    world = _make(environment)
    rng = np.random.default_rng(seed)
    rows = []
    try:
        with storage.atomic_directory(output) as folder:
            for episode in range(episodes):
                name = f"{episode:04d}.mp4"
                pictures, actions = _episode(world, rng, seed + episode, steps, hold, size)
                films.write(folder / "videos" / name, pictures, fps=15)
                rows += [[name, t, *action] for t, action in enumerate(actions)]
            header = ["video", "frame", *(f"action_{i}" for i in range(len(rows[0]) - 2))]
            storage.write_csv(folder / "actions.csv", header, rows)
    finally:
        world.close()


def _make(environment):
    try:
        import gymnasium
    except ImportError:
        raise UserError(
            "recording needs gymnasium: pip install 'gymnasium[classic-control]'"
        ) from None
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window
    try:
        return gymnasium.make(environment, render_mode="rgb_array")
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise UserError(f"--environment={environment} cannot be filmed: {error}") from None


def _episode(world, rng, seed, steps, hold, size):
    """Pictures ``[T, H, W, 3]``, and for each of them its action as a list of numbers."""
    world.reset(seed=seed)
    world.action_space.seed(int(rng.integers(2**31)))
    pictures, actions = [], []
    for t in range(steps):
        pictures.append(_small(world.render(), size))
        if t % hold == 0:
            action = world.action_space.sample()
        actions.append(_numbers(action, world.action_space))
        _, _, terminated, truncated, _ = world.step(action)
        if terminated or truncated:
            break
    return np.stack(pictures), actions


def _numbers(action, space):
    if hasattr(space, "start"):  # one of n; several yes or no have n, too
        return np.eye(int(space.n), dtype=int)[int(action) - int(space.start)].tolist()
    numbers = np.ravel(action)
    if numbers.dtype.kind not in "buif":
        raise UserError(f"the environment has actions as {action!r}, expected numbers")
    return numbers.tolist()


def _small(picture, size):
    if np.ndim(picture) != 3 or np.shape(picture)[2] != 3 or picture.dtype != np.uint8:
        raise UserError(
            f"the environment renders {type(picture).__name__} of shape {np.shape(picture)}, "
            "expected pictures, uint8 [height, width, 3]"
        )
    picture = Image.fromarray(picture)
    scale = size / max(picture.size)
    return np.asarray(picture.resize([round(side * scale) for side in picture.size], Image.BOX))
