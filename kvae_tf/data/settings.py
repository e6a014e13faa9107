"""Declaration and checks of settings; and the settings of the data.

A group of settings is a frozen dataclass with fields made by ``setting``: default, help text and
limits are in one place, from which ``kvae_tf.experiments.flags`` makes flags.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from dataclasses import dataclass

from kvae_tf.data import memory
from kvae_tf.errors import UserError

LARGEST_SEED = 2**32 - 1  # NumPy's older generator, which Keras seeds, takes 32 bits
IN_MEMORY = "<arrays>"  # in place of a path, where the data are no file
VIDEO_ONLY = ("frame_size", "crop", "channels", "window", "stride", "annotations")


def setting(
    default,
    help_text,
    choices=None,
    least=None,
    most=None,
    of_training=False,
    after_training=False,
):
    """A dataclass field for one setting.

    Args:
      default: a bool, int, float, str or tuple of ints, which also sets the type.
      help_text: one sentence on what the setting does.
      choices: allowed values; None: any (default).
      least: smallest allowed number; None: any (default).
      most: largest allowed number; None: any (default).
      of_training: a model's setting that a model which goes on from the weights of another one may
        change, since it concerns the training only; False by default.
      after_training: a model's setting that a resumed run may change, since it only concerns what
        follows the last epoch; False by default.
    """
    metadata = {
        "help": help_text, "choices": choices, "least": least, "most": most,
        "of_training": of_training, "after_training": after_training,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def check(settings) -> None:
    """Raises a ``UserError`` that names the flag where a value is outside its limits.

    Args:
      settings: a dataclass of fields made by ``setting``.
    """
    for field in dataclasses.fields(settings):
        _check_field(field, getattr(settings, field.name))


def _check_field(field, value):
    choices, least, most = (field.metadata[key] for key in ("choices", "least", "most"))
    kind = type(field.default)
    if not _is_kind(value, kind):
        raise UserError(f"--{field.name} is {value!r}, expected {_KINDS[kind]}")
    if choices is not None and value not in choices:
        known = ", ".join(map(str, choices))
        raise UserError(f"--{field.name} is {value!r}, expected one of {known}")
    values = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and not value and field.default:
        raise UserError(f"--{field.name} is empty, expected at least one number")
    for number in values:
        too_small = least is not None and not number >= least
        too_large = most is not None and not number <= most
        if too_small or too_large:
            limits = f"at least {least}" if most is None else f"{least} to {most}"
            raise UserError(f"--{field.name} is {number}, expected {limits}")


_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    tuple: "whole numbers",
}


def _is_kind(value, kind):
    """Whether a value is of the type of a setting's default."""
    if kind is tuple:
        return isinstance(value, tuple) and all(_is_kind(number, int) for number in value)
    if kind in (int, float):
        abstract = numbers.Integral if kind is int else numbers.Real
        is_number = isinstance(value, abstract) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    return isinstance(value, kind)


def check_count(settings, name: str, count: int) -> None:
    """Raises a ``UserError`` where the tuple ``name`` is neither empty nor of length ``count``."""
    value = getattr(settings, name)
    if len(value) not in (0, count):
        raise UserError(f"--{name} is {','.join(map(str, value))}, expected {count} numbers")


@dataclass(frozen=True)
class DataSettings:
    """Where the sequences come from and which frames training may see."""

    dataset: str = setting(
        "pendulum",
        "The name of a simulated world; or a file PATH.npz or PATH.h5 with `images` or `vectors`, "
        "a table PATH.csv, a video, or a folder of pictures, videos or TFRecord shards.",
    )
    cache_dir: str = setting(
        "", "Folder in which simulated worlds are kept; empty: the user's cache folder."
    )
    max_memory: float = setting(
        memory.DEFAULT, "Files: GiB that the arrays or frames of a file may take.", least=0.0
    )
    binarise: bool = setting(False, "Make every pixel 0 or 1: 1 where it is above one half.")
    draw_walls: bool = setting(
        False, "Draw walls and paddles in the worlds box, gravity, polygon and pong."
    )
    path_frames: int = setting(
        0,
        "Worlds box, gravity, polygon and pong: draw the frames at random times from paths of so "
        "many frames; 0: frames follow each other.",
        least=0,
    )
    frame_size: tuple[int, ...] = setting(
        (), "Videos: HEIGHT,WIDTH to which frames are resized; empty: as they are.", least=1
    )
    crop: tuple[int, ...] = setting(
        (), "Videos: TOP,LEFT,HEIGHT,WIDTH of the part that is kept, before resizing.", least=0
    )
    channels: int = setting(1, "Videos: 1 for grey, 3 for colour.", choices=(1, 3))
    window: int = setting(
        0, "Videos: frames of a sequence; 0: all, the shorter ones padded as missing.", least=0
    )
    stride: int = setting(
        0, "Videos: frames from one window's start to the next; 0: --window.", least=0
    )
    annotations: str = setting(
        "", "Videos: a CSV file with columns frame, video, observed, and one for each control."
    )
    missing_rate: float = setting(
        0.0, "Share of the training frames that are hidden at random.", least=0.0, most=1.0
    )
    first_seen: int = setting(3, "Number of first frames that are never hidden.", least=0)
    mixed_rates: bool = setting(
        False,
        "Draw each sequence's rate of hidden frames between 0 and --missing_rate, at each update.",
    )
    fixed_masks: bool = setting(
        False, "Hide the same frames of a sequence in each pass, instead of others."
    )
    curriculum_epochs: int = setting(
        0,
        "Where the data count their objects: epochs that show sequences of one object only, then "
        "as many of up to two, and so on; 0: all sequences from the start.",
        least=0,
    )
    test_sequences: int = setting(
        0, "Number of first test sequences that metrics.json is measured on; 0: all.", least=0
    )

    def validate(self) -> None:
        """Raises a ``UserError`` where a value is outside its limits."""
        check(self)
        check_count(self, "frame_size", 2)
        check_count(self, "crop", 4)
        if self.missing_rate == 1.0 and not self.first_seen:
            raise UserError("--missing_rate is 1, expected less, or --first_seen of at least 1")
        for name in ("mixed_rates", "fixed_masks"):
            if getattr(self, name) and not self.missing_rate:
                raise UserError(
                    f"--{name} is set, expected a --missing_rate above 0, or no --{name}"
                )

    def check_use(self, is_video: bool) -> None:
        """Raises a ``UserError`` where a setting of videos is given for other data.

        Args:
          is_video: whether ``dataset`` is a video, or a folder of pictures or videos.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in VIDEO_ONLY and value != field.default and not is_video:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else value
                raise UserError(
                    f"--{field.name} is {text}, but --dataset={self.dataset} is no video: expected "
                    f"a video, or no --{field.name}"
                )
