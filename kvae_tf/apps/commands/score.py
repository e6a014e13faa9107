"""Finds the frames of a video that surprise a model.

kvae-score --saved_model=runs/box/saved_model/1 --video=PATH --quantile=0.01 --output=runs/scored
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kvae_tf.apps import cli
from kvae_tf.apps.commands import impute


def define() -> None:
    """The flags."""
    impute.define_video("film, scores.png, scores.csv")
    flags.DEFINE_enum(
        "score",
        "scores",
        ["scores", "encoding_scores", "reconstruction_scores"],
        "Which score has the threshold: the motion and the picture, the motion, the picture.",
    )
    flags.DEFINE_float("quantile", 0.01, "Share of good frames below the threshold.", 0.0, 0.5)
    flags.DEFINE_string(
        "dataset", "", "Good frames, a world or PATH.npz; empty: scores.json beside the export."
    )
    flags.DEFINE_float("threshold", None, "Nats, in place of a quantile.")
    flags.DEFINE_bool(
        "live",
        False,
        "Take the live model of an export, for what an earlier version lacks.",
    )
    flags.mark_flags_as_required(["saved_model", "video", "output"])


def call() -> None:
    """Flags to one call."""
    cli.import_tensorflow_quietly()
    from kvae_tf.apps import scoring, videos
    from kvae_tf.data import storage
    from kvae_tf.experiments.load import load
    from kvae_tf.export.loading import LoadedModel

    values = flags.FLAGS
    path = values.saved_model
    model = load(path, trainable=True) if values.live else LoadedModel(path)
    clip = videos.read(
        values.video, model, cli.integers("crop"), values.annotations, values.sequence,
        max_memory=values.max_memory,
    )  # fmt: skip
    scores = scoring.score(model, clip)
    limit = scoring.threshold(
        values.saved_model, values.score, values.quantile, values.threshold, values.dataset,
        values.live, values.max_memory,
    )  # fmt: skip
    flagged = scoring.flag(getattr(scores, values.score), clip.observed, limit)
    folder = storage.make_folder(Path(values.output), "output")
    for path in scoring.write(
        folder, clip, scores, flagged, values.score, limit, values.fps, values.format
    ):
        print(path)
    print(scoring.summary(flagged, values.score, limit))


def main() -> None:
    """Runs the command."""
    cli.run(call, define, __doc__)


if __name__ == "__main__":
    main()
