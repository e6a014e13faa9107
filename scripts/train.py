"""Trains a model: python scripts/train.py --flagfile=configs/pendulum.cfg."""

from kvae_tf.apps import cli

cli.import_tensorflow_quietly()

from kvae_tf.experiments import flags, run  # noqa: E402


def main() -> None:
    """Flags to one call."""
    run.run(flags.settings())


if __name__ == "__main__":
    flags.define()
    cli.run(main)
