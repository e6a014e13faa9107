"""Writes a world to a file: kvae-simulate --dataset=box --output=box.npz (or .gif, .mp4)."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_string("dataset", "box", "The world's name.")
    flags.DEFINE_string("output", None, "PATH.npz; PATH.gif, PATH.mp4 for one sequence; a folder.")
    flags.DEFINE_enum("format", "auto", ["auto", "tfrecord"], "By the output's ending, or shards.")
    flags.DEFINE_integer("shards", 16, "TFRecord files of the training part.", lower_bound=1)
    flags.DEFINE_list("num_sequences", [], "Of the parts of an .npz, TRAIN,VALIDATION,TEST.")
    flags.DEFINE_integer("num_steps", 0, "Frames of a sequence; 0: as the world has them.")
    flags.DEFINE_integer("seed", 0, "Of the simulation.", 0, cli.LARGEST_SEED)
    flags.DEFINE_float("fps", 10.0, "Pictures a second of a film.", lower_bound=0.1)
    flags.mark_flag_as_required("output")


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import simulation

    values = flags.FLAGS
    simulation.write(
        values.dataset,
        Path(values.output),
        values.seed,
        cli.integers("num_sequences"),
        values.num_steps,
        values.fps,
        values.shards if values.format == "tfrecord" else 0,
    )
    print(values.output)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
