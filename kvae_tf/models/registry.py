"""The systems by name: from settings to a model."""

from __future__ import annotations

import dataclasses

from kvae_tf.models.base import SequenceModel
from kvae_tf.models.frame_rnn import FrameRNN
from kvae_tf.models.kvae import KVAE
from kvae_tf.settings import Settings

# Settings that every system's frame encoder, decoder and likelihood take.
_FRAMES = (
    "network",
    "units",
    "encoding_size",
    "likelihood",
    "per_pixel_std",
    "variance_floor",
    "max_encoding_variance",
)


def create(
    settings: Settings,
    frame_shape: tuple[int, int, int],
    control_size: int,
    steps_per_epoch: int,
    jit_engine: bool,
) -> SequenceModel:
    """The system that ``--model`` names, not yet built.

    Args:
      settings: the whole experiment.
      frame_shape: ``(H, W, C)``.
      control_size: U.
      steps_per_epoch: updates an epoch.
      jit_engine: compile the dynamics inside a step that is itself not compiled.
    """
    training = settings.training
    values = dataclasses.asdict(settings.model)
    name = values.pop("model")
    common = {
        "control_size": control_size,
        "decoded_frames": training.decoded_frames,
        "jit_engine": jit_engine,
        "precision": training.precision,
        "noise_seed": training.seed,
        "reconstruction_weight": training.reconstruction_weight,
        "weight_updates": training.weight_epochs * steps_per_epoch,
    }
    if name in ("ae_rnn", "vae_rnn"):
        return FrameRNN(
            frame_shape,
            variational=name == "vae_rnn",
            dynamics_units=values["dynamics_units"],
            pretraining_updates=training.pretraining_epochs * steps_per_epoch,
            **{key: values[key] for key in _FRAMES},
            **common,
        )
    return KVAE(
        frame_shape,
        objective=training.objective,
        frozen_updates=training.frozen_epochs * steps_per_epoch,
        joint_updates=(
            (training.epochs - training.settling_epochs) * steps_per_epoch
            if training.settling_epochs
            else 0
        ),
        seed=training.seed,
        **values,
        **common,
    )
