"""What every command shares: quiet start, help, one line for bad input, a telling exit status.

Import this module before TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable

from absl import app, flags, logging

from kvae_tf.apps import helptext
from kvae_tf.errors import UserError
from kvae_tf.experiments import flagfiles

_HELP = ("--help", "-help", "-h", "-?", "--helpshort", "-helpshort")

Sections = dict[str, list[helptext.Entry]]


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
    keep their traceback. ``--help`` prints the command's own flags and exits with status 0.

    Args:
      call: flags to one call.
      define: defines the command's flags.
      description: what ``--help`` says first.
      sections: what ``--help`` lists by title, from the words of the command line with flagfiles
        in full; None: the flags that ``define`` defined.
    """
    warnings.showwarning = _warn

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
    from kvae_tf.models import registry

    text = "PATH.py, or a module, with a model of your own that it registers."
    flags.DEFINE_multi_string("plugin", [], text)
    own = flags.FlagValues()
    flags.DEFINE_multi_string("plugin", [], text, flag_values=own)
    own.set_gnu_getopt(True)
    own(["", *flagfiles.expand(sys.argv[1:])], known_only=True)
    for place in own["plugin"].value:
        registry.load_plugin(place)


def integers(name: str) -> tuple[int, ...]:
    """The whole numbers of a parsed list flag.

    Raises:
      UserError: it holds something else; the message names the flag.
    """
    return flagfiles.whole_numbers(name, flags.FLAGS[name].value)


def _warn(message, category, filename, lineno, file=None, line=None):
    """Warnings as one line, without the place in the code, which a user did not write."""
    print("warning: " + " ".join(str(message).split()), file=sys.stderr)


def fail(error: Exception) -> None:
    """Prints ``error: …`` as one line and exits with status 1."""
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    sys.exit(1)


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
