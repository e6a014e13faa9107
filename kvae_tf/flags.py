"""Command-line flags made from the settings, and settings made from the flags."""

from __future__ import annotations

import dataclasses
import typing

from absl import flags

from kvae_tf.errors import UserError
from kvae_tf.settings import Settings


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
