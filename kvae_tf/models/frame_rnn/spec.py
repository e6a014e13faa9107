"""AE-RNN and VAE-RNN as the package sees them: their settings and their specs."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from kvae_tf.data.settings import setting
from kvae_tf.errors import UserError
from kvae_tf.models.frame_rnn.model import FrameRNN
from kvae_tf.models.settings import EncodingSettings, FrameSettings, SchedulePart
from kvae_tf.models.spec import FRAME_STUDIES, ModelSpec, Setup

_PAPER = (
    "a baseline of Fraccaro et al. 2017, A Disentangled Recognition and Nonlinear Dynamics Model "
    "for Unsupervised Learning"
)


@dataclass(frozen=True)
class FrameRNNSettings(FrameSettings, EncodingSettings):
    """Settings of AE-RNN and VAE-RNN."""

    dynamics_units: int = setting(50, "Width of the LSTM.", least=1)
    pretraining_epochs: int = setting(
        0,
        "Number of first epochs, which train the auto-encoder only; later ones the LSTM only.",
        least=0,
    )

    def validate(self, epochs: int, from_scratch: bool = True) -> None:
        """Raises a ``UserError`` where a value is outside its limits."""
        super().validate(epochs, from_scratch)
        if self.pretraining_epochs >= epochs:
            raise UserError(
                f"--pretraining_epochs is {self.pretraining_epochs}, expected less than --epochs"
            )
        if from_scratch and not self.pretraining_epochs:
            raise UserError(
                "--pretraining_epochs is 0, expected 1 or more for ae_rnn and vae_rnn, whose "
                "auto-encoder learns in these epochs only"
            )

    def schedule_parts(self, epochs: int) -> list[SchedulePart]:
        """The epochs that train the auto-encoder, and those that train the LSTM."""
        first = self.pretraining_epochs
        return [SchedulePart(first), SchedulePart(epochs - first)]


def _create(setup: Setup, variational: bool) -> FrameRNN:
    arguments = setup.arguments("pretraining_epochs")
    return FrameRNN(
        **arguments,
        variational=variational,
        jit_engine=setup.jit_engine,
        pretraining_updates=setup.updates(setup.settings.pretraining_epochs),
    )


def _describe(settings: FrameRNNSettings) -> str:
    return (
        f"{settings.encoding_size}-dimensional encodings, an LSTM of {settings.dynamics_units} "
        f"units, `{settings.network}` encoder and decoder {list(settings.units)}"
    )


_ALIKE = {
    "settings": FrameRNNSettings,
    "first_updates": ("pretraining_updates",),
    "describe": _describe,
    "studies": FRAME_STUDIES,
}

AE_RNN = ModelSpec(
    name="ae_rnn",
    title="AE-RNN",
    summary="An auto-encoder of frames and an LSTM over its encodings",
    paper=_PAPER,
    create=functools.partial(_create, variational=False),
    **_ALIKE,
)
VAE_RNN = ModelSpec(
    name="vae_rnn",
    title="VAE-RNN",
    summary="A variational auto-encoder of frames and an LSTM over its encodings",
    paper=_PAPER,
    create=functools.partial(_create, variational=True),
    older_exports=lambda values: {"elbo_is_log_weight": True},
    **_ALIKE,
)
