"""The systems by name: from settings to a model."""

from __future__ import annotations

import dataclasses

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.experiments.settings import Settings
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.cannonball.model import Cannonball
from kvae_tf.models.dkf import DKF
from kvae_tf.models.dvbf import DVBF
from kvae_tf.models.ed_lstm import EDLSTM
from kvae_tf.models.frame_rnn import FrameRNN
from kvae_tf.models.kvae import KVAE

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
    "emission_size",
    "dynamics_units",
    "feature_size",
    "annealing_updates",
    "annealing_start",
    "annealing_every",
    "initial_variance_floor",
)
_DVBF = (
    "transition",
    "num_modes",
    "residual_transition",
    "bayesian_weights",
    "mixer_units",
    "second_order",
    "initial_network",
    "initial_frames",
    "recognition",
    "noise_limit",
)
_DKF = ("transition_units", "inference")
_CANNONBALL = (
    "state_size",
    "num_components",
    "motion_step",
    "transition_noise",
    "learn_noise",
    "emission_noise",
    "initial_variance",
    "initial_spread",
    "kl_weight",
    "posterior",
)

# Pixels' gradients are about 1 / (B T); float16 holds 6e-8 to 6.5e4.
_FLOAT16_SCALE = 1024.0


def create(
    settings: Settings, train: SequenceData, steps_per_epoch: int, jit_engine: bool
) -> SequenceModel:
    """The system that ``--model`` names, not yet built.

    Args:
      settings: the whole experiment.
      train: the training part, for its shapes and numbers.
      steps_per_epoch: updates an epoch.
      jit_engine: compile the dynamics inside a step that is itself not compiled.

    Raises:
      UserError: the system does not fit the data.
    """
    training = settings.training
    if train.is_vector and (settings.model.model, settings.model.network) != ("kvae", "mlp"):
        raise UserError(
            f"--model={settings.model.model} --network={settings.model.network}: expected kvae and "
            "mlp for vectors"
        )
    known = dataclasses.asdict(settings.model) | dataclasses.asdict(training)

    def chosen(*groups):
        return {name: known[name] for group in groups for name in group} | {
            "frame_shape": train.frame_shape,
            "control_size": train.control_size,
            "noise_seed": training.seed,
            "batch_parts": training.batch_parts,
            "loss_scale": _FLOAT16_SCALE if training.precision == "mixed_float16" else 1.0,
            "reconstruction_weight": training.reconstruction_weight,
            "weight_updates": training.weight_epochs * steps_per_epoch,
        }

    joint = training.joint_epochs if training.settling_epochs else 0

    def kvae():
        return KVAE(
            frozen_updates=training.frozen_epochs * steps_per_epoch,
            joint_updates=joint * steps_per_epoch,
            jit_engine=jit_engine,
            standardise=_moments(train) if train.is_vector else None,
            **chosen(_FRAMES, _ENCODINGS, _KVAE),
        )

    def frame_rnn(variational):
        return FrameRNN(
            variational=variational,
            pretraining_updates=training.pretraining_epochs * steps_per_epoch,
            jit_engine=jit_engine,
            **chosen(_FRAMES, _ENCODINGS, ("dynamics_units",)),
        )

    floor_updates = training.floor_epochs * steps_per_epoch

    def dvbf():
        return DVBF(
            num_sequences=train.num_sequences,
            floor_updates=floor_updates,
            **chosen(_FRAMES, _NONLINEAR, _DVBF),
        )

    def dkf():
        return DKF(floor_updates=floor_updates, **chosen(_FRAMES, _NONLINEAR, _DKF))

    def cannonball():
        return Cannonball(
            max_objects=_most_objects(settings, train),
            kl_updates=training.kl_epochs * steps_per_epoch,
            frozen_updates=training.frozen_epochs * steps_per_epoch,
            resting_updates=training.newtonian_epochs * steps_per_epoch,
            joint_updates=joint * steps_per_epoch,
            **chosen(_CANNONBALL),
        )

    def ed_lstm():
        return EDLSTM(**chosen(_FRAMES, ("feature_size", "state_size")))

    return {
        "kvae": kvae,
        "dvbf": dvbf,
        "dkf": dkf,
        "cannonball": cannonball,
        "ed_lstm": ed_lstm,
        "ae_rnn": lambda: frame_rnn(False),
        "vae_rnn": lambda: frame_rnn(True),
    }[settings.model.model]()


def _moments(train):
    """Means and standard deviations of the entries of vectors, as lists."""
    entries = np.where(train.observed[..., None] > 0, train.frames[:, :, 0, :, 0], np.nan)
    spread = np.nanstd(entries, axis=(0, 1))
    # An entry that never changes, or never is there, keeps its scale.
    spread = np.where(np.nan_to_num(spread) > 0, spread, 1.0)
    return [np.nan_to_num(np.nanmean(entries, axis=(0, 1))).tolist(), spread.tolist()]


def _most_objects(settings, train):
    """The most objects in a sequence: as the data count them, else as set."""
    counts = train.num_objects
    if counts is not None:
        return int(counts.max())
    if not settings.model.max_objects:
        raise UserError(
            f"--dataset={settings.data.dataset} does not say num_objects, expected an array of "
            "counts in it, or --max_objects"
        )
    return settings.model.max_objects
