"""Initialisation of attention with linear features of constant acceleration."""

from __future__ import annotations

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.models.cannonball.model import Cannonball
from kvae_tf.models.linear_features import newtonian_features

_SEQUENCES = 2000  # more do not change the features


def initialise_attention(model: Cannonball, train: SequenceData) -> None:
    """Initialises attention with linear features, scaled to the initial spread of positions.

    Args:
      model: a built model; its attention is changed.
      train: training sequences; with ``num_objects``, only those with the fewest objects are used.

    Raises:
      UserError: no three frames in a row were seen, or the frames vary in too few directions.
    """
    attention, motion = model.attention, model.motion
    size = motion.position_size
    train = train.of_fewest_objects().select(slice(0, _SEQUENCES))
    features = newtonian_features(train, size, "--newtonian_epochs")
    spread = np.exp(motion.start_log_scales.numpy()[:, :size]).mean()
    attention.read_linearly(features.matrix, features.offset, spread)
