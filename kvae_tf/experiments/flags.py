"""Command-line flags made from the settings, and settings made from the flags."""

from __future__ import annotations

import dataclasses
import typing

from absl import flags

from kvae_tf.errors import UserError
from kvae_tf.experiments.settings import Settings


def define() -> None:
    """Defines a flag for every field of every part of ``Settings``."""
    for part in Settings.__dataclass_fields__.values():
        kind = type(part.default)
        types = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            _define(field, types[field.name])


def settings() -> Settings:
    """The settings that the parsed flags say.

    Raises:
      UserError: a value outside its limits; the message names the flag.
    """
    values = {}
    for part in Settings.__dataclass_fields__.values():
        kind = type(part.default)
        types = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            value = flags.FLAGS[field.name].value
            if types[field.name] == tuple[int, ...]:
                value = _integers(field.name, value)
            values[field.name] = value
    return Settings.from_dict(values)


def define_video() -> None:
    """Defines the flags of scripts that answer about one video."""
    flags.DEFINE_string("saved_model", None, "An export's version folder, as saved_models/box/1.")
    flags.DEFINE_string("video", None, "A video, a folder of pictures, or an .npz or HDF5 file.")
    flags.DEFINE_integer("sequence", 0, "Which sequence of an .npz or HDF5 file.")
    flags.DEFINE_list("crop", [], "TOP,LEFT,HEIGHT,WIDTH of the part to keep, before resizing.")
    flags.DEFINE_string("annotations", "", "A CSV file: frame, observed, one column a control.")
    flags.DEFINE_string("output", None, "A folder for film, strip.png, frames.npz, latents.csv.")
    flags.DEFINE_enum("format", "gif", ["gif", "mp4"], "Of the film.")
    flags.DEFINE_float("fps", 10.0, "Pictures a second.", lower_bound=0.1)
    flags.mark_flags_as_required(["saved_model", "video", "output"])


def integers(name: str) -> tuple[int, ...]:
    """The whole numbers of a parsed list flag.

    Raises:
      UserError: it holds something else; the message names the flag.
    """
    return _integers(name, flags.FLAGS[name].value)


def _define(field, kind):
    name, default, text = field.name, field.default, field.metadata["help"]
    if kind is bool:
        flags.DEFINE_bool(name, default, text)
    elif kind is int:
        flags.DEFINE_integer(name, default, text)
    elif kind is float:
        flags.DEFINE_float(name, default, text)
    elif kind is str and field.metadata["choices"]:
        flags.DEFINE_enum(name, default, list(field.metadata["choices"]), text)
    elif kind is str:
        flags.DEFINE_string(name, default, text)
    else:
        flags.DEFINE_list(name, ",".join(map(str, default)), text)


def _integers(name, words):
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        raise UserError(
            f"--{name} is {','.join(words)!r}, expected whole numbers with commas between"
        ) from None
