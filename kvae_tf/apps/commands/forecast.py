"""Continues a video.

kvae-forecast --saved_model=saved_models/box/1 --video=PATH --steps=40 --output=runs/ahead
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli
from kvae_tf.apps.commands import impute


def define() -> None:
    """The flags."""
    impute.define_video()
    flags.DEFINE_integer("steps", 20, "Frames to forecast.")
    flags.mark_flags_as_required(["saved_model", "video", "output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import videos
    from kvae_tf.data import storage
    from kvae_tf.export.loading import LoadedModel

    values = flags.FLAGS
    model = LoadedModel(values.saved_model)
    clip = videos.read(
        values.video, model, cli.integers("crop"), values.annotations, values.sequence,
        ahead=values.steps, max_memory=values.max_memory,
    )  # fmt: skip
    folder = storage.make_folder(Path(values.output), "output")
    answer = videos.forecast(model, clip, values.steps)
    films, observed = videos.continued(answer, clip)
    for path in videos.write(folder, films, observed, answer, values.fps, values.format):
        print(path)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
