"""Writes an export's model card anew: kvae-card --saved_model=saved_models/box/1 [--measure]."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    cli.define_plugins()
    flags.DEFINE_string("saved_model", None, "An export's version folder, as saved_models/box/1.")
    flags.DEFINE_bool("measure", False, "Evaluate the export first and write metrics.json anew.")
    flags.mark_flag_as_required("saved_model")


def call() -> None:
    """Flags to one call."""
    from kvae_tf.experiments import cards

    print(cards.rewrite(Path(flags.FLAGS.saved_model), flags.FLAGS.measure))


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
