"""A model's ``filter_step`` in another runtime, compared with the model's own over many frames."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.export import step_runtimes
from kvae_tf.models.base import SequenceModel

NUM_FRAMES = 200
_HIDDEN = 0.3  # share of the frames


class Replay(NamedTuple):
    """How a file answers.

    Attributes:
      frames_per_second: of one thread, with all outputs read.
      errors: name of an output -> largest difference from the model's own answer over all frames,
        relative to the larger of 1 and the largest entry.
    """

    frames_per_second: float
    errors: dict[str, float]

    def __str__(self):
        worst = max(self.errors, key=self.errors.get)
        return (
            f"{self.frames_per_second:,.0f} frames a second, largest relative error "
            f"{self.errors[worst]:.1e} ({worst})"
        )


def replay(model: SequenceModel, path: Path, num_frames: int = NUM_FRAMES, seed: int = 0) -> Replay:
    """Filters frames that the model generates, a third of them hidden, by a file and by the model.

    Args:
      model: the live model that the file was made of.
      path: ``filter_step.tflite`` or ``filter_step.onnx``.
      num_frames: number of frames, 200 by default.
      seed: seed of the frames, 0 by default.

    Raises:
      UserError: the file's runtime is not installed.
    """
    step = step_runtimes.load(path)
    rng = np.random.default_rng(seed)
    U = model.control_size
    controls = rng.uniform(-1.0, 1.0, (num_frames, 1, U)).astype(np.float32)
    frames = model.generate(1, num_frames, controls=controls.swapaxes(0, 1), seed=seed).frames
    frames = np.asarray(frames).swapaxes(0, 1)
    observed = (rng.random((num_frames, 1)) >= _HIDDEN).astype(np.float32)
    state, found = step.start(), []
    begin = time.perf_counter()
    for t in range(num_frames):
        given = {"frames": frames[t], "observed": observed[t], "controls": controls[t]}
        given = {name: x for name, x in given.items() if name in step.inputs}
        result = step.call(**state, **given)
        state = {name: x for name, x in result.items() if name.startswith("state_")}
        found.append(result)
    rate = num_frames / (time.perf_counter() - begin)
    state, expected = model.filter_start(1), []
    own_step = tf.function(model.filter_step, autograph=False)
    for t in range(num_frames):
        given = (tf.constant(x[t]) for x in (frames, observed, controls))
        state, result = own_step(state, *given)
        expected.append({name: x.numpy() for name, x in result.items()})
    errors = {}
    for name in expected[0]:
        theirs, ours = (np.stack([result[name] for result in each]) for each in (found, expected))
        errors[name] = float(np.abs(theirs - ours).max() / max(1.0, np.abs(ours).max()))
    return Replay(rate, errors)


def comparison(model: SequenceModel, path: Path) -> str:
    """``replay`` in words, or why there is none.

    Args:
      model: the live model that the file was made of.
      path: the file.
    """
    try:
        return str(replay(model, path))
    except UserError as error:
        return f"not compared: {error}"
