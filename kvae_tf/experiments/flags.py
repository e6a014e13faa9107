"""Command-line flags made from the settings, and settings made from the flags."""

from __future__ import annotations

import dataclasses
import sys

from absl import flags

from kvae_tf.errors import UserError
from kvae_tf.experiments.settings import Settings, fields, parts


def define() -> None:
    """Defines a flag for every setting of every model.

    None of them has a default of its own: what is not said keeps the default of the settings.
    """
    for field in fields().values():
        _define(field)


def settings() -> Settings:
    """The settings that the parsed flags say.

    Raises:
      UserError: a value outside its limits, or a flag on the command line that the chosen model
        does not have (in a flagfile such flags are left out); the message names the flag.
    """
    known = fields()
    values = {name: flags.FLAGS[name].value for name in known if flags.FLAGS[name].present}
    for name, value in values.items():
        if isinstance(known[name].default, tuple):
            values[name] = _integers(name, value)
    model = values.get("model", known["model"].default)
    own = {"model"} | {f.name for kind in parts(model).values() for f in dataclasses.fields(kind)}
    for name in values:
        if name not in own and _is_on_command_line(name):
            raise UserError(f"--{name} is set, but --model={model} has no such setting")
    return Settings.from_dict(values)


def _is_on_command_line(name):
    words = [word.partition("=")[0].lstrip("-") for word in sys.argv[1:] if word.startswith("-")]
    return name in words or f"no{name}" in words


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


def _define(field):
    name, default, text = field.name, field.default, field.metadata["help"]
    if field.metadata["choices"] and isinstance(default, str):
        flags.DEFINE_enum(name, None, list(field.metadata["choices"]), text)
        return
    define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        tuple: flags.DEFINE_list,
    }[type(default)]
    define(name, None, text)


def _integers(name, words):
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        raise UserError(
            f"--{name} is {','.join(words)!r}, expected whole numbers with commas between"
        ) from None
