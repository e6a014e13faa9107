"""ED-LSTM as the package sees it: its settings and its spec."""

from __future__ import annotations

from dataclasses import dataclass

from kvae_tf.data.settings import setting
from kvae_tf.models.ed_lstm.model import EDLSTM
from kvae_tf.models.settings import FrameSettings
from kvae_tf.models.spec import FRAME_STUDIES, ModelSpec, Setup


@dataclass(frozen=True)
class EDLSTMSettings(FrameSettings):
    """Settings of ED-LSTM."""

    feature_size: int = setting(
        128, "Width of the features that convolutions take from a frame.", least=1
    )
    state_size: int = setting(256, "Width of the LSTM.", least=1)


def _create(setup: Setup) -> EDLSTM:
    return EDLSTM(**setup.arguments())


def _describe(settings: EDLSTMSettings) -> str:
    return (
        f"an LSTM of {settings.state_size} units between `{settings.network}` encoder and decoder "
        f"{list(settings.units)}"
    )


SPEC = ModelSpec(
    name="ed_lstm",
    title="ED-LSTM",
    summary="An LSTM between an encoder and a decoder of frames",
    paper="a baseline of Chiappa and Paquet, Unsupervised Separation of Dynamics from Pixels",
    settings=EDLSTMSettings,
    create=_create,
    describe=_describe,
    studies=(*FRAME_STUDIES, "continuations"),
)
