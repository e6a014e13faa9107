"""Initialisation of attention with linear features of constant acceleration."""

from __future__ import annotations

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.models.cannonball.model import Cannonball
from kvae_tf.models.linear_features import LinearFeatures, newtonian_features

_SEQUENCES = 2000  # more do not change the features
_LEAST = 1e-2  # see newtonian_features
_LEAST_BOUNCES = 3e-3


def initialise_attention(model: Cannonball, train: SequenceData, lag: int = 1) -> None:
    """Initialises attention with linear features, scaled to the initial spread of positions.

    Args:
      model: a built model; its attention is changed.
      train: training sequences; with ``num_objects``, only those with the fewest objects are used.
      lag: number of frames between those of which second differences are taken, 1 by default; at
        most half a sequence.

    Raises:
      UserError: no three frames in a row were seen, or the frames vary in too few directions.
    """
    attention, motion = model.attention, model.motion
    train = train.of_fewest_objects().select(slice(0, _SEQUENCES))
    features = smooth_features(model, train, lag)
    spread = np.exp(motion.start_log_scales.numpy()[:, : motion.position_size]).mean()
    attention.read_linearly(features.matrix, features.offset, spread)


def smooth_features(model: Cannonball, train: SequenceData, lag: int = 1) -> LinearFeatures:
    """As many linear features as a position has coordinates.

    Args:
      model: a built model. Where its objects meet, second differences that are those of bounces
        count less.
      train: training sequences.
      lag: number of frames between those of which second differences are taken, 1 by default; at
        most half a sequence.

    Raises:
      UserError: no three frames in a row were seen, or the frames vary in too few directions.
    """
    bounces = model.motion.collisions is not None
    return newtonian_features(
        train,
        model.motion.position_size,
        "--newtonian_epochs",
        _LEAST_BOUNCES if bounces else _LEAST,
        min(lag, max((train.num_steps - 1) // 2, 1)),
        bounces=bounces,
    )
