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
    """Acts at random and films it: ``OUTPUT/videos/000.mp4`` …, ``OUTPUT/actions.csv``.

    The table has a row a frame, with the action taken there: of discrete actions a column each, of
    vectors one for each entry. It is what ``--annotations`` takes.

    Args:
      environment: a name that ``gymnasium.make`` knows.
      output: a new folder; it appears at once and whole.
      episodes: videos.
      steps: frames of each; shorter where an episode ends before.
      hold: steps for which an action is kept.
      size: pixels of a frame's longer side.
      seed: of the actions and of the environment.

    Raises:
      UserError: the package is missing, the environment unknown or without pictures, or the folder
        there already.
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
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error
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
    """Pictures ``[T, H, W, 3]`` and actions, a list of numbers for each."""
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
    if hasattr(space, "n"):
        return np.eye(int(space.n), dtype=int)[int(action) - int(space.start)].tolist()
    return np.ravel(action).tolist()


def _small(picture, size):
    picture = Image.fromarray(picture)
    scale = size / max(picture.size)
    return np.asarray(picture.resize([round(side * scale) for side in picture.size], Image.BOX))
