"""Films worlds that no config knows and trains them with the recipe: foreign --output=FOLDER."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_string("output", None, "A folder for films, runs, pictures/ and results.json.")
    flags.DEFINE_list("worlds", [], "Names with commas between; empty: all.")
    flags.DEFINE_list("training_flags", [], "Further flags of the training, with commas between.")
    flags.DEFINE_integer("seed", 0, "Of films and trainings.", 0, cli.LARGEST_SEED)
    flags.mark_flags_as_required(["output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import foreign

    values = flags.FLAGS
    worlds = values.worlds or tuple(foreign.WORLDS)
    results = foreign.run(Path(values.output), worlds, values.seed, values.training_flags)
    for world, row in results.items():
        print(f"{world}: {row['verdict']}")


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
