"""The settings of a training that all models share."""

from __future__ import annotations

from dataclasses import dataclass

from kvae_tf.data.settings import LARGEST_SEED, check, check_count, setting
from kvae_tf.errors import UserError

STRATEGIES = ("auto", "none", "mirrored", "multiworker")


@dataclass(frozen=True)
class TrainingSettings:
    """Optimiser, schedule, initialisations, distribution and callbacks."""

    seed: int = setting(0, "Fixes data, initialisation and noise.", least=0, most=LARGEST_SEED)
    epochs: int = setting(80, "Epochs to train.", least=1)
    starts: int = setting(
        1,
        "Number of initialisations; the best after --starting_epochs is trained on.",
        least=1,
    )
    starting_epochs: int = setting(0, "Epochs before the best start is chosen.", least=0)
    starts_by: str = setting(
        "loss",
        "What the best start is best at on held-out sequences: loss, or imputation.",
        choices=("loss", "imputation"),
    )
    init_from: str = setting(
        "",
        "Start from the weights of a trained model: a name, as box, or the path of an export, a "
        "run or a file *.weights.h5. Its settings of the model hold where none are given.",
    )
    steps_per_epoch: int = setting(0, "Updates in an epoch; 0: one pass over the data.", least=0)
    batch_size: int = setting(32, "Sequences in a batch.", least=1)
    batch_parts: int = setting(
        1, "Parts of a batch that are computed one after another, to save memory.", least=1
    )
    learning_rate: float = setting(0.007, "Adam's step size at the start.", least=0.0)
    dynamics_rate: float = setting(
        1.0,
        "Factor of the learning rate for the variables of the dynamics.",
        least=0.0,
    )
    schedule: str = setting(
        "exponential", "How the learning rate falls.", choices=("exponential", "cosine", "constant")
    )
    decay_rate: float = setting(
        0.85, "Exponential schedule: factor per --decay_epochs.", least=0.0, most=1.0
    )
    decay_epochs: int = setting(20, "Exponential schedule: epochs between two factors.", least=1)
    clip_norm: float = setting(150.0, "Largest global gradient norm; 0: any.", least=0.0)
    reconstruction_weight: float = setting(
        1.0,
        "Factor of the reconstruction term in training (the KVAE authors' code: 0.3).",
        least=1e-6,
    )
    weight_epochs: int = setting(
        0,
        "Epochs over which --reconstruction_weight rises geometrically to 1; 0: it stays.",
        least=0,
    )
    optimizer: str = setting("adam", "The optimiser.", choices=("adam", "adadelta"))
    patience: int = setting(
        0,
        "Epochs without a better validation bound before training stops, counted in the last of "
        "the parts that have a learning-rate schedule to themselves; 0: never.",
        least=0,
    )
    jit: str = setting(
        "auto",
        "Compile the whole step with XLA; auto: on a GPU. The dynamics are compiled in any case.",
        choices=("auto", "on", "off"),
    )
    strategy: str = setting(
        "auto",
        "Share each batch among this machine's devices (mirrored), or the processes in TF_CONFIG "
        "(multiworker); auto: where there are several.",
        choices=STRATEGIES,
    )
    profile_updates: tuple[int, ...] = setting(
        (), "FIRST,LAST of the updates that TensorBoard's profiler records.", least=1
    )
    image_epochs: int = setting(
        10,
        "Epochs between two sets of TensorBoard images; the first and last have one. 0: none.",
        least=0,
    )

    def validate(self) -> None:
        """Raises a ``UserError`` where a value is outside its limits."""
        check(self)
        check_count(self, "profile_updates", 2)
        if self.starts > 1 and self.init_from:
            raise UserError(
                f"--starts is {self.starts}, but --init_from={self.init_from} is one start: "
                "expected --starts=1"
            )
        if self.starts > 1 and not 0 < self.starting_epochs < self.epochs:
            raise UserError(
                f"--starting_epochs is {self.starting_epochs}, expected 1 or more and less than "
                "--epochs where --starts is above 1"
            )
