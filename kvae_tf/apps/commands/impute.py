"""Fills in a video, or a table.

kvae-impute --saved_model=saved_models/box/1 --video=PATH --hide=10-19 --output=runs/filled
kvae-impute --table=mine.csv --output=runs/filled

A table needs no model: without --saved_model one is trained on the table itself.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli


def define_video(files: str = "film, strip.png, frames.npz, latents.csv") -> None:
    """The flags of commands that answer about one video.

    Args:
      files: what the commands write.
    """
    flags.DEFINE_string("saved_model", None, "An export's version folder, as saved_models/box/1.")
    flags.DEFINE_string("video", None, "A video, a folder of pictures, or an .npz or HDF5 file.")
    flags.DEFINE_string("output", None, f"A folder for {files}.")
    flags.DEFINE_integer("sequence", 0, "Which sequence of an .npz or HDF5 file.")
    flags.DEFINE_list("crop", [], "TOP,LEFT,HEIGHT,WIDTH of the part to keep, before resizing.")
    flags.DEFINE_string("annotations", "", "A CSV file: frame, observed, one column a control.")
    flags.DEFINE_enum("format", "gif", ["gif", "mp4"], "Of the film.")
    flags.DEFINE_float("fps", 10.0, "Pictures a second.", lower_bound=0.1)
    flags.DEFINE_float("max_memory", 8.0, "GiB that the video may take.", lower_bound=0.0)


def define() -> None:
    """The flags."""
    define_video()
    flags.DEFINE_string(
        "table", "", "In place of a video, a CSV table: its empty cells are filled in."
    )
    flags.DEFINE_string("hide", "", "Frames to hide beside those that are missing, as 10-19,25.")
    flags.DEFINE_enum(
        "method", "", ["", "smooth", "filter"], "Empty: the best that the model can do."
    )
    flags.mark_flags_as_required(["output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import tables, videos
    from kvae_tf.data import storage
    from kvae_tf.errors import UserError
    from kvae_tf.export.loading import LoadedModel

    values = flags.FLAGS
    if values.table:
        tables.check_flags({name: getattr(values, name) for name in tables.VIDEO_ONLY})
        if values.saved_model:
            model = LoadedModel(values.saved_model)
            table, filled = tables.impute(model, values.table, values.method, values.max_memory)
        elif values.method:
            raise UserError(f"--method is {values.method}, expected none without --saved_model")
        else:
            table, filled = tables.train_and_impute(values.table, values.max_memory)
        folder = storage.make_folder(Path(values.output), "output")
        for path in tables.write(folder, table, filled):
            print(path)
        return
    for name in ("saved_model", "video"):
        if not getattr(values, name):
            raise UserError(f"--{name} is not set, but required where there is no --table")
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
