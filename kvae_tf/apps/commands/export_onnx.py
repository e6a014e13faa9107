"""Writes filter_step of a KVAE as an ONNX file, and compares it with the model.

python -m kvae_tf.apps.commands.export_onnx --saved_model=saved_models/box/1 --output=PATH

It needs `pip install 'kvae_tf[edge]'`, and the weights beside the export.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define() -> None:
    """The flags."""
    flags.DEFINE_string("saved_model", None, "An export, a run, or the name of a model.")
    flags.DEFINE_string("output", None, "A folder for filter_step.onnx.")
    flags.mark_flags_as_required(["saved_model", "output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import edge
    from kvae_tf.data import storage
    from kvae_tf.experiments.load import load
    from kvae_tf.export import onnx_file

    model = load(flags.FLAGS.saved_model, trainable=True)
    path = storage.make_folder(Path(flags.FLAGS.output), "output") / "filter_step.onnx"
    onnx_file.convert_step(model, path)
    print(f"{path}: {edge.comparison(model, path)}")


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
