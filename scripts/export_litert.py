"""Encoder, decoder as LiteRT: export_litert.py --saved_model=saved_models/box/1 --output=PATH."""

from pathlib import Path

from kvae_tf.apps import cli

cli.import_tensorflow_quietly()

from absl import flags  # noqa: E402

from kvae_tf.data import storage  # noqa: E402
from kvae_tf.export import litert  # noqa: E402
from kvae_tf.export.loading import LoadedModel  # noqa: E402

flags.DEFINE_string("saved_model", None, "An export's version folder, as saved_models/box/1.")
flags.DEFINE_string("output", None, "A folder for encoder.tflite and decoder.tflite.")
flags.mark_flags_as_required(["saved_model", "output"])


def main() -> None:
    """Flags to one call."""
    model = LoadedModel(flags.FLAGS.saved_model)
    folder = storage.make_folder(Path(flags.FLAGS.output), "output")
    for path in litert.convert(model, folder):
        print(path)


if __name__ == "__main__":
    cli.run(main)
