"""Frames at irregular times: a model in continuous time beside discrete ones, on the same frames.

Each sequence of the ball in a box shows 20 frames at random times of a longer path. Three models
have the same settings and number of updates:

- ``continuous`` reads the times;
- ``gaps`` is discrete, and sees the whole path as a regular grid in which all other frames are
  missing. Times that fall between two steps of the grid are rounded to the nearest;
- ``order`` is discrete, and takes the frames as equally spaced.

Two kinds of frames are filled in by smoothing: ``hidden``, half of the frames after the first four,
which all three may be asked for; and ``between``, those of the path between the first and the last
of the 20 frames, which were never shown to anyone.

``forecast`` is another comparison, at regular times: a fifth of the frames is missing, in training
too, and 40 frames are forecast (the setting of Ansari et al. 2023, section 5.3).
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import tensorflow as tf

from kvae_tf import data
from kvae_tf.data.settings import IN_MEMORY
from kvae_tf.data.worlds import bouncing_ball
from kvae_tf.evaluation import forecast_errors, incorrect_pixels
from kvae_tf.experiments import presets, run

MODELS = ("continuous", "gaps", "order")
FORECASTERS = MODELS[:2]
_WORLD = "box"
_FRAMES = 20
_FIRST_SEEN, _RATE = 4, 0.5
_BATCH = 100
_MISSING_RATE, _HORIZON = 0.2, 40


def compare(
    model: str,
    config: str,
    path_frames: int,
    seed: int,
    run_dir: str,
    train_sequences: int,
    test_sequences: int,
    path_parts: int = 1,
    **flags,
) -> dict[str, object]:
    """Trains one of the models and measures its errors.

    Args:
      model: out of ``MODELS``.
      config: name of the config of the continuous model.
      path_frames: number of frames of a path.
      seed: of the data, the masks and the training.
      run_dir: folder of the run.
      train_sequences: number of training sequences; a tenth as many are for validation.
      test_sequences: number of test sequences.
      path_parts: number of equal parts of the time between two frames of a path, at whose ends the
        frames may fall; 1 by default: all times lie on the path's grid.
      **flags: settings by their flags' names, in place of those of the config.

    Returns:
      ``hidden`` and, but for ``order``, ``between``: fractions of incorrect pixels, with ``_se``
      standard errors over sequences; ``updates``; ``seconds`` of processor time
      that this call trained.
    """
    sizes = train_sequences, max(train_sequences // 10, 1), test_sequences
    path = {"path_frames": path_frames, "path_parts": path_parts}
    drawn = bouncing_ball.splits(_WORLD, seed, sizes, _FRAMES, **path)
    own = {"path_frames": 0, "dataset": IN_MEMORY, "seed": seed, "run_dir": run_dir}
    if model == "continuous":
        own["time"] = "continuous"
        splits = drawn
    else:
        own |= {"time": "discrete", "time_parts": 1}
        splits = data.Splits(*(dataclasses.replace(part, times=None) for part in drawn))
    if model == "gaps":
        splits = data.Splits(*(_on_the_grid(part, part.observed, path_frames) for part in drawn))
    trained, spent = _trained(config, splits, own | flags)
    places, sizes = (path_frames - 1) * path_parts + 1, (1, 1, test_sequences)
    whole = bouncing_ball.splits(_WORLD, seed, sizes, places, path_parts=path_parts).test
    truth = whole.unit_frames[:, ::path_parts]  # [N, path_frames, 32, 32, 1], 0 to 1
    return _errors(model, trained, drawn.test, truth, seed) | spent


def forecast(
    model: str,
    config: str,
    seed: int,
    run_dir: str,
    train_sequences: int,
    test_sequences: int,
    **flags,
) -> dict[str, object]:
    """Trains one of the models on frames of which a fifth is missing, and measures its forecasts.

    Args:
      model: out of ``FORECASTERS``.
      config: name of the config of the continuous model.
      seed: of the data, the masks and the training.
      run_dir: folder of the run.
      train_sequences: number of training sequences; a tenth as many are for validation.
      test_sequences: number of test sequences.
      **flags: settings by their flags' names, in place of those of the config.

    Returns:
      ``wasserstein`` and its standard error ``wasserstein_se``, pixels, means over the 40 frames
      that follow 20, of which a fifth is missing; ``wasserstein_by_frame``; ``updates``; and
      ``seconds`` of processor time that this call trained.
    """
    sizes = train_sequences, max(train_sequences // 10, 1), test_sequences
    known = bouncing_ball.splits(_WORLD, seed, sizes, _FRAMES)
    whole = bouncing_ball.splits(_WORLD, seed, (1, 1, test_sequences), _FRAMES + _HORIZON).test
    parts = [_some_missing(part, _FRAMES, seed + i) for i, part in enumerate((*known[:2], whole))]
    own = {"path_frames": 0, "dataset": IN_MEMORY, "seed": seed, "run_dir": run_dir}
    own |= {"time_parts": 1, "time": "discrete" if model == "gaps" else "continuous"}
    if model == "gaps":
        parts = [dataclasses.replace(part, times=None) for part in parts]
    splits = data.Splits(*parts)
    trained, spent = _trained(config, splits, own | flags)
    errors, _ = forecast_errors(trained, splits.test, _FRAMES)
    ahead = np.array(errors.wasserstein)
    return {
        "wasserstein": round(float(ahead.mean()), 4),
        "wasserstein_se": round(float(np.mean(errors.wasserstein_se)), 4),
        "wasserstein_by_frame": [round(float(x), 3) for x in ahead],
    } | spent


def _some_missing(part, context, seed):
    """A part with times, of whose first ``context`` frames a fifth is missing."""
    observed = part.observed.copy()
    observed[:, :context] = data.missing_at_random(
        len(part), context, _MISSING_RATE, _FIRST_SEEN, seed
    )
    times = np.broadcast_to(bouncing_ball.INTERVAL * np.arange(part.num_steps), observed.shape)
    return dataclasses.replace(part, observed=observed, times=times)


def _trained(config, splits, flags):
    """A model trained on parts of a data set; its updates, and seconds of processor time."""
    start = time.process_time()
    settings = presets.settings(config, **flags)
    trained = run.execute(settings, splits, training_only=True).model
    seconds = time.process_time() - start
    updates = int(trained.optimizer.iterations.numpy())
    return trained, {"updates": updates, "seconds": round(seconds)}


def _steps(drawn):
    """The step of the grid nearest to each frame, ``[N, T]``."""
    return np.rint(drawn.times / bouncing_ball.INTERVAL).astype(int)


def _on_the_grid(drawn, seen, path_frames):
    """Frames at the nearest steps of the path; of two seen ones at the same step, the later."""
    every, steps = np.arange(len(drawn)), _steps(drawn)
    frames = np.zeros((len(drawn), path_frames, *drawn.frame_shape), drawn.frames.dtype)
    observed = np.zeros((len(drawn), path_frames), np.float32)
    for t in range(drawn.num_steps):
        rows = every[seen[:, t] > 0]
        frames[rows, steps[rows, t]] = drawn.frames[rows, t]
        observed[rows, steps[rows, t]] = 1.0
    controls = np.zeros((*observed.shape, 0), np.float32)
    return data.SequenceData(frames=frames, observed=observed, controls=controls)


def _errors(name, model, drawn, truth, seed):
    """Measure -> its value, over the test sequences, of whose whole paths ``truth`` is."""
    impute = tf.function(
        lambda *given, **how: model.impute(*given, method="smooth", **how).frames, autograph=False
    )
    mask = data.missing_at_random(*drawn.observed.shape, _RATE, _FIRST_SEEN, seed)
    num_steps = truth.shape[1]
    steps = _steps(drawn)
    inside = np.arange(num_steps)
    inside = (inside > steps[:, :1]) & (inside < steps[:, -1:])
    np.put_along_axis(inside, steps, False, axis=1)
    grids = {}
    if name == "gaps":
        grids = {
            key: _on_the_grid(drawn, seen, num_steps)
            for key, seen in (("hidden", mask), ("between", drawn.observed))
        }
    regular = bouncing_ball.INTERVAL * np.arange(num_steps)
    hidden, between = [], []
    for first in range(0, len(drawn), _BATCH):
        rows = np.arange(first, first + _BATCH) % len(drawn)
        num_kept = len(rows[: len(drawn) - first])
        frames = drawn.unit_frames[rows]

        def on_the_grid(key, rows=rows):
            grid = grids[key]
            return impute(grid.unit_frames[rows], grid.observed[rows], None)

        if name == "continuous":
            times = drawn.times[rows]
            guess = impute(frames, mask[rows], None, times=times)
            path = impute(frames, None, None, times=times, at=np.clip(regular, times[:, :1], None))
        elif name == "gaps":
            guess = on_the_grid("hidden").numpy()
            guess = np.take_along_axis(guess, steps[rows][..., None, None, None], axis=1)
            path = on_the_grid("between")
        else:
            guess, path = impute(frames, mask[rows], None), None
        wrong = incorrect_pixels(np.asarray(guess), frames)
        hidden.append(_mean(wrong, mask[rows] == 0)[:num_kept])
        if path is not None:
            wrong = incorrect_pixels(path.numpy(), truth[rows])
            between.append(_mean(wrong, inside[rows])[:num_kept])
    found = {"hidden": hidden} | ({"between": between} if between else {})
    return {key: value for name, parts in found.items() for key, value in _summary(name, parts)}


def _mean(values, where):
    """Sums and counts ``[B, 2]`` of the values of each sequence."""
    return np.stack([(values * where).sum(axis=1), where.sum(axis=1)], axis=-1)


def _summary(name, parts):
    sums, counts = np.concatenate(parts).T
    mean = sums.sum() / counts.sum()
    spread = (sums - mean * counts).std(ddof=1) / counts.mean() / np.sqrt(len(sums))
    yield name, round(float(mean), 5)
    yield f"{name}_se", round(float(spread), 5)
