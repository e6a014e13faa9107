"""Scores of the frames of one video, the frames that stand out, and files with both."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kvae_tf.apps import videos
from kvae_tf.data import memory, storage
from kvae_tf.data.clips import Clip
from kvae_tf.errors import UserError
from kvae_tf.evaluation import (
    compiled_queries,
    frame_scores,
    judged,
    score_quantiles,
    score_threshold,
)
from kvae_tf.experiments import targets
from kvae_tf.models.contract import Scores, VideoModel
from kvae_tf.visualisation import charts, films, images

QUANTILES = "scores.json"  # beside an export, written at the end of a training


def score(model: VideoModel, clip: Clip) -> Scores:
    """The scores of a clip's frames, arrays ``[T]``; 0 where frames are missing.

    Long clips are worked off in blocks, each with frames of context before it.

    Args:
      model: a model that can ``score``.
      clip: the video.

    Raises:
      UserError: the model cannot score.
    """
    if "score" not in model.supports:
        raise UserError(
            "the model cannot score frames: it has no score, or is an export of an earlier "
            "version: with --live the model is taken anew from its weights"
        )
    query = compiled_queries.score(model)
    parts = []
    for first, start, stop in videos.blocks(len(clip.frames)):
        block = clip.cut(first, stop)
        given = (x[np.newaxis] for x in (block.frames, block.observed, block.controls))
        found = query(*given, **videos.also_known(model, block))
        parts.append([x.numpy()[0, start - first :] for x in found])
    return Scores(*map(np.concatenate, zip(*parts, strict=True)))


def threshold(
    saved_model: str,
    name: str,
    quantile: float = 0.01,
    value: float | None = None,
    dataset: str = "",
    live: bool = False,
    max_memory: float = memory.DEFAULT,
) -> float:
    """The score below which a frame stands out, nats.

    It is ``value`` where that is given, else the quantile of the frames of the validation part: of
    ``dataset``, or without it of the training, as the file ``scores.json`` beside the export says.

    Args:
      saved_model: the export's version folder.
      name: of the score, a field of ``Scores``.
      quantile: share of good frames that may lie below, 0.01 by default.
      value: the threshold itself, nats; None: a quantile (default).
      dataset: a world or a file whose validation part is scored; empty: none (default).
      live: score ``dataset`` with the live model of the export; False by default.
      max_memory: largest size of ``dataset``, GiB, 8 by default.

    Raises:
      UserError: ``value`` and ``dataset`` are both given; or neither is, and there is no such file;
        or the validation part is too small for the quantile.
    """
    if value is not None:
        if dataset:
            raise UserError(f"--threshold and --dataset={dataset} are given, expected one of them")
        if not np.isfinite(value):
            raise UserError(f"--threshold is {value}, expected a number")
        return value
    if dataset:
        target = targets.find(
            saved_model=saved_model, dataset=dataset, validation=True, max_memory=max_memory,
            live=live,
        )  # fmt: skip
        data = target.splits.test
        table = score_quantiles(frame_scores(target.model, data), data.observed)
    else:
        path = Path(saved_model).parent / QUANTILES
        if not path.exists():
            raise UserError(
                f"{path} does not exist, so the scores of good frames are unknown: pass --dataset "
                "with such frames, or --threshold"
            )
        table = storage.read_json(path, "the quantiles of an export's scores")
    return score_threshold(table, name, quantile)


def flag(values: np.ndarray, observed: np.ndarray, limit: float) -> np.ndarray:
    """The frames that stand out, ``[T]`` bool.

    Args:
      values: ``[T]`` scores.
      observed: ``[T]``, 1 = seen; a missing frame is not flagged, nor are the first four, whose
        scores are low in every film.
      limit: the threshold.
    """
    return judged(observed) & (values < limit)


def summary(flagged: np.ndarray, name: str, limit: float) -> str:
    """The flagged frames in words, runs of them as ``10-12``."""
    frames = np.flatnonzero(flagged)
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    words = [f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs if len(r)]
    listed = ", ".join(words) or "none"
    return f"{name} below {limit:.6g}: {len(frames)} of {len(flagged)} frames ({listed})"


def write(
    folder: Path,
    clip: Clip,
    scores: Scores,
    flagged: np.ndarray,
    name: str,
    limit: float,
    fps: float = 10.0,
    kind: str = "gif",
) -> list[Path]:
    """Writes a film in which flagged frames have a red border, a chart and a table.

    Args:
      folder: folder for the files.
      clip: the video.
      scores: arrays ``[T]``.
      flagged: ``[T]`` bool.
      name: of the score that has the threshold.
      limit: the threshold.
      fps: pictures per second of the film, 10 by default.
      kind: format of the film, ``"gif"`` (default) or ``"mp4"``.

    Returns:
      Paths of the files.
    """
    film, chart, table = (folder / n for n in (f"film.{kind}", "scores.png", "scores.csv"))
    seen = clip.frames * clip.observed[:, np.newaxis, np.newaxis, np.newaxis]
    films.write(film, films.side_by_side({"frames": seen}, clip.observed, flagged=flagged), fps)
    images.save_png(chart, charts.scores(scores._asdict(), clip.observed, flagged, {name: limit}))
    rows = [
        [t, int(clip.observed[t]), *(f"{x[t] + 0.0:.6g}" for x in scores), int(flagged[t])]
        for t in range(len(flagged))
    ]
    storage.write_csv(table, ["frame", "observed", *Scores._fields, "flagged"], rows)
    return [film, chart, table]
