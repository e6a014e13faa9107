"""Scripts as a user calls them, in children of one process that has TensorFlow imported already.

TensorFlow Probability cannot be imported there: no script needs it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

# Reads jobs, and runs each in a child of its own: nothing passes from one to the next.
_PARENT = """
import json, os, runpy, sys, traceback
for name in ("tensorflow_probability", "tf_keras"):
    sys.modules[name] = None  # importing it is a ModuleNotFoundError
from kvae_tf.apps import cli
cli.import_tensorflow_quietly()
from kvae_tf.experiments import run, targets
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        for stream in (0, 1, 2):
            flags = os.O_WRONLY if stream else os.O_RDONLY
            os.dup2(os.open(job["streams"][stream], flags), stream)
        os.chdir(job["cwd"])
        sys.argv = job["arguments"]
        status = 0
        try:
            if job["code"] is None:
                runpy.run_path(sys.argv[0], run_name="__main__")
            else:
                exec(compile(job["code"], "<code>", "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
            status = 2
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # at once: TensorFlow takes its time to tidy up
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

# Ends a script where its flags are read, and what they name is looked up.
_READ = """
import runpy, sys
from absl import app, flags
from kvae_tf import data, studies
from kvae_tf.apps import cli
from kvae_tf.studies.least_error import MEASURES
from kvae_tf.errors import UserError
from kvae_tf.experiments import initial, sweep
from kvae_tf.experiments import flags as settings_flags
from kvae_tf.experiments.settings import Settings

def read(call, flags_parser):
    flags_parser(sys.argv)
    values = flags.FLAGS
    if name == "train":
        Settings.from_dict(initial.complete(settings_flags.checked()))
    elif name == "sweep":
        space = sweep.grid(values.grid) if values.grid else sweep.draws(values.random, values.draws)
        words = [f"--{word}" for word in values.set]
        for point in space:
            more = [f"--{flag}={value}" for flag, value in point.items()]
            more = settings_flags.read([f"--flagfile={values.config}", *words, *more])
            more["run_dir"] = values.sweep_dir
            Settings.from_dict(initial.complete(more))
    elif name == "evaluate":
        known(values.experiment, studies.STUDIES)
    elif name == "simulate":
        known([values.dataset], data.WORLDS)
        cli.integers("num_sequences")
    elif name == "floor":
        known(values.worlds, MEASURES)

def known(words, names):
    unknown = set(words) - set(names)
    if unknown:
        raise UserError(f"unknown: {', '.join(unknown)}")

app.run = read
name, *arguments = sys.argv[1:]
sys.argv = [f"scripts/{name}.py", *arguments]
runpy.run_path(sys.argv[0], run_name="__main__")
print("flags:", *(flag for flag in flags.FLAGS))
"""


class Result(NamedTuple):
    """What a command left: its exit status (-SIGNAL where it was killed) and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(name: str, *arguments, cwd: Path = ROOT) -> Result:
    """Runs ``scripts/NAME.py`` with these arguments in the folder ``cwd``."""
    return _run([f"scripts/{name}.py", *map(str, arguments)], None, cwd)


def python(code: str, *arguments, cwd: Path = ROOT) -> Result:
    """Runs Python code, as ``python -c CODE ARGUMENTS`` does, in the folder ``cwd``."""
    return _run(["-c", *map(str, arguments)], code, cwd)


def read(name: str, *arguments) -> Result:
    """Has ``scripts/NAME.py`` read these arguments and check them, without doing its work.

    What it prints last are the names of all its flags.
    """
    return python(_READ, name, *arguments)


def _run(arguments, code, cwd):
    parent = _parent()
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("out", "err")]
        for stream in streams:
            stream.touch()
        job = {"arguments": arguments, "code": code, "cwd": str(cwd),
               "streams": [os.devnull, *map(str, streams)]}  # fmt: skip
        parent.stdin.write(json.dumps(job) + "\n")
        parent.stdin.flush()
        status = parent.stdout.readline()
        assert status, "the process that runs commands has ended"
        return Result(int(status), *(stream.read_text(errors="replace") for stream in streams))


@functools.cache
def _parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    atexit.register(parent.kill)
    return parent
