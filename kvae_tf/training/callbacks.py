"""Callbacks of a training: throughput, time, NaN guard, checkpoints, pictures."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData, storage
from kvae_tf.errors import DivergedError, UserError
from kvae_tf.training.checkpoints import Checkpoints, kept
from kvae_tf.visualisation import model_figures


class Throughput(keras.callbacks.Callback):
    """Adds ``frames_per_second`` and ``learning_rate`` to the epoch's logs (put it first).

    Args:
      frames_per_step: number of frames in a batch.
    """

    def __init__(self, frames_per_step: int):
        super().__init__()
        self.frames_per_step = frames_per_step

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()
        self._step = int(self.model.optimizer.iterations.numpy())
        self._seconds = None

    def on_test_begin(self, logs=None):
        # The validation at the end of an epoch is not training time.
        if self._seconds is None:
            self._seconds = time.perf_counter() - self._start

    def on_epoch_end(self, epoch, logs=None):
        seconds = self._seconds or time.perf_counter() - self._start
        steps = int(self.model.optimizer.iterations.numpy()) - self._step
        logs["frames_per_second"] = self.frames_per_step * steps / seconds
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class Clock(keras.callbacks.Callback):
    """Keeps the training time, resumed runs included, in a JSON file (put it last).

    The time of an epoch that was killed does not count, like its updates.

    Args:
      path: the file, with ``seconds`` and ``epochs``.
      done: number of epochs before this run.
    """

    def __init__(self, path: Path, done: int):
        super().__init__()
        self.path = path
        self._before = seconds(path) if done and path.exists() else 0.0

    def on_train_begin(self, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        passed = self._before + time.perf_counter() - self._start
        storage.write_json(self.path, {"seconds": passed, "epochs": epoch + 1})


class NaNGuard(keras.callbacks.Callback):
    """Stops the training when a term of the bound is no longer a number.

    The last good checkpoint is the one of the epoch before: nothing is written after a NaN.

    Args:
      folder: folder of the checkpoints, for the message.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_train_batch_end(self, batch, logs=None):
        self._check(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs)

    def _check(self, logs):
        bad = [name for name, value in (logs or {}).items() if not np.all(np.isfinite(value))]
        if not bad:
            return
        # The sums are not finite because a term is not: name the term.
        terms = [name for name in bad if name not in ("loss", "elbo", "val_loss", "val_elbo")]
        step = int(self.model.optimizer.iterations.numpy())
        raise DivergedError(
            f"{', '.join(terms or bad)} not finite after update {step}",
            f"training stopped, {kept(self.folder)} (try a lower --learning_rate or --clip_norm)",
        )


class SaveAndStop(keras.callbacks.Callback):
    """Writes a checkpoint each epoch; ends the training when the validation bound stalls.

    Args:
      checkpoints: checkpoints of the run.
      patience: number of epochs without a better bound after which training ends; 0: never.
      start: number of first epochs in which there is no waiting, and of which none is the best: in
        a training of several parts, those before the last part; 0 by default.
    """

    def __init__(self, checkpoints: Checkpoints, patience: int, start: int = 0):
        super().__init__()
        self.checkpoints = checkpoints
        self.patience = patience
        self.start = start

    def on_epoch_end(self, epoch, logs=None):
        progress = self.checkpoints.progress
        bound = float(logs["val_elbo"])
        is_first = self.patience and epoch == self.start
        is_best = is_first or bound > float(progress.best.numpy())
        if is_best:
            progress.best.assign(bound)
        progress.waited.assign(0 if is_best or epoch < self.start else progress.waited + 1)
        progress.epoch.assign(epoch + 1)
        stop = self.patience and int(progress.waited.numpy()) >= self.patience
        if stop:
            progress.stopped.assign(1)
            self.model.stop_training = True
        self.checkpoints.save(is_best)


class Pictures(keras.callbacks.Callback):
    """TensorBoard images and film strips of a few validation sequences.

    Args:
      folder: folder of the TensorBoard logs.
      data: validation sequences, of which the first eight are drawn.
      every: number of epochs between two sets; the first and the last epoch always write one.
    """

    def __init__(self, folder: Path, data: SequenceData, every: int):
        super().__init__()
        self.folder = folder
        self.data = data.select(slice(0, 8))
        self.every = every

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        if epoch and (epoch + 1) % self.every and not last:
            return
        writer = tf.summary.create_file_writer(str(self.folder))
        with writer.as_default(step=epoch + 1):
            for tag, picture in model_figures.pictures(self.model, self.data).items():
                model_figures.write_summary(tag, picture)
        writer.close()


class EpochLines(keras.callbacks.Callback):
    """One line for each epoch where output is no terminal, since progress bars would fill a log."""

    def on_epoch_end(self, epoch, logs=None):
        if verbosity():
            return
        values = ", ".join(f"{name} {float(value):.5g}" for name, value in (logs or {}).items())
        print(f"epoch {epoch + 1} of {self.params['epochs']}: {values}", flush=True)


def verbosity() -> int:
    """Keras' ``verbose`` of a training: progress bars on a terminal, nothing elsewhere."""
    return int(sys.stdout.isatty())


def seconds(path: Path) -> float:
    """The training time that ``Clock`` wrote.

    Args:
      path: the file ``time.json`` of a run.

    Raises:
      UserError: the file is missing, or holds no time.
    """
    value = storage.read_json(path, "a run's time").get("seconds")
    if not isinstance(value, (int, float)):
        raise UserError(f"{path} has seconds {value!r}, expected a number")
    return value
