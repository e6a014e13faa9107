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
    flags.DEFINE_integer(
        "min_steps", 2, "Frames that a video has at least; shorter episodes are dropped.", 2
    )
    flags.DEFINE_integer("warmup", 0, "Steps of an episode before its first frame.", 0)
    flags.DEFINE_string(
        "policy",
        "hold",
        "Random actions, kept for --hold steps (hold) or another one at each step (random); "
        "or PATH.py, a file with a function act(observation, step, action_space, rng).",
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
    summary = recording.record(
        values.environment,
        Path(values.output),
        values.episodes,
        values.steps,
        values.hold,
        values.size,
        values.seed,
        values.policy,
        values.min_steps,
        values.warmup,
    )
    print(f"{values.output}: {summary}")


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
