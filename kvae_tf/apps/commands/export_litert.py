"""Writes the encoder and decoder of an export as LiteRT.

python -m kvae_tf.apps.commands.export_litert --saved_model=saved_models/box/1 --output=PATH
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_string("saved_model", None, "An export's version folder, as saved_models/box/1.")
    flags.DEFINE_string("output", None, "A folder for encoder.tflite and decoder.tflite.")
    flags.mark_flags_as_required(["saved_model", "output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.data import storage
    from kvae_tf.export import litert
    from kvae_tf.export.loading import LoadedModel

    model = LoadedModel(flags.FLAGS.saved_model)
    folder = storage.make_folder(Path(flags.FLAGS.output), "output")
    for path in litert.convert(model, folder):
        print(path)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
