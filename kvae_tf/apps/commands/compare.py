"""Puts runs beside each other: kvae-compare --runs=runs/box,runs/box_1 --output=PATH.json."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_list("runs", None, "Folders of finished runs, with commas between.")
    flags.DEFINE_string("output", None, "The JSON file to write.")
    flags.mark_flags_as_required(["runs", "output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.experiments import compare

    compare.compare([Path(run) for run in flags.FLAGS.runs], Path(flags.FLAGS.output))


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
