"""The DKF as the package sees it: its settings and its spec."""

from __future__ import annotations

from dataclasses import dataclass

from kvae_tf.data.settings import setting
from kvae_tf.models.dkf.model import DKF
from kvae_tf.models.settings import NonlinearSettings
from kvae_tf.models.spec import FRAME_STUDIES, STATE_STUDIES, ModelSpec, Setup


@dataclass(frozen=True)
class DKFSettings(NonlinearSettings):
    """Settings of the deep Kalman filter."""

    transition_units: int = setting(
        128, "Width of the transition network's hidden layers.", least=1
    )
    inference: str = setting(
        "backward",
        "Frames that the recurrent networks of the posterior read: the later ones, or both sides.",
        choices=("backward", "bidirectional"),
    )


def _create(setup: Setup) -> DKF:
    arguments = setup.arguments("floor_epochs")
    return DKF(**arguments, floor_updates=setup.updates(setup.settings.floor_epochs))


def _describe(settings: DKFSettings) -> str:
    return (
        f"{settings.latent_size}-dimensional latent states, dense transition of "
        f"{settings.transition_units} units, `{settings.network}` encoder and decoder "
        f"{list(settings.units)}"
    )


SPEC = ModelSpec(
    name="dkf",
    title="DKF",
    summary="A deep Kalman filter",
    paper="Krishnan et al. 2015, Deep Kalman Filters; a baseline of Karl et al. 2017",
    settings=DKFSettings,
    create=_create,
    describe=_describe,
    first_updates=("annealing_updates", "floor_updates"),
    # Its filter reads the frames anew for each step: not 500 of them.
    studies=(*FRAME_STUDIES, *(name for name in STATE_STUDIES if name != "long_filtering")),
)
