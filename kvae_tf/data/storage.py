"""Atomic writing of files and folders: under a temporary name, renamed when complete.

A temporary name is ``.NAME.RANDOM.tmp`` beside the target. It is new, so that nothing that lies
there can be written through. What a killed process leaves behind is removed by the next write to
the same target, a day later at the earliest.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import glob
import io
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kvae_tf.errors import UserError

_DAY = 24 * 60 * 60  # seconds
_RANDOM = 8  # bytes of a temporary name, as two letters each


def make_folder(path: str | os.PathLike, flag: str) -> Path:
    """Creates a folder and checks that files can be written there.

    Args:
      path: the folder.
      flag: name of the flag that sets the folder, for the message.

    Raises:
      UserError: the folder cannot be created or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"--{flag}={path}: cannot write there ({error.strerror}), expected a writable folder"
        ) from None
    return path


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """A new, empty file to write to, which replaces ``path`` when the block ends without an error.

    The folder is created. Whatever was at ``path`` stays there where there is an error. The file
    has the permissions of any other new file of the process.

    Raises:
      UserError: the file cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    with _one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path, "tmp")
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _clear(path)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file atomically; its folder is created."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in UTF-8 atomically; its folder is created."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: object) -> None:
    """Writes JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: str | os.PathLike, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Writes a CSV table atomically: a line of column names, then a line for each row."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())


def read_json(path: str | os.PathLike, expected: str) -> dict:
    """The contents of a JSON file that holds an object.

    Args:
      path: the file.
      expected: what the file should be, in words, for the messages.

    Raises:
      UserError: the file is missing, no JSON, or holds something else than an object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist, expected {expected}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}), expected {expected}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON, expected {expected}") from None
    if not isinstance(value, dict):
        raise UserError(
            f"{path} holds {json.dumps(value)[:40]}, expected {expected}: names and values"
        )
    return value


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary folder, which replaces ``path`` when the block ends without an error.

    Until then, and after an error, an older folder at ``path`` stays as it is.

    Raises:
      UserError: the folder cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    with _one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, old = _beside(path, "tmp"), _beside(path, "old")
        temporary.mkdir()
        try:
            yield temporary
            if path.exists():
                os.replace(path, old)
            try:
                os.replace(temporary, path)
            except OSError:
                if old.exists():
                    os.replace(old, path)
                raise
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _clear(path)


def clear(folder: Path) -> None:
    """Removes what killed processes left in a folder and below it; nobody else may write there."""
    for left in list(folder.rglob(".*")):
        if re.fullmatch(rf"\..*\.[0-9a-f]{{{2 * _RANDOM}}}\.(tmp|old)", left.name):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()


def full_disk(error: Exception) -> str:
    """The system's words where an error says that the disk or the user's share of it is full.

    Args:
      error: an error of Python, or of TensorFlow, which passes on the words but not the number.

    Returns:
      For example ``"No space left on device"``; empty for any other error.
    """
    words = (os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
    return next((text for text in words if text in str(error)), "")


@contextlib.contextmanager
def _one_line(path):
    """Turns what the system says of a failed write into a ``UserError``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _beside(path, end):
    """A name beside ``path`` that nobody can foresee."""
    return path.with_name(f".{path.name}.{secrets.token_hex(_RANDOM)}.{end}")


def _clear(path):
    """Removes what killed processes left when they wrote ``path``, a day ago or earlier."""
    names = f".{glob.escape(path.name)}.{'[0-9a-f]' * 2 * _RANDOM}"
    for left in [*path.parent.glob(f"{names}.tmp"), *path.parent.glob(f"{names}.old")]:
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _DAY:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
