"""Measures the least error possible on hidden frames of worlds whose simulator is known.

python scripts/floor.py --worlds=box,gravity --output=kvae_tf/studies/bayes_floor.json

That file is the one that reports and tables read. A bouncing ball takes about four minutes on a
core, several balls that fall one.
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_list("worlds", ["box", "gravity"], "Names with commas between.")
    flags.DEFINE_integer("test_sequences", 1000, "Number of test sequences.", 1)
    flags.DEFINE_integer("seed", 0, "Of the draws; sequences and masks keep theirs.", 0,
                         cli.LARGEST_SEED)  # fmt: skip
    flags.DEFINE_string("output", None, "A JSON file, to which worlds are added.", required=True)


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.data import storage
    from kvae_tf.errors import UserError
    from kvae_tf.studies.least_error import MEASURES

    values = flags.FLAGS
    for world in values.worlds:
        if world not in MEASURES:
            raise UserError(f"--worlds has {world!r}, expected some of {', '.join(MEASURES)}")
    output = Path(values.output)
    storage.make_folder(output.parent, "output")
    results = storage.read_json(output, "results of this command") if output.exists() else {}
    for world in values.worlds:
        results[world] = MEASURES[world](world, values.test_sequences, values.seed)
        storage.write_json(output, results)
        print(f"{world}: {json.dumps(results[world])}", flush=True)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
