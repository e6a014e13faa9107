"""Costs of forecasts: how far they are from goal frames."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.models.contract import Rollout, VideoModel

MEASURES = ("encodings", "frames")


def to_goals(
    model: VideoModel, frames, measure: str = "encodings", last_weight: float = 1.0
) -> Callable[[Rollout], tf.Tensor]:
    """The mean square distance of a forecast to the nearest of some goal frames.

    Args:
      model: a model that can ``encode`` (``"encodings"``) or ``decode`` (``"frames"``).
      frames: ``[G, H, W, C]``, the goals, float in [0, 1] or uint8.
      measure: ``"encodings"``, the distance between encodings (default); or ``"frames"``, between
        pixels, which says nothing where an object overlaps nowhere with that of a goal.
      last_weight: weight of the last step of a forecast, where the others have 1; 1 by default.

    Returns:
      A function of a ``Rollout`` of N candidates that gives their costs ``[B, N]``.

    Raises:
      UserError: the frames do not fit, there is none, or the measure is unknown.
    """
    if measure not in MEASURES:
        raise UserError(f"measure is {measure!r}, expected one of {', '.join(MEASURES)}")
    goals = model.encode(frames).mean  # checks the frames
    if goals.shape.rank != 2 or not goals.shape[0]:
        H, W, C = model.frame_shape
        raise UserError(
            f"goals has shape {tuple(frames.shape)}, expected [G, {H}, {W}, {C}] with G at least 1"
        )
    if measure == "frames":
        goals = model.decode(goals)

    def cost(rollout):
        reached = rollout.encodings
        if measure == "frames":
            reached = model.decode(reached)
        axes = list(range(3, reached.shape.rank))
        nearest = None
        for goal in tf.unstack(goals):
            distance = tf.reduce_mean(tf.math.squared_difference(reached, goal), axis=axes)
            nearest = distance if nearest is None else tf.minimum(nearest, distance)
        last = (last_weight - 1.0) * nearest[..., -1]
        return tf.reduce_sum(nearest, axis=-1) + last

    return cost
