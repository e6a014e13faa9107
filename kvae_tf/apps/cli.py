"""What every script shares: quiet start, one line for bad input, an exit status that tells.

Import this module before TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable

from absl import app, flags, logging

from kvae_tf.errors import UserError


@contextlib.contextmanager
def _silent_stderr():
    """TensorFlow's libraries write start-up notes to the file descriptor, past Python's reach."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its start-up notes; errors still raise."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()  # the driver's notes come with the first look
    tf.get_logger().setLevel("ERROR")
    logging.set_verbosity(logging.ERROR)


def run(main: Callable[[], None]) -> None:
    """Parses the flags, calls ``main`` and exits.

    Bad flags and ``UserError`` print one line to stderr and exit with status 1; other exceptions
    keep their traceback.
    """
    warnings.showwarning = _warn
    try:
        app.run(_guarded(main), flags_parser=_parse)
    except UserError as error:
        fail(error)


def _warn(message, category, filename, lineno, file=None, line=None):
    """Warnings as one line, without the place in the code, which a user did not write."""
    print("warning: " + " ".join(str(message).split()), file=sys.stderr)


def fail(error: Exception) -> None:
    """Prints ``error: …`` as one line and exits with status 1."""
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    sys.exit(1)


def _parse(arguments):
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        fail(error)
    if len(rest) > 1:
        fail(UserError(f"unexpected argument {rest[1]!r}, expected flags only (--name=value)"))
    return rest


def _guarded(main):
    def call(arguments):
        del arguments
        try:
            main()
        except UserError as error:
            fail(error)

    return call
