"""Episodes of a Gymnasium environment as videos, with the actions as their controls."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.visualisation import films

_TRIES = 20  # episodes for each video, before too short ones end the recording

# Observation, step, action space and generator to an action.
Policy = Callable[[object, int, object, np.random.Generator], object]


class Summary(NamedTuple):
    """What was recorded.

    Attributes:
      lengths: number of frames of each video.
      frame_size: ``(height, width)`` in pixels.
      actions: names of the actions' columns.
      dropped: number of episodes that were too short.
    """

    lengths: list[int]
    frame_size: tuple[int, int]
    actions: list[str]
    dropped: int

    def __str__(self):
        height, width = self.frame_size
        low, middle, high = np.percentile(self.lengths, [0, 50, 100]).astype(int)
        return (
            f"{len(self.lengths)} videos of {low} to {high} frames (median {middle}), "
            f"{sum(self.lengths)} in all, {height}x{width} pixels; {len(self.actions)} columns of "
            f"actions; {self.dropped} episodes were too short"
        )


def record(
    environment: str,
    output: Path,
    episodes: int = 100,
    steps: int = 60,
    hold: int = 4,
    size: int = 96,
    seed: int = 0,
    policy: str = "hold",
    min_steps: int = 2,
    warmup: int = 0,
) -> Summary:
    """Films episodes: ``OUTPUT/videos/0000.mp4`` …, ``OUTPUT/actions.csv``.

    The table, a file for ``--annotations``, has a row for each frame with the action taken there: a
    column for each discrete action, or for each entry of a vector.

    Args:
      environment: name of the environment for ``gymnasium.make``.
      output: a new folder, which takes its place only when it is complete.
      episodes: number of videos, 100 by default.
      steps: number of frames of a video, 60 by default; fewer where an episode ends earlier.
      hold: number of steps for which the policy ``"hold"`` keeps an action, 4 by default.
      size: pixels of a frame's longer side, 96 by default.
      seed: seed of the actions and of the environment, an int, 0 by default.
      policy: ``"hold"``, random actions that are kept for some steps (default); ``"random"``,
        another one at each step; or ``PATH.py``, a file with a function
        ``act(observation, step, action_space, rng)`` that returns an action.
      min_steps: smallest number of frames of a video; shorter episodes are dropped and others are
        filmed in their place. 2 by default.
      warmup: number of steps before the first frame, for games that begin with a title or a pause;
        0 by default.

    Raises:
      UserError: the package gymnasium is missing, the environment is unknown, renders no pictures
        or has actions that are no numbers, its episodes are too short, the policy's file is
        missing or has no ``act``, or the folder exists or cannot be written.
    """
    if output.exists():
        raise UserError(f"--output={output} exists, expected a new folder")
    if min_steps > steps:
        raise UserError(f"--min_steps is {min_steps}, expected at most --steps={steps}")
    act = _policy(policy, hold)
    world = make(environment)
    rng = np.random.default_rng(seed)
    rows, lengths, dropped = [], [], 0
    try:
        with storage.atomic_directory(output) as folder:
            while len(lengths) < episodes:
                number = len(lengths) + dropped
                pictures, actions = _episode(world, act, rng, seed + number, steps, size, warmup)
                if len(pictures) < max(min_steps, 1):
                    dropped += 1
                    if dropped > _TRIES * episodes:
                        raise UserError(
                            f"--environment={environment} has episodes of fewer than "
                            f"--min_steps={min_steps} frames with --policy={policy}: expected "
                            "longer ones, or a smaller --min_steps"
                        )
                    continue
                name = f"{len(lengths):04d}.mp4"
                films.write(folder / "videos" / name, np.stack(pictures), fps=15)
                rows += [[name, t, *action] for t, action in enumerate(actions)]
                lengths.append(len(pictures))
            columns = [f"action_{i}" for i in range(len(rows[0]) - 2)]
            storage.write_csv(folder / "actions.csv", ["video", "frame", *columns], rows)
    finally:
        world.close()
    return Summary(lengths, pictures[0].shape[:2], columns, dropped)


def _policy(name, hold) -> Policy:
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise UserError(f"--policy={name} does not exist, expected a Python file")
        act = runpy.run_path(name).get("act")
        if not callable(act):
            raise UserError(
                f"--policy={name} has no function act(observation, step, action_space, rng)"
            )
        return act
    if name not in ("random", "hold"):
        raise UserError(f"--policy is {name!r}, expected random, hold or PATH.py")
    kept, every = [None], hold if name == "hold" else 1

    def act(observation, step, action_space, rng):
        del observation, rng  # the space has a generator of its own
        if step % every == 0:
            kept[0] = action_space.sample()
        return kept[0]

    return act


def make(environment: str):
    """An environment that renders pictures.

    Args:
      environment: name of the environment for ``gymnasium.make``.

    Raises:
      UserError: the package gymnasium is missing, the environment is unknown or renders none.
    """
    try:
        import gymnasium
    except ImportError:
        raise UserError(
            "recording needs gymnasium: pip install 'gymnasium[classic-control]'"
        ) from None
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window
    if environment.startswith("ALE/"):
        try:
            import ale_py
        except ImportError:
            raise UserError(
                f"--environment={environment} needs ale-py: pip install ale-py"
            ) from None
        gymnasium.register_envs(ale_py)
    try:
        return gymnasium.make(environment, render_mode="rgb_array")
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise UserError(f"--environment={environment} cannot be filmed: {error}") from None


def _episode(world, act, rng, seed, steps, size, warmup):
    """List of pictures ``[H, W, 3]``, and for each of them its action as a list of numbers."""
    observation, _ = world.reset(seed=seed)
    world.action_space.seed(int(rng.integers(2**31)))
    pictures, actions = [], []
    for t in range(warmup + steps):
        action = act(observation, t, world.action_space, rng)
        if t >= warmup:
            pictures.append(shrunk(world.render(), size))
            actions.append(_numbers(action, world.action_space))
        observation, _, terminated, truncated, _ = world.step(action)
        if terminated or truncated:
            break
    return pictures, actions


def _numbers(action, space):
    if hasattr(space, "start"):  # one of n; several yes or no have n, too
        return np.eye(int(space.n), dtype=int)[int(action) - int(space.start)].tolist()
    numbers = np.ravel(action)
    if numbers.dtype.kind not in "buif":
        raise UserError(f"the environment has actions as {action!r}, expected numbers")
    return numbers.tolist()


def shrunk(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture, uint8 ``[H, W, 3]``, whose longer side is ``size`` pixels.

    Args:
      picture: what an environment renders.
      size: pixels.

    Raises:
      UserError: it is no picture.
    """
    if np.ndim(picture) != 3 or np.shape(picture)[2] != 3 or picture.dtype != np.uint8:
        raise UserError(
            f"the environment renders {type(picture).__name__} of shape {np.shape(picture)}, "
            "expected pictures, uint8 [height, width, 3]"
        )
    picture = Image.fromarray(picture)
    scale = size / max(picture.size)
    return np.asarray(picture.resize([round(side * scale) for side in picture.size], Image.BOX))
