"""Trains many runs.

kvae-sweep --config=configs/box.cfg --grid="seed=0,1;epochs=2,4" --sweep_dir=runs/s
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli
from kvae_tf.errors import UserError


def define() -> None:
    """The flags."""
    flags.DEFINE_string("config", None, "The flagfile of all runs, or a config's name.")
    flags.DEFINE_string("sweep_dir", None, "Where the runs and results.csv go.")
    flags.DEFINE_string("grid", "", "Every combination of: NAME=VALUE,VALUE;NAME=VALUE.")
    flags.DEFINE_string("random", "", "Random draws of: NAME=log:LOW:HIGH;NAME=VALUE,VALUE.")
    flags.DEFINE_integer("draws", 10, "How many, with --random.", lower_bound=1)
    flags.DEFINE_integer("draw_seed", 0, "Of the draws.", 0, cli.LARGEST_SEED)
    flags.DEFINE_multi_string("set", [], "A flag of all runs, as --set=epochs=3.")
    flags.DEFINE_multi_string(
        "plugin", [], "PATH.py, or a module, that each run imports for its model."
    )
    flags.DEFINE_integer("jobs", 1, "Runs at the same time.", lower_bound=1)
    flags.mark_flags_as_required(["config", "sweep_dir"])


def call() -> None:
    """Flags to one call."""
    values = flags.FLAGS
    if bool(values.grid) == bool(values.random):
        raise UserError("expected either --grid or --random")
    cli.import_tensorflow_quietly()
    from kvae_tf.experiments import sweep

    if values.grid:
        points = sweep.grid(values.grid)
    else:
        points = sweep.draws(values.random, values.draws, values.draw_seed)
    fixed = [f"--plugin={place}" for place in values.plugin]
    fixed += [f"--{text}" for text in values.set]
    print(sweep.run(values.config, points, Path(values.sweep_dir), fixed, values.jobs))


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
