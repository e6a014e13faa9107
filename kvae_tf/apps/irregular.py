"""Frames at irregular times: a model in continuous time beside discrete ones, on the same frames.

Each sequence of the ball in a box shows 20 frames at random times of a longer path. Three models
have the same settings and number of updates:

- ``continuous`` reads the times;
- ``gaps`` is discrete, and sees the whole path as a regular grid in which all other frames are
  missing;
- ``order`` is discrete, and takes the frames as equally spaced.

Two kinds of frames are filled in by smoothing: ``hidden``, half of the frames after the first four,
which all three may be asked for; and ``between``, those of the path between the first and the last
of the 20 frames, which were never shown to anyone.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import tensorflow as tf

from kvae_tf import data
from kvae_tf.data.settings import IN_MEMORY
from kvae_tf.data.worlds import bouncing_ball
from kvae_tf.evaluation import incorrect_pixels
from kvae_tf.experiments import presets, run

MODELS = ("continuous", "gaps", "order")
_WORLD = "box"
_FRAMES = 20
_FIRST_SEEN, _RATE = 4, 0.5
_BATCH = 100


def compare(
    model: str,
    config: str,
    path_frames: int,
    seed: int,
    run_dir: str,
    train_sequences: int,
    test_sequences: int,
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
      **flags: settings by their flags' names, in place of those of the config.

    Returns:
      ``hidden`` and, but for ``order``, ``between``: fractions of incorrect pixels, with ``_se``
      standard errors over sequences; ``updates``; ``seconds`` of processor time
      that this call trained.
    """
    sizes = train_sequences, max(train_sequences // 10, 1), test_sequences
    drawn = bouncing_ball.splits(_WORLD, seed, sizes, _FRAMES, path_frames=path_frames)
    whole = bouncing_ball.splits(_WORLD, seed, sizes, path_frames)
    steps = [np.rint(part.times / bouncing_ball.INTERVAL).astype(int) for part in drawn]
    own = {"path_frames": 0, "dataset": IN_MEMORY, "seed": seed, "run_dir": run_dir}
    if model == "continuous":
        splits = drawn
    else:
        own |= {"time": "discrete", "time_parts": 1}
        splits = data.Splits(*(dataclasses.replace(part, times=None) for part in drawn))
    if model == "gaps":
        splits = data.Splits(*map(_on_the_grid, whole, steps))
    start = time.process_time()
    settings = presets.settings(config, **own | flags)
    trained = run.execute(settings, splits, training_only=True).model
    seconds = time.process_time() - start
    found = _errors(model, trained, drawn.test, whole.test, steps[-1], seed)
    updates = int(trained.optimizer.iterations.numpy())
    return found | {"updates": updates, "seconds": round(seconds)}


def _on_the_grid(whole, steps):
    """The whole paths, of which only the frames at ``steps [N, T]`` are seen."""
    observed = np.zeros_like(whole.observed)
    np.put_along_axis(observed, steps, 1.0, axis=1)
    return dataclasses.replace(whole, observed=observed)


def _errors(name, model, drawn, whole, steps, seed):
    """Measure -> its value, over the test sequences."""
    impute = tf.function(
        lambda *given, **how: model.impute(*given, method="smooth", **how).frames, autograph=False
    )
    shape = drawn.observed.shape
    mask = data.missing_at_random(*shape, _RATE, _FIRST_SEEN, seed)
    grid = bouncing_ball.INTERVAL * np.arange(whole.num_steps)
    hidden, between = [], []
    for first in range(0, len(drawn), _BATCH):
        rows = np.arange(first, first + _BATCH) % len(drawn)
        kept = rows[: len(drawn) - first]
        frames, truth = drawn.unit_frames[rows], whole.unit_frames[rows]
        times, own = drawn.times[rows], steps[rows]
        inside = np.arange(whole.num_steps)
        inside = (inside > own[:, :1]) & (inside < own[:, -1:])
        np.put_along_axis(inside, own, False, axis=1)

        def seen_on_grid(seen, own=own):
            out = np.zeros((len(own), whole.num_steps), np.float32)
            np.put_along_axis(out, own, seen, axis=1)
            return out

        if name == "continuous":
            guess = impute(frames, mask[rows], None, times=times)
            at = np.clip(grid, times[:, :1], None)
            path = impute(frames, None, None, times=times, at=at)
        elif name == "gaps":
            guess = impute(truth, seen_on_grid(mask[rows]), None)
            guess = np.take_along_axis(guess.numpy(), own[..., None, None, None], axis=1)
            path = impute(truth, seen_on_grid(np.ones(own.shape)), None)
        else:
            guess, path = impute(frames, mask[rows], None), None
        wrong = incorrect_pixels(np.asarray(guess), frames)
        hidden.append(_mean(wrong, mask[rows] == 0)[: len(kept)])
        if path is not None:
            between.append(_mean(incorrect_pixels(path.numpy(), truth), inside)[: len(kept)])
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
