"""A run as one HTML page: report.py --run=runs/box [--output=PATH.html]."""

from pathlib import Path

from kvae_tf.apps import cli

cli.import_tensorflow_quietly()

from absl import flags  # noqa: E402

from kvae_tf.visualisation import report  # noqa: E402

flags.DEFINE_string("run", None, "A run's folder, or that of an export.")
flags.DEFINE_string("output", "", "The HTML file; empty: report.html in that folder.")
flags.mark_flag_as_required("run")


def main() -> None:
    """Flags to one call."""
    folder = Path(flags.FLAGS.run)
    output = Path(flags.FLAGS.output or folder / "report.html")
    report.write(folder, output)
    print(output)


if __name__ == "__main__":
    cli.run(main)
