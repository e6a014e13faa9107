"""Scripts as a user calls them, many in one process that has TensorFlow imported already."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

# Reads command lines, and runs each in a child of its own: nothing passes from one to the next.
_PARENT = """
import json, os, runpy, sys, traceback
from kvae_tf.apps import cli
cli.import_tensorflow_quietly()
from kvae_tf.experiments import run, targets
name, folder = sys.argv[1], sys.argv[2]
for number, arguments in enumerate(json.load(sys.stdin)):
    child = os.fork()
    if not child:
        for stream in (1, 2):
            path = os.path.join(folder, f"{number}.{stream}")
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
        sys.argv = [f"scripts/{name}.py", *arguments]
        status = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
            status = 2
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # at once: TensorFlow takes its time to tidy up
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Result(NamedTuple):
    """What a command left: its exit status and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(name: str, *arguments) -> subprocess.CompletedProcess:
    """Runs ``scripts/NAME.py`` with these arguments."""
    command = [sys.executable, f"scripts/{name}.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def run_many(name: str, commands: list[list[str]], folder: Path) -> list[Result]:
    """Runs ``scripts/NAME.py`` with each list of arguments.

    Args:
      name: of the script.
      commands: their arguments; none may compute with TensorFlow for long, they run one by one.
      folder: for what they print.
    """
    parent = subprocess.run(
        [sys.executable, "-c", _PARENT, name, str(folder)], input=json.dumps(commands),
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert parent.returncode == 0, parent.stderr
    return [
        Result(int(status), *((folder / f"{i}.{stream}").read_text() for stream in (1, 2)))
        for i, status in enumerate(parent.stdout.split())
    ]
