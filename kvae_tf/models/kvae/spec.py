"""The KVAE as the package sees it: its settings and its spec."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from kvae_tf.data.settings import setting
from kvae_tf.errors import UserError
from kvae_tf.models.kvae import linear_em
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
)
from kvae_tf.models.spec import ModelSpec, Setup

# Settings of how the model is trained, which are no arguments of its constructor.
SCHEDULE = ("frozen_epochs", "settling_epochs", "settling_rate", "pretraining_epochs", "tolerance",
            "em_epochs")  # fmt: skip


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
        "fifo of the last --dynamics_window; constant: none, for --num_modes=1.",
        choices=("lstm", "gru", "mlp", "fifo", "constant"),
    )
    dynamics_window: int = setting(
        5, "Number of last encodings that the fifo network reads.", least=1
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
        "Constrained objective: number of first epochs, which train the auto-encoder only and find "
        "out how good a reconstruction can be; then the dynamics start at constant velocity. 1 or "
        "more without --init_from.",
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
    em_epochs: int = setting(
        0,
        f"--network=linear with one mode: number of first epochs that begin with "
        f"{linear_em.ROUNDS} rounds of expectation maximisation.",
        least=0,
        of_training=True,
    )

    def validate(self, epochs: int, from_scratch: bool = True) -> None:
        """Raises a ``UserError`` where a value is outside its limits."""
        super().validate(epochs, from_scratch)
        first, most = self.pretraining_epochs, epochs - self.settling_epochs
        if self.objective == "constrained" and not int(from_scratch) <= first < most:
            raise UserError(
                f"--pretraining_epochs is {first}, expected 1 or more and less than --epochs "
                "without --settling_epochs, with --objective=constrained"
            )
        is_linear = self.network == "linear"
        if self.em_epochs and not (is_linear and self.num_modes == 1 and not self.learn_controls):
            raise UserError(
                f"--em_epochs is {self.em_epochs}, expected 0, or --network=linear with "
                "--num_modes=1 and without --learn_controls"
            )
        if is_linear and self.settling_epochs:
            raise UserError(
                f"--settling_epochs is {self.settling_epochs}, expected 0 with --network=linear, "
                "which has no encoder"
            )
        if is_linear and self.objective != "collapsed":
            raise UserError(
                f"--objective is {self.objective}, expected collapsed with --network=linear"
            )

    @property
    def auto_encoder_epochs(self) -> int:
        """Number of first epochs that train the auto-encoder only."""
        return self.pretraining_epochs if self.objective == "constrained" else 0

    def schedule_parts(self, epochs: int) -> list[SchedulePart]:
        """The epochs of the auto-encoder, those of the whole model, and those that settle."""
        first, parts = self.auto_encoder_epochs, super().schedule_parts(epochs)
        if not first:
            return parts
        whole = SchedulePart(parts[0].epochs - first, parts[0].rate)
        return [SchedulePart(first), whole, *parts[1:]]


def _create(setup: Setup) -> KVAE:
    settings = setup.settings
    if setup.train.is_vector and (settings.objective == "constrained" or settings.standardised):
        raise UserError(
            f"--dataset={setup.dataset} holds vectors, which are standardised in any case: "
            "expected --objective=collapsed or sampled, and no --standardised"
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
        standardise=_moments(setup.train) if setup.train.is_vector else None,
    )


def _prepare(model: KVAE, setup: Setup) -> None:
    if isinstance(model, LinearKVAE):
        linear_em.initialise(model, setup.train)
    else:
        initialise_frames(model, setup.train)


def _callbacks(setup: Setup) -> list[keras.callbacks.Callback]:
    s = setup.settings
    if s.em_epochs:
        return [linear_em.LinearEM(setup.train, s.em_epochs)]
    if s.objective != "constrained":
        return []
    return [DynamicsInitialisation(setup.train, s.auto_encoder_epochs, s.tolerance, setup.seed)]


def _moments(train):
    """Means and standard deviations of the entries of vectors, as lists."""
    entries = np.where(train.observed[..., None] > 0, train.frames[:, :, 0, :, 0], np.nan)
    spread = np.nanstd(entries, axis=(0, 1))
    # An entry that never changes, or is always missing, keeps its scale.
    spread = np.where(np.nan_to_num(spread) > 0, spread, 1.0)
    return [np.nan_to_num(np.nanmean(entries, axis=(0, 1))).tolist(), spread.tolist()]


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
    from_data=("standardise",),
    first_updates=("pretraining_updates", "frozen_updates"),
    accepts_vectors=lambda settings: settings.network in ("mlp", "linear"),
    older_exports=lambda values: {"elbo_is_log_weight": True},
)
