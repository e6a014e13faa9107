"""The KVAE as the package sees it: its settings and its spec."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from kvae_tf.data import entry_moments
from kvae_tf.data.settings import setting
from kvae_tf.errors import UserError
from kvae_tf.models.kvae import linear_em
from kvae_tf.models.kvae.dynamics_training import DynamicsTraining
from kvae_tf.models.kvae.initialisation import DynamicsInitialisation, initialise_frames
from kvae_tf.models.kvae.linear import LinearKVAE
from kvae_tf.models.kvae.model import KVAE
from kvae_tf.models.kvae.recipe import recipe
from kvae_tf.models.kvae.vectors import VectorKVAE
from kvae_tf.models.settings import (
    EncodingSettings,
    FrameSettings,
    LatentSettings,
    NoiseSettings,
    SchedulePart,
    SettlingSettings,
    need_epochs,
)
from kvae_tf.models.spec import ModelSpec, Setup

# Settings of how the model is trained, which are no arguments of its constructor.
SCHEDULE = ("frozen_epochs", "settling_epochs", "settling_rate", "pretraining_epochs", "tolerance",
            "em_epochs", "velocities", "dynamics_updates", "path_updates", "finishing_epochs",
            "finishing_rate", "calibrate", "linear_bounces")  # fmt: skip


@dataclass(frozen=True)
class KVAESettings(
    FrameSettings, EncodingSettings, LatentSettings, NoiseSettings, SettlingSettings
):
    """Settings of the Kalman variational auto-encoder."""

    network: str = setting(
        "mlp",
        "Frame encoder and decoder; linear: none, the encodings are the entries of vectors, and "
        "--encoding_size is their number.",
        choices=("mlp", "cnn", "linear"),
    )
    num_modes: int = setting(3, "Number K of linear modes.", least=1, most=1000)
    dynamics_network: str = setting(
        "lstm",
        "Network that weights the modes: lstm or gru of all encodings so far; mlp of the last one; "
        "fifo of the last --dynamics_window; state: of the filtered latent state; constant: none, "
        "for --num_modes=1.",
        choices=("lstm", "gru", "mlp", "fifo", "state", "constant"),
    )
    dynamics_window: int = setting(
        5, "Number of last encodings that the fifo network reads.", least=1
    )
    dynamics_features: int = setting(
        0,
        "--dynamics_network=state: number of Fourier features of the latent state that it reads; "
        "they allow modes to change within a small step.",
        least=0,
    )
    affine_modes: bool = setting(False, "Give each mode an offset.")
    mode_noise: bool = setting(False, "Give each mode a transition noise of its own.")
    shared_emission: bool = setting(False, "Let all modes have one emission matrix C.")
    paths: int = setting(
        1,
        "--dynamics_network=state: number of paths that an imputation follows, with modes drawn "
        "along each and weighted by the likelihood of the seen frames; 1: the mean only. All other "
        "queries follow the mean.",
        least=1,
        most=1000,
        after_training=True,
    )
    training_paths: int = setting(
        1,
        "--dynamics_network=state: number of paths of which the dynamics' part of the bound is the "
        "mean in the --finishing_epochs and their --path_updates; 1: the filtered mean only.",
        least=1,
        most=1000,
    )
    decoded_paths: int = setting(
        0,
        "--paths: number of paths, drawn by their weights, of whose frames an imputation is the "
        "mean; 0: the frame of their mean encoding.",
        least=0,
        most=1000,
        after_training=True,
    )
    linear_encoder: bool = setting(
        False,
        "Let the encoder add linear features of a frame, and start it at those whose second "
        "differences vary least.",
    )
    linear_bounces: bool = setting(
        False,
        "--linear_encoder: start at features of frames in which objects bounce. Frames two apart "
        "are compared, and second differences that are far larger than most hardly count.",
        of_training=True,
    )
    decoder_features: int = setting(
        0,
        "Number of Fourier features of an encoding that the decoder reads; they allow sharp edges.",
        least=0,
    )
    time: str = setting(
        "discrete",
        "Modes as steps from frame to frame (discrete), or as generators in continuous time, for "
        "frames at irregular `times`.",
        choices=("discrete", "continuous"),
    )
    time_parts: int = setting(
        1,
        "--time=continuous: equal parts of the interval between two frames, at each of which the "
        "modes are weighted anew.",
        least=1,
        most=100,
    )
    learn_controls: bool = setting(
        False, "Let the dynamics network also emit a control of the latent state's size."
    )
    learn_initial: bool = setting(False, "Learn the moments of the first latent state.")
    objective: str = setting(
        "collapsed",
        "Form of the bound: latent states integrated out (collapsed), or drawn (sampled); or "
        "integrated out, and the reconstruction no weighted term but a constraint (constrained).",
        choices=("collapsed", "sampled", "constrained"),
        of_training=True,
    )
    pretraining_epochs: int = setting(
        0,
        "Number of first epochs, which train the auto-encoder only; then the dynamics start at "
        "constant velocity. With --objective=constrained 1 or more without --init_from: they find "
        "out how good a reconstruction can be. With others --linear_encoder is needed, and the "
        "decoder learns alone.",
        least=0,
    )
    tolerance: float = setting(
        1.0,
        "Constrained objective: by which factor the squared error (Bernoulli pixels: the cross "
        "entropy) of a reconstruction may exceed the auto-encoder's.",
        least=1.0,
        of_training=True,
    )
    standardised: bool = setting(
        False,
        "Encode and decode frames as differences from the mean training frame, in standard "
        "deviations of each pixel.",
    )
    frozen_epochs: int = setting(
        0,
        "Number of first epochs in which the dynamics network is frozen (the paper: 10).",
        least=0,
    )
    settling_epochs: int = setting(
        0,
        "Number of last epochs in which the encoder is frozen, while dynamics and decoder go on "
        "learning from its encodings; the learning-rate schedule starts again.",
        least=0,
    )
    dynamics_updates: int = setting(
        0,
        "Number of updates of the dynamics alone, from stored encodings, before each of the "
        "--settling_epochs.",
        least=0,
    )
    path_updates: int = setting(
        0,
        "Number of updates of the dynamics alone, along --training_paths and from stored "
        "encodings, before each of the --finishing_epochs.",
        least=0,
    )
    finishing_epochs: int = setting(
        0,
        "Number of last epochs, after the --settling_epochs, in which nothing is frozen and the "
        "whole bound is maximised, with reconstruction at weight 1.",
        least=0,
    )
    finishing_rate: float = setting(
        1.0, "Factor of the learning rates in the --finishing_epochs.", least=0.0
    )
    em_epochs: int = setting(
        0,
        f"--network=linear with one mode: number of first epochs that begin with "
        f"{linear_em.ROUNDS} rounds of expectation maximisation.",
        least=0,
        of_training=True,
    )
    velocities: bool = setting(
        False,
        "--em_epochs: the second half of the states are velocities of the first.",
        of_training=True,
    )
    calibrate: bool = setting(
        False,
        "--learn_noise: after the last epoch scale the emission noise by one factor, so that 90 % "
        "intervals of hidden frames in validation sequences hold 90 % on average.",
        after_training=True,
    )
    imputation_factors: bool = setting(
        False,
        "--calibrate: then also scale the standard deviations of hidden encodings, by one factor "
        "each for smoothing and filtering.",
        after_training=True,
    )

    def validate(self, epochs: int, from_scratch: bool = True) -> None:
        """Raises a ``UserError`` where a value is outside its limits."""
        super().validate(epochs, from_scratch)
        last = self.settling_epochs + self.finishing_epochs
        if last >= epochs:
            raise UserError(
                f"--settling_epochs and --finishing_epochs are {last} together, expected less than "
                "--epochs"
            )
        first, most = self.pretraining_epochs, epochs - last
        if self.objective == "constrained" and not int(from_scratch) <= first < most:
            raise UserError(
                f"--pretraining_epochs is {first}, expected 1 or more and less than --epochs "
                "without --settling_epochs, with --objective=constrained"
            )
        if self.auto_encoder_epochs >= most:
            raise UserError(
                f"--pretraining_epochs is {first}, expected less than --epochs without "
                "--settling_epochs and --finishing_epochs"
            )
        for name, needed in (
            ("dynamics_updates", "settling_epochs"),
            ("path_updates", "finishing_epochs"),
        ):
            need_epochs(self, name, needed)
        if from_scratch:  # else it is that of the trained model
            need_epochs(self, "training_paths", "finishing_epochs")
        is_linear = self.network == "linear"
        if self.em_epochs and not (is_linear and self.num_modes == 1 and not self.learn_controls):
            raise UserError(
                f"--em_epochs is {self.em_epochs}, expected 0, or --network=linear with "
                "--num_modes=1 and without --learn_controls"
            )
        if self.velocities and not self.em_epochs:
            raise UserError("--velocities is set, expected --em_epochs of 1 or more")
        if is_linear and self.settling_epochs:
            raise UserError(
                f"--settling_epochs is {self.settling_epochs}, expected 0 with --network=linear, "
                "which has no encoder"
            )
        if self.time_parts > 1 and self.time == "discrete":
            raise UserError(f"--time_parts is {self.time_parts}, expected 1, or --time=continuous")
        if self.em_epochs and self.time == "continuous":
            raise UserError(
                f"--em_epochs is {self.em_epochs}, expected 0 with --time=continuous: expectation "
                "maximisation is for equal steps"
            )
        if is_linear and self.objective != "collapsed":
            raise UserError(
                f"--objective is {self.objective}, expected collapsed with --network=linear"
            )
        if self.decoded_paths and self.paths == 1:
            raise UserError(
                f"--decoded_paths is {self.decoded_paths}, expected 0, or --paths of 2 or more"
            )
        if self.linear_bounces and not self.linear_encoder:
            raise UserError("--linear_bounces is set, expected --linear_encoder, whose start it is")
        if self.calibrate and not self.learn_noise:
            raise UserError("--calibrate is set, expected --learn_noise: it scales a noise learned")
        if self.imputation_factors and not self.calibrate:
            raise UserError(
                "--imputation_factors is set, expected --calibrate, which finds the factors"
            )

    @property
    def auto_encoder_epochs(self) -> int:
        """Number of first epochs that train the auto-encoder, or its decoder, only."""
        has_them = self.objective == "constrained" or self.linear_encoder
        return self.pretraining_epochs if has_them else 0

    def schedule_parts(self, epochs: int) -> list[SchedulePart]:
        """The epochs of auto-encoder and whole model, those that settle, those that finish."""
        first, last = self.auto_encoder_epochs, self.finishing_epochs
        parts = super().schedule_parts(epochs - last)
        if first:
            whole = SchedulePart(parts[0].epochs - first, parts[0].rate)
            parts = [SchedulePart(first), whole, *parts[1:]]
        return [*parts, SchedulePart(last, self.finishing_rate)] if last else parts

    def settling_start(self, epochs: int) -> int:
        """Number of epochs before the settling epochs; 0 where there are no settling epochs.

        Args:
          epochs: number of epochs of the whole training.
        """
        return super().settling_start(epochs - self.finishing_epochs)

    def finishing_start(self, epochs: int) -> int:
        """Number of epochs before the finishing epochs; 0 where there are none.

        Args:
          epochs: number of epochs of the whole training.
        """
        return epochs - self.finishing_epochs if self.finishing_epochs else 0


def _create(setup: Setup) -> KVAE:
    settings = setup.settings
    if setup.train.is_vector and (settings.objective == "constrained" or settings.standardised):
        raise UserError(
            f"--dataset={setup.dataset} holds vectors, which are standardised in any case: "
            "expected --objective=collapsed or sampled, and no --standardised"
        )
    if setup.train.is_vector and settings.calibrate:
        raise UserError(
            f"--calibrate is set, but --dataset={setup.dataset} holds vectors: expected images"
        )
    arguments = setup.arguments(*SCHEDULE)
    is_linear = settings.network == "linear"
    if is_linear and not setup.train.is_vector:
        raise UserError(
            f"--network is linear, but --dataset={setup.dataset} has images: expected mlp or cnn"
        )
    if is_linear:
        arguments["encoding_size"] = setup.train.frame_shape[1]
    is_vector = setup.train.is_vector and settings.objective == "collapsed"
    return (LinearKVAE if is_linear else VectorKVAE if is_vector else KVAE)(
        **arguments,
        seed=setup.seed,
        jit_engine=setup.jit_engine,
        pretraining_updates=setup.updates(settings.auto_encoder_epochs),
        frozen_updates=setup.updates(settings.frozen_epochs),
        settling_start=setup.updates(settings.settling_start(setup.epochs)),
        finishing_start=setup.updates(settings.finishing_start(setup.epochs)),
        standardise=entry_moments(setup.train) if setup.train.is_vector else None,
        time_unit=_time_unit(setup.train) if settings.time == "continuous" else 1.0,
    )


def _prepare(model: KVAE, setup: Setup) -> None:
    if isinstance(model, LinearKVAE):
        linear_em.initialise(model, setup.train, setup.settings.velocities)
    else:
        initialise_frames(model, setup.train, setup.settings.linear_bounces)


def _callbacks(setup: Setup) -> list[keras.callbacks.Callback]:
    s, found = setup.settings, []
    if s.em_epochs:
        found.append(linear_em.LinearEM(setup.train, s.em_epochs, s.velocities))
    if s.objective == "constrained" or s.auto_encoder_epochs:
        first = s.auto_encoder_epochs
        found.append(DynamicsInitialisation(setup.train, first, s.tolerance, setup.seed))
    settling, finishing = (f(setup.epochs) for f in (s.settling_start, s.finishing_start))
    if s.dynamics_updates and s.settling_epochs:
        stop, updates = settling + s.settling_epochs, s.dynamics_updates
        found.append(DynamicsTraining(setup.train, settling, stop, updates, setup.seed))
    if s.path_updates and s.finishing_epochs:
        stop, updates = setup.epochs, s.path_updates
        found.append(DynamicsTraining(setup.train, finishing, stop, updates, setup.seed, True))
    return found


def _time_unit(train):
    """Mean seconds between two frames; 1 where nothing is known of them."""
    if not train.has_times or train.num_steps < 2:
        return 1.0
    return float(np.diff(train.times, axis=1).mean())


def _describe(settings: KVAESettings) -> str:
    if settings.network == "linear":
        return (
            f"vectors without encoder and decoder, {settings.latent_size}-dimensional latent "
            f"states, {settings.num_modes} modes"
        )
    return (
        f"{settings.encoding_size}-dimensional encodings, {settings.latent_size}-dimensional "
        f"latent states, {settings.num_modes} modes, `{settings.network}` encoder and decoder "
        f"{list(settings.units)}"
    )


SPEC = ModelSpec(
    name="kvae",
    title="KVAE",
    summary="A Kalman variational auto-encoder",
    paper="Fraccaro et al. 2017, A Disentangled Recognition and Nonlinear Dynamics Model for "
    "Unsupervised Learning",
    settings=KVAESettings,
    create=_create,
    prepare=_prepare,
    callbacks=_callbacks,
    recipe=recipe,
    describe=_describe,
    from_data=("standardise", "time_unit"),
    first_updates=("pretraining_updates", "frozen_updates"),
    accepts_vectors=lambda settings: settings.network in ("mlp", "linear"),
    older_exports=lambda values: {"elbo_is_log_weight": True},
)
