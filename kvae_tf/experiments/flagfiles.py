"""Flagfiles, read by absl; the package's own configs can be named without their folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from kvae_tf.errors import UserError
from kvae_tf.experiments import package_data


def folder() -> Path:
    """The folder of the package's configs: inside of it, or beside it in a clone.

    Raises:
      UserError: there is neither.
    """
    found = package_data.folder("configs")
    if found is None:
        raise UserError("the package's folder configs is missing, expected it inside or beside it")
    return found


def names() -> list[str]:
    """The names of the package's configs."""
    return sorted(path.stem for path in folder().glob("*.cfg"))


def find(name: str) -> str:
    """The path of a flagfile.

    Args:
      name: a file; where there is no such file, one of the package's configs, as ``"pendulum"``,
        ``"pendulum.cfg"`` or ``"configs/pendulum.cfg"``.

    Raises:
      UserError: it is neither.
    """
    found = name if Path(name).is_file() else _find_own(name)
    if found is None:
        known = ", ".join(names())
        raise UserError(f"--flagfile={name} does not exist, expected a file or one of: {known}")
    return found


def expand(arguments: Sequence[str]) -> list[str]:
    """A command line in which each flagfile is replaced by its lines.

    Args:
      arguments: words of the command line, without the program's name.

    Raises:
      UserError: there is no such flagfile.
    """
    return _Reader().read_flags_from_files(list(arguments))


def _find_own(name):
    """The path of one of the package's configs; None where it is none of them."""
    path = Path(name)
    own = folder() / f"{path.name.removesuffix('.cfg')}.cfg"
    return str(own) if str(path.parent) in (".", "configs") and own.is_file() else None


class _Reader(flags.FlagValues):
    """absl's reader of flagfiles, but for where a file is, also one that another file names."""

    def _get_flag_file_lines(self, filename, parsed_file_stack=None):
        if not filename:  # absl passes over it
            return []
        # The package's configs mean each other, whatever the working directory holds.
        inside = parsed_file_stack and Path(parsed_file_stack[-1]).parent == folder()
        path = (_find_own(filename) if inside else None) or find(filename)
        return super()._get_flag_file_lines(path, parsed_file_stack)


def whole_numbers(name: str, words: Sequence[str]) -> tuple[int, ...]:
    """The words of a list flag as numbers.

    Args:
      name: of the flag, for the message.
      words: its values, as absl splits them.

    Raises:
      UserError: one is no whole number; the message names the flag.
    """
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        raise UserError(
            f"--{name} is {','.join(words)!r}, expected whole numbers with commas between"
        ) from None
