"""Command-line flags made from the settings, and settings made from the flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags

from kvae_tf.errors import UserError
from kvae_tf.experiments import flagfiles
from kvae_tf.experiments.settings import check_own, fields
from kvae_tf.models import registry


def define(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for every setting of every model.

    None of them has a default of its own: what is not said keeps the default of the settings. Nor
    has it choices: models that share a setting may differ in them, and settings check themselves.

    Args:
      flag_values: where the flags are defined; by default among those of the command line.
    """
    for field in fields().values():
        _DEFINE[type(field.default)](
            field.name, None, field.metadata["help"], flag_values=flag_values
        )


def checked() -> dict[str, object]:
    """The settings that the parsed flags set, by flag name.

    Raises:
      UserError: a value outside its limits, or a flag on the command line that the chosen model
        does not have (in a flagfile such flags are left out); the message names the flag.
    """
    values = given(flags.FLAGS)
    model = values.get("model", fields()["model"].default)
    check_own(model, filter(is_on_command_line, values))
    return values


def given(flag_values: flags.FlagValues) -> dict[str, object]:
    """The settings that parsed flags set, by flag name; what they do not set is absent.

    Args:
      flag_values: flags that ``define`` defined.

    Raises:
      UserError: a list holds something else than whole numbers; the message names the flag.
    """
    known = fields()
    values = {name: flag_values[name].value for name in known if flag_values[name].present}
    for name, value in values.items():
        if isinstance(known[name].default, tuple):
            values[name] = flagfiles.whole_numbers(name, value)
    return values


def define_plugin(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flag ``--plugin``.

    Args:
      flag_values: where the flag is defined; by default among those of the command line.
    """
    text = "PATH.py, or a module, with a model of your own that it registers."
    flags.DEFINE_multi_string("plugin", [], text, flag_values=flag_values)


def load_plugins(arguments: Sequence[str]) -> None:
    """Imports what a command line names as ``--plugin``, in a flagfile or by itself.

    Args:
      arguments: words of the command line, without the program's name; other flags are ignored.

    Raises:
      UserError: there is no such file, module or flagfile.
    """
    own = flags.FlagValues()
    define_plugin(own)
    own.set_gnu_getopt(True)
    own(["", *flagfiles.expand(arguments)], known_only=True)
    for place in own["plugin"].value:
        registry.load_plugin(place)


def read(arguments: Sequence[str]) -> dict[str, object]:
    """The settings that a command line sets, by flag name; its plugins are imported.

    Args:
      arguments: words of the command line, without the program's name.

    Raises:
      UserError: a flag, plugin or flagfile is unknown, or a value is of another kind.
    """
    load_plugins(arguments)
    values = flags.FlagValues()
    define(values)
    define_plugin(values)
    try:
        values(["", *flagfiles.expand(arguments)])
    except (flags.Error, ValueError) as error:  # absl has both
        raise UserError(str(error)) from None
    return given(values)


def chosen_model(arguments: Sequence[str]) -> str:
    """The model that a command line chooses, in a flagfile or by itself; other flags are ignored.

    Args:
      arguments: words of the command line, without the program's name.

    Raises:
      UserError: there is no such flagfile.
    """
    own = flags.FlagValues()
    flags.DEFINE_string("model", fields()["model"].default, "The model.", flag_values=own)
    own.set_gnu_getopt(True)
    own(["", *flagfiles.expand(arguments)], known_only=True)
    return own["model"].value


def is_on_command_line(name: str) -> bool:
    """Whether the command line itself names a flag, and not a flagfile.

    Args:
      name: the flag.
    """
    words = [word.partition("=")[0].lstrip("-") for word in sys.argv[1:] if word.startswith("-")]
    return name in words or f"no{name}" in words


_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}
