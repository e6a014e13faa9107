"""Films a Gymnasium environment: kvae-record --environment=NAME --output=FOLDER."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_string("environment", None, "A name that gymnasium.make knows.")
    flags.DEFINE_string("output", None, "A new folder, for videos/ and actions.csv.")
    flags.DEFINE_integer("episodes", 100, "Videos.", lower_bound=1)
    flags.DEFINE_integer(
        "steps", 60, "Frames of each, unless the episode ends before.", lower_bound=2
    )
    flags.DEFINE_integer("hold", 4, "Steps for which a random action is kept.", lower_bound=1)
    flags.DEFINE_integer("size", 96, "Pixels of a frame's longer side.", lower_bound=8)
    flags.DEFINE_integer("seed", 0, "Of the actions and of the environment.", 0, cli.LARGEST_SEED)
    flags.mark_flags_as_required(["environment", "output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import recording

    values = flags.FLAGS
    recording.record(
        values.environment,
        Path(values.output),
        values.episodes,
        values.steps,
        values.hold,
        values.size,
        values.seed,
    )
    print(values.output)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
