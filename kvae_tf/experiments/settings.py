"""The settings of an experiment: one dataclass a part, each field documented once.

``flags`` makes a command-line flag of every field, so defaults, help texts and limits live here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from kvae_tf.errors import UserError

STRATEGIES = ("auto", "none", "mirrored", "multiworker")
SYSTEMS = ("kvae", "dvbf", "dkf", "ae_rnn", "vae_rnn", "cannonball", "ed_lstm")


def _field(default, help_text, choices=None, least=None, most=None):
    metadata = {"help": help_text, "choices": choices, "least": least, "most": most}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataSettings:
    """Where the sequences come from and which frames training may see."""

    dataset: str = _field(
        "pendulum",
        "A world's name; or a file PATH.npz or PATH.h5 with `images`, a video, or a folder of "
        "pictures or videos.",
    )
    cache_dir: str = _field("", "Where simulated worlds are kept; empty: the user's cache folder.")
    binarise: bool = _field(False, "Every pixel becomes 0 or 1: above one half, or not.")
    draw_walls: bool = _field(False, "box, gravity, polygon, pong: draw the walls and paddles.")
    frame_size: tuple[int, ...] = _field(
        (), "Videos: HEIGHT,WIDTH to which frames are resized; empty: as they are.", least=1
    )
    crop: tuple[int, ...] = _field(
        (), "Videos: TOP,LEFT,HEIGHT,WIDTH of the part that is kept, before resizing.", least=0
    )
    channels: int = _field(1, "Videos: 1 for grey, 3 for colour.", choices=(1, 3))
    window: int = _field(
        0, "Videos: frames of a sequence; 0: all, the shorter ones padded as missing.", least=0
    )
    stride: int = _field(
        0, "Videos: frames from one window's start to the next; 0: --window.", least=0
    )
    annotations: str = _field(
        "", "Videos: a CSV file with columns frame, video, observed, and one for each control."
    )
    missing_rate: float = _field(
        0.0, "Share of the training frames hidden at random.", least=0.0, most=1.0
    )
    first_seen: int = _field(3, "So many first frames are never hidden.", least=0)
    mixed_rates: bool = _field(
        False, "Each sequence's rate is uniform between 0 and --missing_rate, each time anew."
    )
    fixed_masks: bool = _field(False, "One mask a sequence, instead of a new one each pass.")
    test_sequences: int = _field(
        0, "metrics.json is measured on so many first test sequences; 0: on all.", least=0
    )


@dataclass(frozen=True)
class ModelSettings:
    """The architecture; a checkpoint fits only the settings it was written with."""

    model: str = _field("kvae", "The system.", choices=SYSTEMS)
    network: str = _field("mlp", "Frame encoder and decoder.", choices=("mlp", "cnn"))
    units: tuple[int, ...] = _field(
        (128, 128), "Widths of the dense layers, or filters of the convolutions.", least=1
    )
    encoding_size: int = _field(2, "Dimension m of an encoding a_t.", least=1)
    latent_size: int = _field(4, "Dimension n of a latent state z_t.", least=1)
    num_modes: int = _field(3, "Number K of linear modes.", least=1, most=1000)
    dynamics_network: str = _field(
        "lstm",
        "What weighs the modes: lstm, gru of all encodings so far; mlp of the last one, fifo of "
        "the last --dynamics_window; constant: nothing, for --num_modes=1.",
        choices=("lstm", "gru", "mlp", "fifo", "constant"),
    )
    dynamics_units: int = _field(50, "Width of the dynamics parameter network.", least=1)
    dynamics_window: int = _field(5, "Encodings that the fifo network reads.", least=1)
    learn_controls: bool = _field(
        False, "The dynamics parameter network also emits a control of the latent's size."
    )
    likelihood: str = _field("bernoulli", "Pixels.", choices=("bernoulli", "gaussian"))
    per_pixel_std: bool = _field(True, "Gaussian pixels: one learned std per pixel, else one.")
    variance_floor: float = _field(1e-4, "Gaussian pixels: the smallest variance.", least=1e-8)
    max_encoding_variance: float = _field(
        0.03, "Upper bound of the encoder's variance.", least=1e-8
    )
    transition_noise: float = _field(0.08, "Q, or its start when learned.", least=1e-8)
    emission_noise: float = _field(0.03, "R, or its start when learned.", least=1e-8)
    initial_variance: float = _field(20.0, "Variance of z_1, or its start.", least=1e-8)
    learn_noise: bool = _field(False, "Learn Q and R.")
    learn_initial: bool = _field(False, "Learn the moments of z_1.")
    emission_size: int = _field(
        0,
        "dvbf, dkf: so many first entries of the latent state draw the frame, the others only move "
        "them; 0: all.",
        least=0,
    )
    feature_size: int = _field(
        128, "dvbf, dkf, ed_lstm: width of what convolutions say of a frame.", least=1
    )
    transition: str = _field(
        "locally_linear",
        "dvbf: --num_modes triplets of matrices, mixed; or a gated dense network.",
        choices=("locally_linear", "gated"),
    )
    residual_transition: bool = _field(True, "dvbf: the locally linear transition adds to z_t.")
    bayesian_weights: bool = _field(True, "dvbf: its matrices have a posterior.")
    mixer_units: int = _field(
        0, "dvbf: width of a hidden layer before the modes' weights; 0: none.", least=0
    )
    second_order: bool = _field(
        False, "dvbf: its matrices start as if half of the state were the other half's velocities."
    )
    noise_limit: float = _field(
        0.0,
        "dvbf: the means of recognised noise stay within so many standard deviations; 0: no limit.",
        least=0.0,
    )
    initial_network: str = _field(
        "birnn", "dvbf: what reads the first frames.", choices=("birnn", "mlp")
    )
    initial_frames: int = _field(5, "dvbf: so many first frames say where it begins.", least=1)
    recognition: str = _field(
        "filter",
        "dvbf: noise is read off the next frame; smooth: and, for every other sequence, off all "
        "later ones, so that the model can smooth.",
        choices=("filter", "smooth"),
    )
    transition_units: int = _field(128, "dkf: width of its transition's hidden layers.", least=1)
    inference: str = _field(
        "backward",
        "dkf: recurrent networks over the later frames, or over both sides.",
        choices=("backward", "bidirectional"),
    )
    max_objects: int = _field(
        0, "cannonball: objects of every sequence, where the data do not count them.", least=0
    )
    state_size: int = _field(
        256, "cannonball: width of attention and renderer; ed_lstm: of the LSTM.", least=1
    )
    num_components: int = _field(2, "cannonball: components K of an object's start.", least=1)
    initial_spread: float = _field(
        1.0, "cannonball: standard deviation of their means at first.", least=0.0
    )
    motion_step: float = _field(0.1, "cannonball: δ at first.", least=1e-6)
    posterior: str = _field(
        "attention",
        "cannonball: positions are what attention says, as in the paper, or what the motion makes "
        "of that.",
        choices=("attention", "smoothed"),
    )


@dataclass(frozen=True)
class TrainingSettings:
    """The objective and the optimiser."""

    seed: int = _field(0, "Fixes data, initialisation and noise.", least=0)
    objective: str = _field("collapsed", "The bound's form.", choices=("collapsed", "sampled"))
    decoded_frames: int = _field(
        0,
        "Seen frames of a sequence, drawn at each update, that stand for the reconstruction of "
        "all; 0: all.",
        least=0,
    )
    epochs: int = _field(80, "Epochs to train.", least=1)
    starts: int = _field(
        1, "So many initialisations compete; the best after --starting_epochs goes on.", least=1
    )
    starting_epochs: int = _field(0, "Epochs before the best start is chosen.", least=0)
    steps_per_epoch: int = _field(0, "Updates an epoch; 0: one pass over the data.", least=0)
    batch_size: int = _field(32, "Sequences an update.", least=1)
    batch_parts: int = _field(
        1, "Parts of a batch that are computed one after another, to save memory.", least=1
    )
    learning_rate: float = _field(0.007, "Adam's step size at the start.", least=0.0)
    dynamics_rate: float = _field(
        1.0, "The dynamics' variables take so many times longer steps.", least=0.0
    )
    schedule: str = _field(
        "exponential", "How the learning rate falls.", choices=("exponential", "cosine", "constant")
    )
    decay_rate: float = _field(0.85, "Exponential: factor per --decay_epochs.", least=0.0, most=1.0)
    decay_epochs: int = _field(20, "Exponential: epochs between two factors.", least=1)
    clip_norm: float = _field(150.0, "Global gradient norm is clipped here; 0: never.", least=0.0)
    reconstruction_weight: float = _field(
        1.0, "Factor of the reconstruction term in training (the paper's code: 0.3).", least=1e-6
    )
    weight_epochs: int = _field(
        0, "Over so many epochs that factor rises geometrically to 1; 0: it stays.", least=0
    )
    frozen_epochs: int = _field(
        0,
        "kvae: the dynamics parameter network rests for so many epochs (the paper: 10); "
        "cannonball: the motion does, or its noises, with --posterior=smoothed.",
        least=0,
    )
    newtonian_epochs: int = _field(
        0,
        "cannonball: attention starts with the linear features of frames that come nearest to "
        "Newton's law, and rests for so many epochs, in which the others learn from them; 0: it "
        "starts at random, as in the paper.",
        least=0,
    )
    curriculum_epochs: int = _field(
        0,
        "Where objects are counted: so many epochs show sequences of one object, as many of up to "
        "two, and so on; 0: all sequences from the start.",
        least=0,
    )
    kl_weight: float = _field(
        1.0, "cannonball: weight of the bound's other terms at first.", least=1e-6
    )
    kl_epochs: int = _field(
        0, "cannonball: over so many epochs that weight falls geometrically to 1.", least=0
    )
    settling_epochs: int = _field(
        0,
        "kvae: in so many last epochs the encoder rests, and the dynamics and the decoder settle "
        "on the encodings as they are; cannonball: before each of them the motion's noise and "
        "start are fitted to what attention reads. The schedule starts again.",
        least=0,
    )
    settling_rate: float = _field(
        1.0, "The settling epochs' learning rates are so many times those of the others.", least=0.0
    )
    pretraining_epochs: int = _field(
        0, "ae_rnn, vae_rnn: epochs for the auto-encoder alone, before the RNN.", least=0
    )
    initial_variance_floor: float = _field(
        0.01, "dvbf, dkf: the smallest pixel variance in training starts here,", least=1e-8
    )
    floor_epochs: int = _field(
        0,
        "and over so many epochs falls geometrically to --variance_floor; 0: it is that at once.",
        least=0,
    )
    annealing_updates: int = _field(
        0, "dvbf, dkf: over so many updates an inverse temperature rises to 1; 0: none.", least=0
    )
    annealing_start: float = _field(0.01, "Where it starts.", least=0.0, most=1.0)
    annealing_every: int = _field(1, "Updates between two steps of it.", least=1)
    optimizer: str = _field("adam", "The optimiser.", choices=("adam", "adadelta"))
    patience: int = _field(
        0, "Stop after so many epochs without a better validation bound; 0: never.", least=0
    )
    jit: str = _field(
        "auto",
        "Compile the whole step with XLA; auto: on a GPU. The dynamics always are.",
        choices=("auto", "on", "off"),
    )
    precision: str = _field(
        "float32",
        "Of the frame networks' inner layers, the dynamics stay in float32. bfloat16 is faster "
        "where the processor has it, float16 on older GPUs.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    strategy: str = _field(
        "auto",
        "Share each batch among this machine's devices (mirrored), or the processes in TF_CONFIG "
        "(multiworker); auto: where there are several.",
        choices=STRATEGIES,
    )
    profile_updates: tuple[int, ...] = _field(
        (), "FIRST,LAST of the updates that TensorBoard's profiler records.", least=1
    )
    image_epochs: int = _field(
        10, "Epochs between two sets of TensorBoard images; the first and last have one.", least=1
    )

    @property
    def joint_epochs(self) -> int:
        """Epochs before the settling ones."""
        return self.epochs - self.settling_epochs


@dataclass(frozen=True)
class RunSettings:
    """Where a run leaves its results."""

    run_dir: str = _field("", "Checkpoints, TensorBoard logs, metrics.json (required).")
    export_dir: str = _field("", "The SavedModel; empty: RUN_DIR/saved_model/1.")
    resume: bool = _field(False, "Go on from the last checkpoint in RUN_DIR, if there is one.")
    overwrite: bool = _field(False, "Start afresh where RUN_DIR holds another run.")


@dataclass(frozen=True)
class Settings:
    """All settings of an experiment."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    run: RunSettings = RunSettings()

    def __post_init__(self):
        for part in self.parts():
            for field in dataclasses.fields(part):
                check(field, getattr(part, field.name))
        if not self.run.run_dir:
            raise UserError("--run_dir is not set, expected a folder for the run's results")
        for part, name, count in (
            (self.data, "frame_size", 2),
            (self.data, "crop", 4),
            (self.training, "profile_updates", 2),
        ):
            value = getattr(part, name)
            if len(value) not in (0, count):
                raise UserError(
                    f"--{name} is {','.join(map(str, value))}, expected {count} numbers"
                )
        for name in ("settling_epochs", "pretraining_epochs"):
            value = getattr(self.training, name)
            if value >= self.training.epochs:
                raise UserError(f"--{name} is {value}, expected less than --epochs")
        if self.training.newtonian_epochs and self.model.model != "cannonball":
            raise UserError(
                f"--newtonian_epochs is {self.training.newtonian_epochs}, expected 0 for "
                f"--model={self.model.model}, which has no objects"
            )
        if self.model.model in ("ae_rnn", "vae_rnn") and not self.training.pretraining_epochs:
            raise UserError(
                f"--pretraining_epochs is 0, expected 1 or more for {self.model.model}, whose "
                "auto-encoder learns in these epochs only"
            )
        if self.training.starts > 1 and not (
            0 < self.training.starting_epochs < self.training.epochs
        ):
            raise UserError(
                f"--starting_epochs is {self.training.starting_epochs}, expected 1 or more and "
                "less than --epochs where --starts is above 1"
            )

    def parts(self) -> tuple:
        """The dataclasses, in order."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def to_dict(self) -> dict[str, object]:
        """Every setting by its flag's name."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for part in self.parts()
            for name, value in dataclasses.asdict(part).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> Settings:
        """Settings from values by flag name; what is absent keeps its default.

        Raises:
          UserError: an unknown name, or a value outside its limits.
        """
        values = dict(values)
        parts = {}
        for part in dataclasses.fields(cls):
            kind = type(part.default)
            names = [field.name for field in dataclasses.fields(kind)]
            parts[part.name] = kind(
                **{
                    name: tuple(value) if isinstance(value, list) else value
                    for name in names
                    if name in values
                    for value in [values.pop(name)]
                }
            )
        if values:
            raise UserError(f"unknown settings: {', '.join(sorted(values))}")
        return cls(**parts)


def check(field: dataclasses.Field, value) -> None:
    """Raises a ``UserError`` that names the flag when a value is outside its limits."""
    choices, least, most = (field.metadata[key] for key in ("choices", "least", "most"))
    if choices is not None and value not in choices:
        known = ", ".join(map(str, choices))
        raise UserError(f"--{field.name} is {value!r}, expected one of {known}")
    numbers = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and not value and field.default:
        raise UserError(f"--{field.name} is empty, expected at least one number")
    for number in numbers:
        too_small = least is not None and not number >= least
        too_large = most is not None and not number <= most
        if too_small or too_large:
            limits = f"at least {least}" if most is None else f"{least} to {most}"
            raise UserError(f"--{field.name} is {number}, expected {limits}")
