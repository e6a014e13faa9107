"""DVBF as the package sees it: its settings and its spec."""

from __future__ import annotations

from dataclasses import dataclass

from kvae_tf.data.settings import setting
from kvae_tf.errors import UserError
from kvae_tf.models.dvbf.model import DVBF
from kvae_tf.models.dvbf.recovery import Recovery
from kvae_tf.models.settings import NonlinearSettings, SchedulePart
from kvae_tf.models.spec import ModelSpec, Setup

_RECOVERY_RATE = 0.4  # factor of the learning rate in a recovery


@dataclass(frozen=True)
class DVBFSettings(NonlinearSettings):
    """Settings of the deep variational Bayes filter."""

    transition: str = setting(
        "locally_linear",
        "How one state follows another: --num_modes triplets of matrices, mixed; or a gated dense "
        "network.",
        choices=("locally_linear", "gated"),
    )
    num_modes: int = setting(
        3, "Number of triplets of matrices of the locally linear transition.", least=1, most=1000
    )
    residual_transition: bool = setting(
        True, "Let the locally linear transition give the change of the state, instead of the next."
    )
    bayesian_weights: bool = setting(
        True, "Give the matrices of the locally linear transition a posterior."
    )
    mixer_units: int = setting(
        0, "Width of a hidden layer before the mode weights; 0: none.", least=0
    )
    second_order: bool = setting(
        False,
        "Initialise the matrices as if one half of the state were the other half's velocities.",
    )
    noise_limit: float = setting(
        0.0,
        "Largest mean of inferred noise, in standard deviations of the prior; 0: no limit.",
        least=0.0,
    )
    initial_network: str = setting(
        "birnn", "Network that reads the first frames.", choices=("birnn", "mlp")
    )
    initial_frames: int = setting(
        5, "Number of first frames that the initial state is inferred from.", least=1
    )
    recognition: str = setting(
        "filter",
        "Frames that noise is inferred from: the next one; or (smooth), in half of the training "
        "sequences, all later ones, so that the model can smooth.",
        choices=("filter", "smooth"),
    )
    recovery_epochs: int = setting(
        0,
        "Number of last epochs in which only recognition and the scale of noise learn, from "
        "sequences of which a share starts at a wrong state, so that a filter of long sequences "
        "finds back; the learning-rate schedule starts again.",
        least=0,
    )

    def validate(self, epochs: int, from_scratch: bool = True) -> None:
        """Raises a ``UserError`` where a value is outside its limits."""
        super().validate(epochs, from_scratch)
        if self.recovery_epochs > (epochs - 1 if from_scratch else epochs):
            raise UserError(
                f"--recovery_epochs is {self.recovery_epochs}, expected less than --epochs, or as "
                "many with --init_from"
            )

    def schedule_parts(self, epochs: int) -> list[SchedulePart]:
        """The epochs of the whole model, and those of the recovery."""
        whole = epochs - self.recovery_epochs
        parts = super().schedule_parts(whole) if whole else []
        recovery = SchedulePart(self.recovery_epochs, _RECOVERY_RATE)
        return [*parts, recovery] if self.recovery_epochs else parts


def _create(setup: Setup) -> DVBF:
    settings = setup.settings
    start = None
    if settings.recovery_epochs:
        start = setup.updates(setup.epochs - settings.recovery_epochs)
    return DVBF(
        **setup.arguments("floor_epochs", "recovery_epochs"),
        recovery_start=start,
        num_sequences=setup.train.num_sequences,
        floor_updates=setup.updates(settings.floor_epochs),
    )


def _callbacks(setup: Setup) -> list[Recovery]:
    recovery = setup.settings.recovery_epochs
    return [Recovery(setup.epochs - recovery)] if recovery else []


def _describe(settings: DVBFSettings) -> str:
    return (
        f"{settings.latent_size}-dimensional latent states, "
        f"{settings.transition.replace('_', ' ')} transition, `{settings.network}` encoder and "
        f"decoder {list(settings.units)}"
    )


SPEC = ModelSpec(
    name="dvbf",
    title="DVBF",
    summary="A deep variational Bayes filter",
    paper="Karl et al. 2017, Deep Variational Bayes Filters: Unsupervised Learning of State Space "
    "Models from Raw Data",
    settings=DVBFSettings,
    create=_create,
    callbacks=_callbacks,
    first_updates=("annealing_updates", "floor_updates"),
    describe=_describe,
    older_exports=lambda values: {"filter_warmup": values.get("initial_frames", 1) - 1},
)
