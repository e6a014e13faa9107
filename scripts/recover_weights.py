"""Writes weights, and scores of good frames, beside exports of earlier versions.

python scripts/recover_weights.py saved_models/*/1
"""

import sys
from pathlib import Path

from kvae_tf.apps import cli


def main() -> None:
    """Paths to one call each."""
    cli.import_tensorflow_quietly()
    from kvae_tf.experiments import recover

    for path in map(Path, paths):
        found = recover.recover(path)
        print(path, *(f"{name} {value:.1e}" for name, value in found.items()))


if __name__ == "__main__":
    paths = [word for word in sys.argv[1:] if not word.startswith("-")]
    sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word.startswith("-"))]
    cli.run(main, description=__doc__)
