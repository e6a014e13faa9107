"""Trains a model: python scripts/train.py --flagfile=configs/pendulum.cfg."""

from kvae_tf import cli

cli.import_tensorflow_quietly()

from kvae_tf import experiment, flags  # noqa: E402


def main() -> None:
    """Flags to one call."""
    experiment.run(flags.settings())


if __name__ == "__main__":
    flags.define()
    cli.run(main)
