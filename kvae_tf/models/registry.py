"""The systems by name: from settings to a model."""

from __future__ import annotations

import dataclasses

from kvae_tf.models.base import SequenceModel
from kvae_tf.models.dkf import DKF
from kvae_tf.models.dvbf import DVBF
from kvae_tf.models.frame_rnn import FrameRNN
from kvae_tf.models.kvae import KVAE
from kvae_tf.settings import Settings

# The settings that systems take, by their flags' names.
_FRAMES = ("network", "units", "likelihood", "per_pixel_std", "variance_floor", "precision")
_ENCODINGS = ("encoding_size", "max_encoding_variance", "decoded_frames")
_KVAE = (
    "latent_size",
    "num_modes",
    "dynamics_network",
    "dynamics_units",
    "dynamics_window",
    "learn_controls",
    "transition_noise",
    "emission_noise",
    "initial_variance",
    "learn_noise",
    "learn_initial",
    "objective",
    "seed",
)
_NONLINEAR = (
    "latent_size",
    "dynamics_units",
    "feature_size",
    "annealing_updates",
    "annealing_start",
    "annealing_every",
)
_DVBF = (
    "transition",
    "num_modes",
    "residual_transition",
    "bayesian_weights",
    "initial_network",
    "initial_frames",
    "recognition",
)
_DKF = ("transition_units", "inference")


def create(
    settings: Settings,
    frame_shape: tuple[int, int, int],
    control_size: int,
    num_sequences: int,
    steps_per_epoch: int,
    jit_engine: bool,
) -> SequenceModel:
    """The system that ``--model`` names, not yet built.

    Args:
      settings: the whole experiment.
      frame_shape: ``(H, W, C)``.
      control_size: U.
      num_sequences: of the training part.
      steps_per_epoch: updates an epoch.
      jit_engine: compile the dynamics inside a step that is itself not compiled.
    """
    training = settings.training
    known = dataclasses.asdict(settings.model) | dataclasses.asdict(training)

    def chosen(*groups):
        return {name: known[name] for group in groups for name in group} | {
            "frame_shape": frame_shape,
            "control_size": control_size,
            "noise_seed": training.seed,
            "reconstruction_weight": training.reconstruction_weight,
            "weight_updates": training.weight_epochs * steps_per_epoch,
        }

    def kvae():
        joint = training.epochs - training.settling_epochs if training.settling_epochs else 0
        return KVAE(
            frozen_updates=training.frozen_epochs * steps_per_epoch,
            joint_updates=joint * steps_per_epoch,
            jit_engine=jit_engine,
            **chosen(_FRAMES, _ENCODINGS, _KVAE),
        )

    def frame_rnn(variational):
        return FrameRNN(
            variational=variational,
            pretraining_updates=training.pretraining_epochs * steps_per_epoch,
            jit_engine=jit_engine,
            **chosen(_FRAMES, _ENCODINGS, ("dynamics_units",)),
        )

    def dvbf():
        return DVBF(num_sequences=num_sequences, **chosen(_FRAMES, _NONLINEAR, _DVBF))

    def dkf():
        return DKF(**chosen(_FRAMES, _NONLINEAR, _DKF))

    return {
        "kvae": kvae,
        "dvbf": dvbf,
        "dkf": dkf,
        "ae_rnn": lambda: frame_rnn(False),
        "vae_rnn": lambda: frame_rnn(True),
    }[settings.model.model]()
