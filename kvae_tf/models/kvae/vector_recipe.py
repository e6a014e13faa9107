"""The settings with which vectors are learned well."""

from __future__ import annotations

from kvae_tf.data import SequenceData
from kvae_tf.models.kvae.velocities import prefers_velocities

_MOST_FACTORS = 4
_MOST_OWN = 30  # entries that have a state of their own, as the cost grows with n cubed


def vector_recipe(train: SequenceData, velocities: bool | None = None) -> dict[str, object]:
    """Settings for vectors, by name: a linear model with one mode that EM fits.

    There is a state for each of D entries, and beside these D/2 common factors, at least 1 and at
    most 4; and a velocity for each of these where that fills in hidden entries better. With more
    than 30 entries there are factors only, D/4, at most 20.

    >>> import numpy as np
    >>> from kvae_tf.data import from_vectors
    >>> vector_recipe(from_vectors(np.zeros((1, 200, 12))))["latent_size"]
    16

    Args:
      train: training sequences, vectors.
      velocities: whether states have velocities; None: what hidden entries say (default).

    Returns:
      Name of a setting -> value.
    """
    D = train.frame_shape[1]
    own = D + min(max(D // 2, 1), _MOST_FACTORS)
    if D > _MOST_OWN:
        velocities = False
    elif velocities is None:
        velocities = prefers_velocities(train, own)
    return {
        "network": "linear",
        "latent_size": min(D // 4, 20) if D > _MOST_OWN else 2 * own if velocities else own,
        "velocities": velocities,
        "num_modes": 1,
        "dynamics_network": "constant",
        "em_epochs": 10,
        "epochs": 10,
        "steps_per_epoch": 1,
        # The prior of EM is not part of the bound, which gradients would therefore overfit.
        "learning_rate": 0.0,
    }
