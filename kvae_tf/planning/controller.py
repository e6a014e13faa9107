"""A controller that plans anew at every frame, by what a model of videos expects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import as_sampler
from kvae_tf.models import inputs
from kvae_tf.models.contract import Rollout, VideoModel
from kvae_tf.planning.cross_entropy import Box, OneOf, Plan, Search, minimise, next_guess


class Controller:
    """Model-predictive control of a batch of episodes, from their frames alone.

    At each frame the model's filter goes one step on, candidates of the next K controls are rolled
    out from its filtered mean, and the first control of the best plan is the answer. The plan, less
    its first step, is the first guess at the next frame. A step is one graph.

    Args:
      model: a model that can ``rollout``, live or an export.
      cost: maps a ``Rollout`` of N candidates to costs ``[B, N]``, such as ``to_goals`` gives.
      actions: the controls that are allowed.
      search: settings; None: the defaults of ``Search``.
      seed: of the candidates' noise, an int; 0 by default.

    Raises:
      UserError: the model does not roll out or has other controls, or a setting is out of range.
    """

    def __init__(
        self,
        model: VideoModel,
        cost: Callable[[Rollout], tf.Tensor],
        actions: Box | OneOf,
        search: Search | None = None,
        seed: int = 0,
    ):
        self.search = search or Search()
        self.search.check()
        if "rollout" not in model.supports:
            raise UserError(
                f"{type(model).__name__} does not rollout, expected a model that filters frame by "
                "frame (an export of an earlier version does not: load it with trainable=True)"
            )
        if actions.size != model.control_size:
            raise UserError(
                f"actions has {actions.size} entries, expected {model.control_size}, as the "
                "model's controls"
            )
        self.model, self.cost, self.actions, self.seed = model, cost, actions, seed
        self._step = tf.function(self._plan_step, autograph=False)
        self._state = self._guess = None
        self._count = 0

    def start(self, num_episodes: int) -> None:
        """Begins new episodes.

        Args:
          num_episodes: number B of episodes that are controlled at once.
        """
        self._state = self.model.filter_start(num_episodes)
        shape = [num_episodes, self.search.horizon, self.actions.size]
        self._guess = tf.zeros(shape) + self.actions.centre
        self._count = 0

    def act(self, frames) -> tuple[np.ndarray, Plan]:
        """The controls that act from these frames to the next.

        Args:
          frames: ``[B, H, W, C]``, the latest frame of each episode, float in [0, 1] or uint8.

        Returns:
          Controls ``[B, U]``, and the ``Plan`` whose first step they are.

        Raises:
          UserError: the frames do not fit, or no episodes have begun.
        """
        if self._state is None:
            raise UserError("no episodes have begun, expected a call of start before")
        frames = inputs.check_frames(self.model, frames)
        inputs.check_state(self._state, frames)
        self._state, plan = self._step(
            self._state, frames, self._guess, tf.constant([self.seed, self._count], tf.int64)
        )
        self._guess = next_guess(plan, self.actions)
        self._count += 1
        return plan.controls[:, 0].numpy(), plan

    def _plan_step(self, state, frames, guess, seed):
        def cost(controls):
            return self.cost(self.model.rollout(state, frames, controls))

        plan = minimise(cost, guess, self.actions, self.search, as_sampler(seed))
        later, _ = self.model.filter_step(state, frames, controls=plan.controls[:, 0])
        return later, plan
