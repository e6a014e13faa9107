"""The page that ``--help`` prints: a command's own flags, at most 80 columns wide."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from typing import NamedTuple

from absl import flags

_WIDTH = 80


class Entry(NamedTuple):
    """A flag, as the page shows it.

    Attributes:
      name: without dashes.
      text: what the flag does.
      value: what stands for its value, as ``"N"``; empty: the flag is on or off.
      choices: the values that are allowed; empty: any.
      notes: default and limits, or that it is required.
    """

    name: str
    text: str
    value: str
    choices: tuple[str, ...]
    notes: tuple[str, ...]


def of_flag(flag: flags.Flag) -> Entry:
    """The entry of a flag that absl knows."""
    parser, text = flag.parser, re.split(r";\s+repeat this option", flag.help)[0]
    choices = tuple(word for word in getattr(parser, "enum_values", ()) if word)
    if choices:
        text = text.partition(">: ")[2]  # absl puts <the choices> before it
    kinds = {flags.IntegerParser: "N", flags.FloatParser: "X", flags.ListParser: "A,B"}
    value = "" if flag.boolean else kinds.get(type(parser), "TEXT")
    if is_required(flag):
        return Entry(flag.name, text, value, choices, ("required",))
    notes = [_default(flag.default)]
    notes += _limits(*(getattr(parser, limit, None) for limit in ("lower_bound", "upper_bound")))
    if isinstance(flag, flags.MultiFlag):
        notes.append("may be repeated")
    return Entry(flag.name, text, value, choices, tuple(notes))


def of_field(field: dataclasses.Field) -> Entry:
    """The entry of a setting, a field made by ``data.settings.setting``."""
    default = field.default
    kinds = {bool: "", int: "N", float: "X", str: "TEXT", tuple: "N,N"}
    least, most = field.metadata["least"], field.metadata["most"]
    choices = tuple(map(str, field.metadata["choices"] or ()))
    text, is_needed, _ = field.metadata["help"].partition(" (required)")
    notes = ("required",) if is_needed else (_default(default), *_limits(least, most))
    return Entry(field.name, text, kinds[type(default)], choices, notes)


def is_required(flag: flags.Flag) -> bool:
    """Whether absl refuses a command line without this flag."""
    if flag.default is not None:
        return False
    try:
        for validator in flag.validators:
            validator.verify(flags.FLAGS)
    except flags.ValidationError:
        return True
    return False


def page(description: str, sections: dict[str, list[Entry]]) -> str:
    """The whole page.

    Args:
      description: paragraphs, what the command does.
      sections: titles and the flags below them.
    """
    paragraphs = [_wrap(part, "") for part in description.strip().split("\n\n")]
    for title, entries in sections.items():
        paragraphs.append("\n".join([_wrap(f"{title}:", ""), *map(_entry, entries)]))
    end = "--flagfile=PATH reads flags from a file, a flag a line; --helpfull lists absl's, too."
    return "\n\n".join([*paragraphs, _wrap(end, "")]) + "\n"


def _entry(entry):
    usage = f"  --{entry.name}=" + ("|".join(entry.choices) or entry.value)
    text = entry.text
    if not entry.value:
        usage = f"  --[no]{entry.name}"
    elif len(usage) > _WIDTH:
        usage = f"  --{entry.name}={entry.value}"
        text += f" One of: {', '.join(entry.choices)}."
    return f"{usage}\n" + _wrap(f"{text} ({'; '.join(entry.notes)})", " " * 6)


def _default(value):
    if isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    words = {None: "none", "": "empty", True: "on", False: "off"}
    known = isinstance(value, (bool, str, type(None))) and value in words
    return f"default: {words[value] if known else value}"


def _limits(least, most):
    if least is None and most is None:
        return ()
    if most is None:
        return (f"at least {least}",)
    return (f"at most {most}" if least is None else f"{least} to {most}",)


def _wrap(text, indent):
    return textwrap.fill(
        " ".join(text.split()), _WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
