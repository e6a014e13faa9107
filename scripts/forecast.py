"""Continues a video: forecast.py --saved_model=saved_models/box/1 --video=PATH --steps=40."""

from pathlib import Path

from kvae_tf.apps import cli

cli.import_tensorflow_quietly()

from absl import flags  # noqa: E402

from kvae_tf.apps import videos  # noqa: E402
from kvae_tf.data import storage  # noqa: E402
from kvae_tf.experiments import flags as settings_flags  # noqa: E402
from kvae_tf.export.loading import LoadedModel  # noqa: E402

settings_flags.define_video()
flags.DEFINE_integer("steps", 20, "Frames to forecast.")


def main() -> None:
    """Flags to one call."""
    values = flags.FLAGS
    model = LoadedModel(values.saved_model)
    clip = videos.read(
        values.video, model, settings_flags.integers("crop"), values.annotations, values.sequence,
        ahead=values.steps,
    )  # fmt: skip
    folder = storage.make_folder(Path(values.output), "output")
    answer = videos.forecast(model, clip, values.steps)
    films, observed = videos.continued(answer, clip)
    for path in videos.write(folder, films, observed, answer, values.fps, values.format):
        print(path)


if __name__ == "__main__":
    cli.run(main)
