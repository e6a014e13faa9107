"""A run as one HTML page: kvae-report --run=runs/box [--output=PATH.html]."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_string("run", None, "A run's folder, or that of an export.")
    flags.DEFINE_string("output", "", "The HTML file; empty: report.html in that folder.")
    flags.mark_flag_as_required("run")


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.experiments import report

    folder = Path(flags.FLAGS.run)
    output = Path(flags.FLAGS.output or folder / "report.html")
    report.write(folder, output)
    print(output)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
