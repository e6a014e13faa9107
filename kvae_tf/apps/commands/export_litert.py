"""Writes encoder, decoder and filter_step of a model as LiteRT files.

python -m kvae_tf.apps.commands.export_litert --saved_model=saved_models/box/1 --output=PATH

filter_step.tflite is for a KVAE with its weights beside the export. With the packages of
`pip install 'kvae_tf[edge]'` it is compared with the model.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_string("saved_model", None, "An export, a run, or the name of a model.")
    flags.DEFINE_string("output", None, "A folder for the files, each named *.tflite.")
    flags.DEFINE_bool("filter_step", True, "Write filter_step.tflite, too, where the model has it.")
    flags.mark_flags_as_required(["saved_model", "output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import edge
    from kvae_tf.data import storage
    from kvae_tf.experiments.load import load
    from kvae_tf.export import litert

    model = load(flags.FLAGS.saved_model, trainable=flags.FLAGS.filter_step)
    folder = storage.make_folder(Path(flags.FLAGS.output), "output")
    for path in litert.convert(model, folder):
        print(path)
    steps = "filter_step" in model.supports and not model.reads_times
    if flags.FLAGS.filter_step and steps:
        path = folder / "filter_step.tflite"
        litert.convert_step(model, path)
        print(f"{path}: {edge.comparison(model, path)}")


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
