"""Settings for frames that nobody tuned a KVAE for, from the frames themselves.

Few things depend on the data: what scales with the frames is standardised, the weight between
pixels and dynamics is found by the constrained objective, the encoder starts at linear features
that move smoothly, and dynamics start at constant velocity.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.data.sequence_data import are_unequal
from kvae_tf.models.kvae.vector_recipe import vector_recipe
from kvae_tf.models.linear_features import in_a_row

_BINARY = 0.99  # share of the pixels that are black or white
_EXTREME = 0.02  # from 0 or 1
_SEQUENCES = 200  # looked at
_EPOCHS = 28
_LARGEST = 64 * 64 * 3  # numbers in a frame, for dense layers in reasonable time
_STARTS = 3  # where the encoder starts at random
# Vectors in continuous time, for which there is no expectation maximisation.
_BY_GRADIENTS = {
    "em_epochs": 0,
    "epochs": 20,
    "steps_per_epoch": 50,
    "learning_rate": 0.01,
    "schedule": "cosine",
    "learn_noise": True,
    "learn_initial": True,
}
# Up to so many columns, and entries of a series, these updates take some three minutes on a core.
_COLUMNS, _ENTRIES = 4, 1200
_TRIAL = 2  # epochs of the dynamics, before starts are compared


def recipe(train: SequenceData, given: Mapping[str, object]) -> dict[str, object]:
    """Values of settings by flag name, for all that matter and are not given.

    Frames of more numbers than 64x64 ones in colour draw a warning.

    Args:
      train: the training part.
      given: settings that the user has chosen, by flag name.
    """
    if train.is_vector:
        # With an encoder or several modes, EM and what goes with it does not apply.
        is_plain = given.get("network", "linear") == "linear" and given.get("num_modes", 1) == 1
        if not is_plain:
            return {}
        by_gradients = _is_continuous(train, given)
        # Velocities are for EM. A given number of states is one without, unless both are given.
        has_em = not by_gradients and given.get("em_epochs", 1)
        known = None if has_em and "latent_size" not in given else False
        chosen = vector_recipe(train, given.get("velocities", known))
        if by_gradients:
            chosen |= _BY_GRADIENTS | {"time": "continuous"}
        return {name: value for name, value in chosen.items() if name not in given}
    if math.prod(train.frame_shape) > _LARGEST:
        height, width, channels = train.frame_shape
        warnings.warn(
            f"frames are {height}x{width} with {channels} channels: the recipe's dense layers are "
            "slow above 64x64, smaller frames train faster",
            stacklevel=2,
        )
    epochs = int(given.get("epochs", _EPOCHS))
    is_linear = bool(given.get("linear_encoder", in_a_row(train.observed > 0).any()))
    chosen = {
        "network": "mlp",
        "units": (512, 256),
        "standardised": True,
        "likelihood": "bernoulli" if _is_binary(train) else "gaussian",
        "per_pixel_std": False,
        "encoding_size": 8,
        "latent_size": 2 * int(given.get("encoding_size", 8)),
        "num_modes": 4,
        "max_encoding_variance": 1.0,
        "linear_encoder": is_linear,
        "learn_noise": True,
        "learn_initial": True,
        "decoded_frames": 8,
        "epochs": epochs,
        "steps_per_epoch": 250,
        "batch_size": 32,
        "learning_rate": 0.001,
        "schedule": "cosine",
    }
    last = sum(int(given.get(name, 0)) for name in ("settling_epochs", "finishing_epochs"))
    whole = epochs - last  # of the auto-encoder, and of the whole model
    if whole > 1:
        first = max(1, 2 * whole // 7)
        chosen |= {"objective": "constrained", "pretraining_epochs": first}
        # One start in closed form, or several at random.
        starts = int(given.get("starts", 1 if is_linear else _STARTS))
        if whole > first + _TRIAL and starts > 1:
            chosen |= {"starts": starts, "starts_by": "imputation"}
            chosen["starting_epochs"] = first + _TRIAL
    return {name: value for name, value in chosen.items() if name not in given}


def _is_continuous(train, given):
    """Whether vectors get modes in continuous time: small series at unequal intervals, unless the
    user asks for expectation maximisation.
    """
    has_em = given.get("em_epochs") or given.get("velocities")
    columns = train.frame_shape[1]
    is_small = columns <= _COLUMNS and train.num_steps * columns <= _ENTRIES
    by_data = are_unequal(train.times) and is_small and not has_em
    return given.get("time", "continuous" if by_data else "discrete") == "continuous"


def _is_binary(train):
    part = train.select(slice(0, _SEQUENCES))
    pixels = part.unit_frames[part.observed > 0]
    return np.mean(np.minimum(pixels, 1.0 - pixels) < _EXTREME) > _BINARY
