"""Writes the results tables of README.md from the metrics files under saved_models/."""

from pathlib import Path

from kvae_tf import cli, results_table

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Paths to one call."""
    results_table.update(ROOT / "README.md", ROOT / "saved_models")


if __name__ == "__main__":
    cli.run(main)
