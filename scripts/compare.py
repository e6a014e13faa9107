"""Puts runs beside each other: compare.py --runs=runs/box,runs/box_1 --output=PATH.json."""

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli
from kvae_tf.errors import UserError
from kvae_tf.experiments import compare

flags.DEFINE_list("runs", [], "Folders of finished runs, with commas between.")
flags.DEFINE_string("output", "", "The JSON file to write.")


def main() -> None:
    """Flags to one call."""
    if not flags.FLAGS.output:
        raise UserError("--output is not set, expected a JSON file to write")
    compare.compare([Path(run) for run in flags.FLAGS.runs], Path(flags.FLAGS.output))


if __name__ == "__main__":
    cli.run(main)
