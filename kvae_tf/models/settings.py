"""The settings that models share: small dataclasses, of which a model's own settings are made.

A model's own settings are a dataclass beside its class that inherits what it needs from here. A
setting of one name has one type and one default in all models, since it is one flag; its help text
may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kvae_tf.data.settings import check, setting
from kvae_tf.errors import UserError

# Pixels' gradients are about 1 / (B T); float16 holds 6e-8 to 6.5e4.
_FLOAT16_SCALE = 1024.0


class SchedulePart(NamedTuple):
    """A part of a training that has the learning-rate schedule to itself.

    Attributes:
      epochs: number of epochs of this part.
      rate: factor of the learning rates in this part, 1 by default.
    """

    epochs: int
    rate: float = 1.0


@dataclass(frozen=True)
class ModelSettings:
    """Base of the settings of all models."""

    @property
    def loss_scale(self) -> float:
        """Factor of the loss before gradients are computed, 1 for none; see ``TrainableModel``."""
        return 1.0

    @property
    def calibrate(self) -> bool:
        """Whether the training ends with ``training.calibration``; False by default."""
        return False

    def validate(self, epochs: int, from_scratch: bool = True) -> None:
        """Raises a ``UserError`` where a value is outside its limits.

        Args:
          epochs: number of epochs of the whole training.
          from_scratch: whether the training starts from random weights, and not from those of a
            trained model; True by default.
        """
        del epochs, from_scratch
        check(self)

    def schedule_parts(self, epochs: int) -> list[SchedulePart]:
        """The parts of the training with each of which the learning-rate schedule starts again.

        Args:
          epochs: number of epochs of the whole training.
        """
        return [SchedulePart(epochs)]


def need_epochs(settings: ModelSettings, name: str, needed: str) -> None:
    """Raises a ``UserError`` where a setting has a value that only acts in epochs that are not.

    Args:
      settings: settings of a model.
      name: name of the setting; its default does nothing.
      needed: name of the setting that is the number of these epochs.
    """
    value, default = getattr(settings, name), getattr(type(settings), name)
    if value != default and not getattr(settings, needed):
        raise UserError(f"--{name} is {value:g}, expected {default:g}, or --{needed} of 1 or more")


@dataclass(frozen=True)
class FrameSettings(ModelSettings):
    """Frame encoder and decoder, and the likelihood of pixels."""

    network: str = setting("mlp", "Frame encoder and decoder.", choices=("mlp", "cnn"))
    units: tuple[int, ...] = setting(
        (128, 128), "Widths of the dense layers, or filters of the convolutions.", least=1
    )
    likelihood: str = setting(
        "bernoulli", "Distribution of pixels.", choices=("bernoulli", "gaussian")
    )
    per_pixel_std: bool = setting(
        True, "Gaussian pixels: one learned standard deviation per pixel, else one for all."
    )
    variance_floor: float = setting(1e-4, "Gaussian pixels: the smallest variance.", least=1e-8)
    precision: str = setting(
        "float32",
        "Of the frame networks' inner layers; the dynamics stay in float32. bfloat16 is faster "
        "where the processor has it, float16 on older GPUs.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        of_training=True,
    )

    @property
    def loss_scale(self) -> float:
        """1024 where gradients are float16, else 1."""
        return _FLOAT16_SCALE if self.precision == "mixed_float16" else 1.0


@dataclass(frozen=True)
class EncodingSettings(ModelSettings):
    """Encodings of single frames."""

    encoding_size: int = setting(2, "Dimension m of an encoding a_t.", least=1)
    max_encoding_variance: float = setting(
        0.03, "Upper bound of the encoder's variance.", least=1e-8
    )
    decoded_frames: int = setting(
        0,
        "Number of seen frames of a sequence, drawn at each update, from which the reconstruction "
        "term is estimated; 0: all.",
        least=0,
        of_training=True,
    )


@dataclass(frozen=True)
class NoiseSettings(ModelSettings):
    """Noises of a linear Gaussian state-space model."""

    transition_noise: float = setting(
        0.08, "Variance of the transition noise, Q, or its initial value when learned.", least=1e-8
    )
    emission_noise: float = setting(
        0.03, "Variance of the emission noise, R, or its initial value when learned.", least=1e-8
    )
    initial_variance: float = setting(
        20.0, "Variance of the first latent state, or its initial value when learned.", least=1e-8
    )
    learn_noise: bool = setting(False, "Learn the noise variances.")


@dataclass(frozen=True)
class LatentSettings(ModelSettings):
    """Latent states and the networks of their dynamics."""

    latent_size: int = setting(4, "Dimension n of a latent state z_t.", least=1)
    dynamics_units: int = setting(50, "Width of the recurrent or dynamics network.", least=1)


@dataclass(frozen=True)
class SettlingSettings(ModelSettings):
    """Parts of the training in which some parameters are frozen.

    In the last epochs, the settling epochs, some parameters are frozen and the others go on
    learning with a learning rate of their own.
    """

    frozen_epochs: int = setting(
        0, "Number of first epochs in which a part of the model is frozen.", least=0
    )
    settling_epochs: int = setting(
        0, "Number of last epochs in which a part of the model is frozen.", least=0
    )
    settling_rate: float = setting(
        1.0, "Factor of the learning rates in the --settling_epochs.", least=0.0
    )

    def validate(self, epochs: int, from_scratch: bool = True) -> None:
        """Raises a ``UserError`` where a value is outside its limits."""
        super().validate(epochs, from_scratch)
        if self.settling_epochs >= epochs:
            raise UserError(
                f"--settling_epochs is {self.settling_epochs}, expected less than --epochs"
            )

    def schedule_parts(self, epochs: int) -> list[SchedulePart]:
        """All epochs but the settling ones, and these with their factor of the learning rates."""
        parts = super().schedule_parts(epochs - self.settling_epochs)
        settling = SchedulePart(self.settling_epochs, self.settling_rate)
        return [*parts, settling] if self.settling_epochs else parts

    def settling_start(self, epochs: int) -> int:
        """Number of epochs before the settling epochs; 0 where there are no settling epochs.

        Args:
          epochs: number of epochs of the whole training.
        """
        return epochs - self.settling_epochs if self.settling_epochs else 0


@dataclass(frozen=True)
class NonlinearSettings(FrameSettings, LatentSettings):
    """Non-linear state-space models, whose latent states are decoded to frames."""

    emission_size: int = setting(
        0,
        "Number of first entries of the latent state that the decoder reads; the other entries act "
        "through the transition only; 0: all are read.",
        least=0,
    )
    feature_size: int = setting(
        128, "Width of the features that convolutions take from a frame.", least=1
    )
    initial_variance_floor: float = setting(
        0.01,
        "Gaussian pixels: initial floor of the variance in training.",
        least=1e-8,
        of_training=True,
    )
    floor_epochs: int = setting(
        0,
        "Epochs over which --initial_variance_floor falls geometrically to --variance_floor; 0: "
        "training has --variance_floor from the start.",
        least=0,
    )
    annealing_updates: int = setting(
        0,
        "Updates over which an inverse temperature rises to 1; 0: it is 1.",
        least=0,
        of_training=True,
    )
    annealing_start: float = setting(
        0.01, "Initial value of the inverse temperature.", least=0.0, most=1.0, of_training=True
    )
    annealing_every: int = setting(
        1, "Updates between two steps of the inverse temperature.", least=1, of_training=True
    )
