"""Writes a world to a file: simulate.py --dataset=box --output=box.npz (or .gif, .mp4)."""

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli

flags.DEFINE_string("dataset", "box", "The world's name.")
flags.DEFINE_string("output", None, "PATH.npz; PATH.gif, PATH.mp4 for one sequence; a folder.")
flags.DEFINE_enum("format", "auto", ["auto", "tfrecord"], "By the output's ending, or shards.")
flags.DEFINE_integer("shards", 16, "TFRecord files of the training part.", lower_bound=1)
flags.DEFINE_list("num_sequences", [], "Of the parts of an .npz, TRAIN,VALIDATION,TEST.")
flags.DEFINE_integer("num_steps", 0, "Frames of a sequence; 0: as the world has them.")
flags.DEFINE_integer("seed", 0, "Of the simulation.", lower_bound=0)
flags.DEFINE_float("fps", 10.0, "Pictures a second of a film.", lower_bound=0.1)
flags.mark_flag_as_required("output")


def main() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import simulation
    from kvae_tf.experiments import flags as settings_flags

    values = flags.FLAGS
    simulation.write(
        values.dataset,
        Path(values.output),
        values.seed,
        settings_flags.integers("num_sequences"),
        values.num_steps,
        values.fps,
        values.shards if values.format == "tfrecord" else 0,
    )
    print(values.output)


if __name__ == "__main__":
    cli.run(main)
