"""How well a model's plans do in a task, beside random actions and the true simulator's plans."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kvae_tf.apps.control import policies
from kvae_tf.apps.control.cart_pole import CartPole
from kvae_tf.apps.control.episodes import play
from kvae_tf.apps.control.swing_up import SwingUp
from kvae_tf.apps.control.task import Task
from kvae_tf.data import storage
from kvae_tf.data.worlds import pendulum
from kvae_tf.errors import UserError
from kvae_tf.experiments import load
from kvae_tf.planning import Controller, Search, to_goals
from kvae_tf.visualisation import films

TASKS: dict[str, Callable[[], Task]] = {
    "pendulum_strong": functools.partial(SwingUp, pendulum.STRONG_TORQUE),
    "pendulum": functools.partial(SwingUp, pendulum.MAX_TORQUE),
    "cartpole": CartPole,
}
# By a model: what the distances to the goal are between.
MEASURES = {"model": "encodings", "model_frames": "frames"}
POLICIES = ("random", "simulator", *MEASURES)


def run(
    task: str,
    saved_model: str = "",
    names: Sequence[str] = ("random", "simulator", "model"),
    num_seeds: int = 50,
    steps: int = 0,
    search: Search | None = None,
    seed: int = 0,
    film: Path | None = None,
) -> dict[str, dict[str, object]]:
    """Plays a task by several policies from the same starts.

    Args:
      task: a name out of ``TASKS``.
      saved_model: name or path of the model that plans, of an export or a run; its weights are
        loaded into a live model. Empty where no model is asked for (default).
      names: names out of ``POLICIES``: random actions; plans with the true simulator; plans by the
        model, whose costs are distances to the goal between encodings or, ``"model_frames"``,
        between decoded frames. The first three by default.
      num_seeds: number of episodes, whose seeds are 0, 1, …; 50 by default.
      steps: number of steps of an episode; 0: the task's own (default).
      search: settings of the planner; None: its defaults.
      seed: of the policies' noise, an int, 0 by default.
      film: a ``.gif`` or ``.mp4`` file for the first episode by each policy; None: none (default).

    Returns:
      Name of a policy, with that of its model -> ``policy``, ``model``, ``horizon`` (0: no plans),
      ``successes``, ``episodes``, ``steps``, ``return`` (mean), ``return_std`` (over episodes) and
      ``cpu_seconds`` of the episodes with their simulation.

    Raises:
      UserError: a name is unknown, the model is missing, cannot plan, or does not fit the task.
    """
    if task not in TASKS:
        raise UserError(f"--task is {task!r}, expected one of: {', '.join(TASKS)}")
    unknown = sorted(set(names) - set(POLICIES))
    if unknown or not names:
        raise UserError(
            f"--policies has {', '.join(unknown) or 'none'}, expected some of: "
            f"{', '.join(POLICIES)}"
        )
    if film is not None and film.suffix not in films.FORMATS:
        raise UserError(f"--film={film} ends in {film.suffix!r}, expected .gif or .mp4")
    search = search or Search()
    search.check()
    by_model = [name for name in names if name in MEASURES]
    if by_model and not saved_model:
        raise UserError(f"--saved_model is not set, expected the model of --policies={by_model[0]}")
    model = load.load(saved_model, trainable=True) if by_model else None
    world = TASKS[task]()

    def policy(name):
        if name == "random":
            return policies.Random(world, seed)
        if name == "simulator":
            return policies.Simulator(world, search, seed)
        cost = to_goals(model, world.goals(), MEASURES[name])
        return policies.Pixels(Controller(model, cost, world.actions, search, seed))

    chosen = {name: policy(name) for name in names}
    results, filmed = {}, {}
    for name, acting in chosen.items():
        start = time.process_time()
        played = play(
            world, acting, np.arange(num_seeds), steps or world.steps, int(film is not None)
        )
        earned = world.returns(played.states)
        whose = _name(saved_model) if name in MEASURES else ""
        results[f"{name} {whose}".strip()] = {
            "policy": name,
            "model": whose,
            "horizon": 0 if name == "random" else search.horizon,
            "successes": int(world.succeeded(played.states).sum()),
            "episodes": num_seeds,
            "steps": steps or world.steps,
            "return": round(float(earned.mean()), 3),
            "return_std": round(float(earned.std()), 3),
            "cpu_seconds": round(time.process_time() - start, 1),
        }
        filmed[name] = played.frames
    if film is not None:
        storage.make_folder(film.parent, "film")
        films.write(film, films.side_by_side({n: _upright(x[0], world) for n, x in filmed.items()}))
    return results


def _name(saved_model):
    """Name of an export or a run, without the version."""
    path = Path(saved_model)
    return path.parent.name if path.name.isdecimal() else path.name


def _upright(frames, world):
    """Frames in [0, 1] with the top of the world on top."""
    frames = frames[:, :: world.orientation]
    return frames / np.float32(255.0) if frames.dtype == np.uint8 else frames
