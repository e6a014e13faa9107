"""Ways to act: at random, by a plan with the true simulator, by a plan with a model of frames."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf

from kvae_tf.apps.control.task import Task
from kvae_tf.lgssm import as_sampler
from kvae_tf.planning import Controller, Search, minimise, next_guess


class Policy(Protocol):
    """Acts in a batch of episodes."""

    def start(self, num_episodes: int) -> None:
        """Begins new episodes."""

    def act(self, frames: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Controls ``[B, U]``; frames ``[B, H, W, C]``, true states ``[B, S]``."""


class Random:
    """Controls without any aim, each step anew.

    Args:
      task: the task, for its controls.
      seed: an int.
    """

    def __init__(self, task: Task, seed: int):
        self._actions, self._rng = task.actions, np.random.default_rng(seed)

    def start(self, num_episodes):
        del num_episodes

    def act(self, frames, states):
        del frames
        noise = self._rng.uniform(-1.0, 1.0, (len(states), self._actions.size)).astype(np.float32)
        return self._actions.allowed(self._actions.centre + self._actions.spread * noise).numpy()


class Simulator:
    """The planner with the true state and the true equations of motion.

    Args:
      task: the task.
      search: settings of the planner.
      seed: an int.
    """

    def __init__(self, task: Task, search: Search, seed: int):
        self._task, self._search, self._seed = task, search, seed
        self._step = tf.function(self._plan, autograph=False)

    def start(self, num_episodes):
        actions = self._task.actions
        self._count = 0
        self._guess = tf.zeros([num_episodes, self._search.horizon, actions.size]) + actions.centre

    def act(self, frames, states):
        del frames
        plan = self._step(
            tf.constant(states, tf.float32),
            self._guess,
            tf.constant([self._seed, self._count], tf.int64),
        )
        self._guess = next_guess(plan, self._task.actions)
        self._count += 1
        return plan.controls[:, 0].numpy()

    def _plan(self, states, guess, seed):
        def cost(controls):
            return self._task.cost(states, controls)

        return minimise(cost, guess, self._task.actions, self._search, as_sampler(seed))


class Pixels:
    """The planner with a model, which sees frames only.

    Args:
      controller: plans by the model.
    """

    def __init__(self, controller: Controller):
        self._controller = controller

    def start(self, num_episodes):
        self._controller.start(num_episodes)

    def act(self, frames, states):
        del states
        return self._controller.act(frames)[0]
