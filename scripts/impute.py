"""Fills in a video: impute.py --saved_model=saved_models/box/1 --video=PATH --hide=10-19."""

from pathlib import Path

from kvae_tf.apps import cli

cli.import_tensorflow_quietly()

from absl import flags  # noqa: E402

from kvae_tf.apps import videos  # noqa: E402
from kvae_tf.data import storage  # noqa: E402
from kvae_tf.experiments import flags as settings_flags  # noqa: E402
from kvae_tf.export.loading import LoadedModel  # noqa: E402

settings_flags.define_video()
flags.DEFINE_string("hide", "", "Frames to hide beside those that are missing, as 10-19,25.")
flags.DEFINE_enum("method", "", ["", "smooth", "filter"], "Empty: the best that the model can do.")


def main() -> None:
    """Flags to one call."""
    values = flags.FLAGS
    model = LoadedModel(values.saved_model)
    clip = videos.read(
        values.video, model, settings_flags.integers("crop"), values.annotations, values.sequence,
        values.hide,
    )  # fmt: skip
    folder = storage.make_folder(Path(values.output), "output")
    answer = videos.impute(model, clip, values.method)
    films = videos.filled_in(answer, clip)
    for path in videos.write(folder, films, clip.observed, answer, values.fps, values.format):
        print(path)


if __name__ == "__main__":
    cli.run(main)
