"""The cannonball model as the package sees it: its settings and its spec."""

from __future__ import annotations

from dataclasses import dataclass

from kvae_tf.data.settings import setting
from kvae_tf.errors import UserError
from kvae_tf.models.cannonball.features import initialise_attention
from kvae_tf.models.cannonball.model import Cannonball
from kvae_tf.models.cannonball.motion_em import MotionEM
from kvae_tf.models.settings import NoiseSettings, SettlingSettings, need_epochs
from kvae_tf.models.spec import FRAME_STUDIES, OBJECT_STUDIES, ModelSpec, Setup


@dataclass(frozen=True)
class CannonballSettings(NoiseSettings, SettlingSettings):
    """Settings of the cannonball model."""

    max_objects: int = setting(
        0, "Number of objects in every sequence, where the data do not say it.", least=0
    )
    state_size: int = setting(256, "Width of attention and renderer.", least=1)
    num_components: int = setting(
        2, "Number K of components of an object's initial state.", least=1
    )
    initial_spread: float = setting(
        1.0, "Initial standard deviation of the components' means.", least=0.0
    )
    motion_step: float = setting(0.1, "Initial value of the time step δ.", least=1e-6)
    posterior: str = setting(
        "attention",
        "Posterior of positions: attention alone, as in the paper; or the exact smoother over "
        "attention's readings.",
        choices=("attention", "smoothed"),
    )
    first_looks: int = setting(
        1,
        "Number of times that attention looks at a sequence's first frame; 1 as in the paper.",
        least=1,
        most=100,
    )
    hypotheses: int = setting(
        0,
        "Number of hypotheses about which of attention's readings belong to which object, weighed "
        "by the motion's likelihood; 0: attention's own order, as in the paper.",
        least=0,
        most=1000,
    )
    refinements: int = setting(
        0,
        "Number of times that readings are made anew from the light near the smoothed path, in the "
        "--settling_epochs and from then on; 0: they are attention's.",
        least=0,
        most=100,
        of_training=True,
    )
    student_degrees: float = setting(
        0.0,
        "Degrees of freedom of a Student t distribution of attention's readings, by which the "
        "smoother trusts those less that are off; 0: Gaussian readings.",
        least=0.0,
        after_training=True,
    )
    decoded_paths: int = setting(
        0,
        "Number of draws of the positions of whose frames an imputed or forecast frame is the "
        "mean; 0: it is the frame of the mean positions.",
        least=0,
        most=1000,
        after_training=True,
    )
    map_degree: int = setting(
        0,
        "Degree of a polynomial map from attention's plane to that of the motion, fitted before "
        "each of the --settling_epochs so that paths become parabolas; 0: the two are the same.",
        least=0,
        most=9,
    )
    collision_modes: int = setting(
        0,
        "Number of modes by which objects meet walls and each other, with --settling_epochs; 0: "
        "they pass through each other, as in the paper.",
        least=0,
        most=1000,
    )
    collision_units: int = setting(
        64, "Width of the networks that say which of the --collision_modes holds.", least=1
    )
    collision_updates: int = setting(
        1000,
        "Number of updates of the --collision_modes before each of the --settling_epochs, from "
        "attention's readings alone.",
        least=1,
        of_training=True,
    )
    newtonian_lag: int = setting(
        1,
        "--newtonian_epochs: number of frames between those of which second differences are taken; "
        "the larger, the less the noise of single frames counts. At most half a sequence.",
        least=1,
    )
    kl_weight: float = setting(
        1.0,
        "Initial weight of the bound's terms apart from the reconstruction.",
        least=1e-6,
        of_training=True,
    )
    kl_epochs: int = setting(0, "Epochs over which --kl_weight falls geometrically to 1.", least=0)
    frozen_epochs: int = setting(
        0,
        "Number of first epochs in which the motion's parameters are frozen, with "
        "--posterior=smoothed only its noises.",
        least=0,
    )
    newtonian_epochs: int = setting(
        0,
        "Number of first epochs in which attention is frozen, after it was initialised with the "
        "linear features of frames whose second differences vary least; 0: it is initialised at "
        "random, as in the paper.",
        least=0,
    )
    settling_epochs: int = setting(
        0,
        "Number of last epochs, before each of which the motion's noise and initial states are "
        "fitted to attention's readings, while all else goes on learning; the learning-rate "
        "schedule starts again.",
        least=0,
    )

    def validate(self, epochs: int, from_scratch: bool = True) -> None:
        """Raises a ``UserError`` where a value is outside its limits."""
        super().validate(epochs, from_scratch)
        need_epochs(self, "kl_weight", "kl_epochs")
        if from_scratch:  # else it is that of the trained model
            need_epochs(self, "map_degree", "settling_epochs")
            need_epochs(self, "collision_modes", "settling_epochs")
            need_epochs(self, "refinements", "settling_epochs")
        for name in ("refinements", "student_degrees", "collision_modes"):
            if getattr(self, name) and self.posterior != "smoothed":
                raise UserError(
                    f"--{name} is {getattr(self, name)}, expected 0, or --posterior=smoothed, "
                    "which smooths attention's readings"
                )


def _create(setup: Setup) -> Cannonball:
    settings = setup.settings
    arguments = setup.arguments(
        "kl_epochs",
        "frozen_epochs",
        "newtonian_epochs",
        "newtonian_lag",
        "settling_epochs",
        "settling_rate",
        "collision_updates",
    )
    return Cannonball(
        **arguments | {"max_objects": _most_objects(setup)},
        kl_updates=setup.updates(settings.kl_epochs),
        frozen_updates=setup.updates(settings.frozen_epochs),
        attention_frozen_updates=setup.updates(settings.newtonian_epochs),
        settling_start=setup.updates(settings.settling_start(setup.epochs)),
    )


def _most_objects(setup):
    """Largest number of objects in a sequence: from the data, else from the settings."""
    counts = setup.train.num_objects
    if counts is not None:
        return int(counts.max())
    if not setup.settings.max_objects:
        raise UserError(
            f"--dataset={setup.dataset} does not say num_objects, expected an array of counts in "
            "it, or --max_objects"
        )
    return setup.settings.max_objects


def _prepare(model: Cannonball, setup: Setup) -> None:
    if setup.settings.newtonian_epochs:
        initialise_attention(model, setup.train, setup.settings.newtonian_lag)


def _callbacks(setup: Setup) -> list[MotionEM]:
    start = setup.settings.settling_start(setup.epochs)
    updates = setup.settings.collision_updates
    return [MotionEM(setup.train, start, setup.seed, updates)] if start else []


def _describe(settings: CannonballSettings) -> str:
    return (
        f"one state of position and velocity for each object, {settings.num_components} components "
        f"of the start, recurrent attention and renderer of {settings.state_size} units, positions "
        f"from the {settings.posterior} posterior"
    )


SPEC = ModelSpec(
    name="cannonball",
    title="Cannonball",
    summary="Independent objects that move by Newton's laws",
    paper="Chiappa and Paquet, Unsupervised Separation of Dynamics from Pixels",
    settings=CannonballSettings,
    create=_create,
    prepare=_prepare,
    callbacks=_callbacks,
    describe=_describe,
    studies=(*FRAME_STUDIES, *OBJECT_STUDIES),
    from_data=("max_objects",),
    first_updates=("kl_updates", "frozen_updates", "attention_frozen_updates"),
    older_exports=lambda values: {"elbo_is_log_weight": values.get("posterior") == "smoothed"},
)
