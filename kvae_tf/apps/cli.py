"""What every command shares: quiet start, help, one line for bad input, a telling exit status.

Import this module before TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable

from absl import app, flags, logging

from kvae_tf.apps import helptext
from kvae_tf.errors import UserError
from kvae_tf.experiments import flagfiles

LARGEST_SEED = 2**32 - 1  # that of data.settings, which takes TensorFlow to import
_HELP = ("--help", "-help", "-h", "-?", "--helpshort", "-helpshort")

Sections = dict[str, list[helptext.Entry]]


class TerminatedError(KeyboardInterrupt):
    """The system asked the process to end (SIGTERM), as at the end of a batch job."""


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


def run(
    call: Callable[[], None],
    define: Callable[[], None] = lambda: None,
    description: str = "",
    sections: Callable[[list[str]], Sections] | None = None,
) -> None:
    """Defines and parses the flags, calls ``call`` and exits.

    Bad flags and ``UserError`` print one line to stderr and exit with status 1; other exceptions
    keep their traceback. Ctrl-C and SIGTERM print one line, with what is kept, and exit with status
    130 and 143. ``--help`` prints the command's own flags and exits with status 0.

    Args:
      call: flags to one call.
      define: defines the command's flags.
      description: what ``--help`` says first.
      sections: what ``--help`` lists by title, from the words of the command line with flagfiles
        in full; None: the flags that ``define`` defined.
    """
    warnings.showwarning = _warn
    signal.signal(signal.SIGTERM, _terminate)

    def parse(arguments):
        words = flagfiles.expand(arguments[1:])
        if any(word in _HELP for word in words):
            listed = sections(words) if sections else {"Flags": own_flags()}
            print(helptext.page(description, listed), end="")
            sys.exit(0)
        return _parse([arguments[0], *words])

    try:
        define()
        app.run(_guarded(call), flags_parser=_refusing(parse))
    except (UserError, flags.Error) as error:
        fail(error)
    except KeyboardInterrupt as end:
        # On a line of its own, after the unfinished one of Keras' progress bar.
        print("\n" * sys.stdout.isatty(), end="", flush=True)
        print(f"interrupted: {_line(end) or 'nothing more is written'}", file=sys.stderr)
        sys.exit(143 if isinstance(end, TerminatedError) else 130)


def own_flags() -> list[helptext.Entry]:
    """The flags that the command defined, without those of absl and TensorFlow."""
    modules = flags.FLAGS.flags_by_module_dict()
    # absl knows the module that Python was started with by the name of its file.
    ours = [name for name in modules if name.startswith("kvae_tf.") or name == sys.argv[0]]
    return [helptext.of_flag(flag) for name in ours for flag in modules[name]]


def define_plugins() -> None:
    """Defines ``--plugin`` and imports what the command line names there; TensorFlow, too.

    Raises:
      UserError: there is no such file or module.
    """
    import_tensorflow_quietly()
    from kvae_tf.experiments import flags as settings_flags

    settings_flags.define_plugin()
    settings_flags.load_plugins(sys.argv[1:])


def integers(name: str) -> tuple[int, ...]:
    """The whole numbers of a parsed list flag.

    Raises:
      UserError: it holds something else; the message names the flag.
    """
    return flagfiles.whole_numbers(name, flags.FLAGS[name].value)


def _warn(message, category, filename, lineno, file=None, line=None):
    """Warnings as one line, without the place in the code, which a user did not write."""
    print(f"warning: {_line(message)}", file=sys.stderr)


def fail(error: Exception) -> None:
    """Prints ``error: …`` as one line and exits with status 1."""
    print(f"error: {_line(error)}", file=sys.stderr)
    sys.exit(1)


def _line(message):
    return " ".join(str(message).split())


def _terminate(number, frame):
    raise TerminatedError


def _parse(arguments):
    known = [flags.FLAGS[name] for name in flags.FLAGS]
    required = [flag for flag in known if helptext.is_required(flag)]
    try:
        rest = flags.FLAGS(arguments)
    except (flags.Error, ValueError) as error:  # absl has both
        # Once all words are read, what absl refuses is what is missing.
        missing = [f for f in required if f.value is None] if flags.FLAGS.is_parsed() else []
        for flag in missing:
            raise UserError(f"--{flag.name} is not set, but required: {flag.help}") from None
        raise UserError(str(error)) from None
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}, expected flags only (--name=value)")
    return rest


def _refusing(parse):
    """Bad flags as one line, where absl would add its own help."""

    def refuse(arguments):
        try:
            return parse(arguments)
        except (UserError, flags.Error) as error:
            fail(error)

    return refuse


def _guarded(main):
    def call(arguments):
        del arguments
        try:
            main()
        except UserError as error:
            fail(error)

    return call
