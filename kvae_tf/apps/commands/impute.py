"""Fills in a video.

kvae-impute --saved_model=saved_models/box/1 --video=PATH --hide=10-19 --output=runs/filled
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define_video(files: str = "film, strip.png, frames.npz, latents.csv") -> None:
    """The flags of commands that answer about one video, and write these files."""
    flags.DEFINE_string("saved_model", None, "An export's version folder, as saved_models/box/1.")
    flags.DEFINE_string("video", None, "A video, a folder of pictures, or an .npz or HDF5 file.")
    flags.DEFINE_string("output", None, f"A folder for {files}.")
    flags.DEFINE_integer("sequence", 0, "Which sequence of an .npz or HDF5 file.")
    flags.DEFINE_list("crop", [], "TOP,LEFT,HEIGHT,WIDTH of the part to keep, before resizing.")
    flags.DEFINE_string("annotations", "", "A CSV file: frame, observed, one column a control.")
    flags.DEFINE_enum("format", "gif", ["gif", "mp4"], "Of the film.")
    flags.DEFINE_float("fps", 10.0, "Pictures a second.", lower_bound=0.1)
    flags.DEFINE_float("max_memory", 8.0, "GiB that the video may take.", lower_bound=0.0)
    flags.mark_flags_as_required(["saved_model", "video", "output"])


def define() -> None:
    """The flags."""
    define_video()
    flags.DEFINE_string("hide", "", "Frames to hide beside those that are missing, as 10-19,25.")
    flags.DEFINE_enum(
        "method", "", ["", "smooth", "filter"], "Empty: the best that the model can do."
    )


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import videos
    from kvae_tf.data import storage
    from kvae_tf.export.loading import LoadedModel

    values = flags.FLAGS
    model = LoadedModel(values.saved_model)
    clip = videos.read(
        values.video, model, cli.integers("crop"), values.annotations, values.sequence, values.hide,
        max_memory=values.max_memory,
    )  # fmt: skip
    folder = storage.make_folder(Path(values.output), "output")
    answer = videos.impute(model, clip, values.method)
    films = videos.filled_in(answer, clip)
    for path in videos.write(folder, films, clip.observed, answer, values.fps, values.format):
        print(path)


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
