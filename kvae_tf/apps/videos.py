"""Imputation and forecast of one video by an export, and files with the results.

Long videos are imputed in blocks, each with frames of context on both sides, so that memory stays
bounded; frames beyond the context have hardly any influence.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kvae_tf import data
from kvae_tf.data import annotations, memory, storage, video
from kvae_tf.data.archives import HDF5, load_sequences
from kvae_tf.data.clips import Clip
from kvae_tf.errors import UserError
from kvae_tf.evaluation.masked_batches import timed, warn_of_times
from kvae_tf.export.loading import LoadedModel
from kvae_tf.models.contract import VideoModel
from kvae_tf.visualisation import films, images

_BLOCK, _CONTEXT = 1000, 100  # frames
_DRAWS = 16  # decoded encodings, for the frames' standard deviations
_STRIP = 16  # frames of a film strip


class VideoPrediction(NamedTuple):
    """Predictions for the T steps of a video.

    Attributes:
      frames: ``[T, H, W, C]``, means.
      frame_stds: ``[T, H, W, C]``, standard deviations of the means over draws of the encodings.
      encodings: ``[T, m]``, means.
      encoding_stds: ``[T, m]``, standard deviations.
      latents: ``[T, n]``, means of the latent states.
      latent_stds: ``[T, n]``, standard deviations; ``[T, 0]`` where the model gives none.
    """

    frames: np.ndarray
    frame_stds: np.ndarray
    encodings: np.ndarray
    encoding_stds: np.ndarray
    latents: np.ndarray
    latent_stds: np.ndarray


def read(
    path: str | os.PathLike,
    model: LoadedModel,
    crop: tuple[int, ...] = (),
    annotations_path: str = "",
    sequence: int = 0,
    hidden: str = "",
    ahead: int = 0,
    max_memory: float = memory.DEFAULT,
) -> Clip:
    """A video for a model: frames float32 in [0, 1], mask, and controls of T + ``ahead`` steps.

    Args:
      path: a video file, a folder of pictures, or a ``.npz`` or HDF5 file of sequences.
      model: the model, for the sizes of frames and controls.
      crop: videos: ``(top, left, height, width)`` of the part to keep, pixels; empty: the whole
        frame (default).
      annotations_path: videos: a CSV file as in ``data.annotations``; empty: none (default).
      sequence: files of sequences: number of the sequence, from 0; 0 by default.
      hidden: frames to hide, for example ``"10-19,25"``; empty: none (default).
      ahead: number of frames after the last one for which controls may be given; 0 by default.
      max_memory: largest size of the arrays or frames, GiB, 8 by default.

    Raises:
      UserError: a file is refused or does not fit the model, ``hidden`` is no list of frames, or an
        argument of videos is given for a file of sequences, or the other way round.
    """
    path = Path(path)
    is_file_of_sequences = path.suffix in (".npz", *HDF5)
    for name, value, does_nothing in (
        ("crop", ",".join(map(str, crop)), is_file_of_sequences),
        ("annotations", annotations_path, is_file_of_sequences),
        ("sequence", sequence, not is_file_of_sequences),
    ):
        if value and does_nothing:
            kind = "a file of sequences" if is_file_of_sequences else "a video"
            raise UserError(f"--{name} is {value}, but {path} is {kind}: expected no --{name}")
    if is_file_of_sequences:
        sequences = load_sequences(path, max_memory)
        if not 0 <= sequence < len(sequences):
            raise UserError(f"--sequence is {sequence}, expected 0 to {len(sequences) - 1}")
        chosen = sequences.select(slice(sequence, sequence + 1))
        clip = Clip(
            chosen.unit_frames[0],
            chosen.observed[0],
            chosen.controls[0],
            None if chosen.times is None else chosen.times[0],
            None if chosen.num_objects is None else int(chosen.num_objects[0]),
        )
    else:
        clip = _read_video(path, model, crop, annotations_path, ahead, max_memory)
    if clip.frames.shape[1:] != model.frame_shape:
        raise UserError(
            f"{path} has frames {clip.frames.shape[1:]}, expected {model.frame_shape}, as the "
            "model was trained with"
        )
    if clip.controls.shape[1] != model.control_size:
        raise UserError(
            f"{path} has {clip.controls.shape[1]} controls, expected {model.control_size}, as the "
            "model was trained with: pass --annotations with a column for each"
        )
    if clip.times is not None:
        warn_of_times(model, clip.times[np.newaxis])
    return clip._replace(observed=clip.observed * _mask(hidden, len(clip.frames)))


def impute(model: LoadedModel, clip: Clip, method: str = "") -> VideoPrediction:
    """Means of all frames of a clip, also of missing ones.

    Args:
      model: an export that can ``impute``.
      clip: the video.
      method: ``"smooth"`` or ``"filter"``; empty: the model's best one (default).

    Raises:
      UserError: the model does not have the method.
    """
    method = method or model.imputation_methods[0]
    length, parts = len(clip.frames), []
    for first, start, stop in blocks(length):
        last = min(stop + _CONTEXT, length)
        prediction = _impute(model, clip.cut(first, last), method)
        parts.append(VideoPrediction(*(x[start - first : stop - first] for x in prediction)))
    return VideoPrediction(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def blocks(length: int) -> Iterator[tuple[int, int, int]]:
    """The blocks in which a long video is worked off.

    Args:
      length: number of frames.

    Yields:
      First frame of the context before a block, the block's first frame, and its end.
    """
    for start in range(0, length, _BLOCK):
        yield max(start - _CONTEXT, 0), start, min(start + _BLOCK, length)


def forecast(model: LoadedModel, clip: Clip, num_steps: int) -> VideoPrediction:
    """The frames that follow a clip.

    Args:
      model: an export that can ``forecast``.
      clip: the video, with controls also for the forecast; missing controls are 0.
      num_steps: number K of steps to forecast.

    Raises:
      UserError: the model cannot forecast, or ``num_steps`` is below 1.
    """
    if "forecast" not in model.supports:
        raise UserError("the model cannot forecast")
    if num_steps < 1:
        raise UserError(f"--steps is {num_steps}, expected at least 1")
    first = max(len(clip.frames) - _BLOCK, 0)
    clip = clip.cut(first)
    lacking = max(len(clip.frames) + num_steps - len(clip.controls), 0)
    controls = np.pad(clip.controls, [(0, lacking), (0, 0)])
    result = model.forecast(
        clip.frames[np.newaxis], clip.observed[np.newaxis], controls[np.newaxis], num_steps,
        **also_known(model, clip),
    )  # fmt: skip
    return _prediction(model, result, None, clip)


def also_known(model: VideoModel, clip: Clip) -> dict[str, np.ndarray]:
    """What a query of a clip is told beside frames, mask and controls, by name.

    Args:
      model: the model that is asked.
      clip: the video.
    """
    times = None if clip.times is None else clip.times[np.newaxis]
    return timed(model, times) | _counted(model, clip, 1)


def write(
    folder: Path,
    shown: dict[str, np.ndarray],
    observed: np.ndarray,
    prediction: VideoPrediction,
    fps: float = 10.0,
    kind: str = "gif",
) -> list[Path]:
    """Writes a film, a film strip, frames as npz, and encodings and latents as CSV.

    Args:
      folder: folder for the files.
      shown: name -> ``[T, H, W, C]``, the frames that film and strip show side by side.
      observed: ``[T]``, 1 = seen.
      prediction: predictions for the same steps, or for the last of them.
      fps: pictures per second of the film, 10 by default.
      kind: format of the film, ``"gif"`` (default) or ``"mp4"``.

    Returns:
      Paths of the files.
    """
    film = folder / f"film.{kind}"
    films.write(film, films.side_by_side(shown, observed), fps)
    steps = np.unique(np.linspace(0, len(observed) - 1, _STRIP).round().astype(int))
    strip = images.film_strip(
        [frames[steps] for frames in shown.values()], list(shown), observed[steps]
    )
    images.save_png(folder / "strip.png", strip)
    first = len(observed) - len(prediction.frames)
    archive = io.BytesIO()
    np.savez_compressed(
        archive,
        frames=prediction.frames,
        frame_stds=prediction.frame_stds,
        observed=observed[first:],
    )
    storage.write_bytes(folder / "frames.npz", archive.getvalue())
    storage.write_csv(folder / "latents.csv", *_table(prediction, observed, first))
    return [film, *(folder / name for name in ("strip.png", "frames.npz", "latents.csv"))]


def filled_in(prediction: VideoPrediction, clip: Clip) -> dict[str, np.ndarray]:
    """Films of an imputation by name: true frames, seen ones, filled-in ones and their std."""
    seen = clip.observed[:, np.newaxis, np.newaxis, np.newaxis]
    return {
        "truth": clip.frames,
        "seen": clip.frames * seen,
        "filled in": prediction.frames,
        "standard deviation": _visible(prediction.frame_stds),
    }


def continued(prediction: VideoPrediction, clip: Clip) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Films of a forecast and its context by name, and the mask ``[T + K]`` of seen frames."""
    seen = clip.observed[:, np.newaxis, np.newaxis, np.newaxis]
    frames = np.concatenate([clip.frames * seen, prediction.frames])
    stds = np.concatenate([np.zeros_like(clip.frames), _visible(prediction.frame_stds)])
    observed = np.concatenate([clip.observed, np.zeros(len(prediction.frames), np.float32)])
    return {"seen, then forecast": frames, "standard deviation": stds}, observed


def _visible(stds):
    """Standard deviations as frames in which the largest is white."""
    return stds / max(float(stds.max()), 1e-6)


def _read_video(path, model, crop, annotations_path, ahead, max_memory):
    videos = video.find(path)
    if len(videos) != 1:
        raise UserError(f"{path} holds {len(videos)} videos, expected one of them")
    height, width, channels = model.frame_shape
    transform = data.FrameTransform(crop or None, (height, width), channels)
    frames = video.read(videos[0], transform, max_memory)
    length = len(frames)
    name = videos[0].name
    known = annotations.read(annotations_path, {name: length}, ahead)[name]
    return Clip(frames.astype(np.float32) / 255.0, known.observed[:length], known.controls)


def _mask(hidden, length):
    """A mask ``[length]``, 0 for the hidden frames, else 1."""
    mask = np.ones(length, np.float32)
    for word in hidden.split(",") if hidden else ():
        match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", word)
        if not match:
            raise UserError(f"--hide is {hidden!r}, expected frames as 10-19,25")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < length:
            raise UserError(f"--hide is {hidden!r}, but there are frames 0 to {length - 1} only")
        mask[first : last + 1] = 0.0
    return mask


def _impute(model, clip, method):
    inputs = clip.frames[np.newaxis], clip.observed[np.newaxis], clip.controls[np.newaxis]
    of = also_known(model, clip)
    result = model.impute(*inputs, method=method, **of)
    query = method if method in model.supports else None
    covariances = getattr(model, query)(*inputs, **of).covariances if query else None
    return _prediction(model, result, covariances, clip)


def _counted(model, clip, batch_size):
    """The argument ``num_objects`` of a query, by name; none where nothing is counted."""
    if clip.num_objects is None or not model.max_objects:
        return {}
    return {"num_objects": np.full(batch_size, clip.num_objects, np.int32)}


def _prediction(model, result, covariances, clip):
    draws = tf.random.stateless_normal([_DRAWS, *result.encodings.shape[1:]], [0, 0])
    drawn = result.encodings + result.encoding_stds * draws
    frames = model.decode(drawn, **_counted(model, clip, _DRAWS))
    latents = result.latents[0].numpy()
    variances = np.zeros((len(latents), 0)) if covariances is None else np.maximum(
        tf.linalg.diag_part(covariances)[0].numpy(), 0.0
    )  # fmt: skip
    return VideoPrediction(
        result.frames[0].numpy(),
        tf.math.reduce_std(frames, axis=0).numpy(),
        result.encodings[0].numpy(),
        result.encoding_stds[0].numpy(),
        latents,
        np.sqrt(variances),
    )


def _table(prediction, observed, first):
    """Column names, and a row for each step: encodings, latents and their stds."""
    columns = {
        "encoding": prediction.encodings,
        "encoding_std": prediction.encoding_stds,
        "latent": prediction.latents,
        "latent_std": prediction.latent_stds,
    }
    names = [f"{name}_{i + 1}" for name, x in columns.items() for i in range(x.shape[1])]
    values = np.concatenate(list(columns.values()), axis=1)
    rows = [
        [first + t, int(observed[first + t]), *(f"{x:.6g}" for x in row)]
        for t, row in enumerate(values.tolist())
    ]
    return ["frame", "observed", *names], rows
