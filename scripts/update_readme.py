"""Writes the results tables of README.md and docs/ from the metrics files under saved_models/."""

from pathlib import Path

from kvae_tf.apps import cli

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Paths to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.experiments import results_tables

    results_tables.update(ROOT / "README.md", ROOT / "saved_models")


if __name__ == "__main__":
    cli.run(main)
