"""Checkpoints; a run that is resumed from one gives the same numbers, bit for bit.

A checkpoint holds the model, the optimiser and the progress of the training. TensorFlow writes the
data under a new name before it deletes an older checkpoint, so that after a kill at any moment, or
on a full disk, the previous checkpoint is intact. What counts is which checkpoints can be read, not
what TensorFlow's small file ``checkpoint`` says of them.
"""

from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path

import keras
import tensorflow as tf

from kvae_tf.data import storage
from kvae_tf.errors import UserError

_KEPT = {"last": 2, "best": 1, "calibrated": 1}  # number of checkpoints of each kind
_STATE = "checkpoint"  # TensorFlow's file that lists the checkpoints of a folder
# What TensorFlow raises on missing and damaged files.
_DAMAGE = (tf.errors.OpError, LookupError, ValueError, RuntimeError, OSError)


class Progress(tf.Module):
    """Progress of a training, kept in its checkpoints.

    Attributes:
      epoch: number of finished epochs.
      best: best validation bound so far, nats per frame.
      waited: number of epochs since the best validation bound.
      stopped: 1 if the training ended early, else 0.
    """

    def __init__(self):
        super().__init__(name="progress")
        self.epoch = tf.Variable(0, dtype=tf.int64)
        self.best = tf.Variable(-math.inf, dtype=tf.float64)
        self.waited = tf.Variable(0, dtype=tf.int64)
        self.stopped = tf.Variable(0, dtype=tf.int64)


class Checkpoints:
    """The last and the best state of a run, in ``folder/last`` and ``folder/best``.

    ``folder/calibrated`` has the state that follows from one of them after the last epoch, where a
    training ends with a calibration. The training itself never goes on from there, so that only
    this state has the variable ``imputation_factors`` of a model.

    Args:
      folder: folder that checkpoints are restored from.
      model: a built model, compiled with a built optimiser.
      written_to: folder that checkpoints are written to; None: ``folder`` (default). In a
        distributed training all workers have to write, but only the chief's files count.
    """

    def __init__(self, folder: Path, model: keras.Model, written_to: Path | None = None):
        self._folder, self._written_to = folder, written_to or folder
        self.progress = Progress()
        factors = getattr(model, "imputation_factors", None)
        parts = {
            "model": _values(v for v in model.variables if v is not factors),
            "optimizer": _values(model.optimizer.variables),
            "progress": self.progress,
        }
        self._trained = tf.train.Checkpoint(**parts)
        calibrated = {} if factors is None else {"imputation_factors": factors.value}
        self._calibrated = tf.train.Checkpoint(**parts, **calibrated)
        self._managers = {}

    def claim(self) -> None:
        """Removes what a killed process left in the folders; nobody else may write there."""
        if not self._managers:
            for name, most in _KEPT.items():
                self._managers[name] = _manager(self._state(name), self._written_to / name, most)

    def save(self, is_best: bool) -> None:
        """Writes the state to ``last``, and before that to ``best`` if it is the best.

        Args:
          is_best: whether the validation bound is the best so far.

        Raises:
          UserError: the checkpoint cannot be written, for instance because the disk is full.
        """
        for name in ("best", "last") if is_best else ("last",):
            self._save(name)

    def save_calibrated(self) -> None:
        """Writes the state to ``calibrated``.

        Raises:
          UserError: the checkpoint cannot be written, for instance because the disk is full.
        """
        self._save("calibrated")

    def discard_calibrated(self) -> None:
        """Removes a calibrated state, which is no longer that of the last epoch."""
        shutil.rmtree(self._written_to / "calibrated", ignore_errors=True)
        self._managers.clear()

    def restore_last(self) -> bool:
        """Restores the last state that can be read, if there is one; warns of newer ones.

        Returns:
          Whether there was a checkpoint.

        Raises:
          UserError: the checkpoint belongs to another architecture, or none can be read.
        """
        return self._restore("last")

    def restore_best(self) -> bool:
        """Restores the state with the best validation bound, if there is one.

        Returns:
          Whether there was a checkpoint.

        Raises:
          UserError: the checkpoint belongs to another architecture, or none can be read.
        """
        return self._restore("best")

    def restore_calibrated(self) -> bool:
        """Restores the calibrated state, if there is one.

        Returns:
          Whether there was a checkpoint.

        Raises:
          UserError: the checkpoint belongs to another architecture, or none can be read.
        """
        return self._restore("calibrated")

    def _state(self, name):
        return self._calibrated if name == "calibrated" else self._trained

    def _save(self, name):
        folder, number = self._written_to / name, int(self.progress.epoch.numpy())
        try:
            self.claim()
            self._managers[name].save(checkpoint_number=number)
        except (tf.errors.OpError, OSError, UserError) as error:
            path = folder / f"ckpt-{number}"
            _remove(path.with_name(f"{path.name}_temp"))
            if _damage(path):
                for left in folder.glob(f"{path.name}.*"):
                    _remove(left)
            reason = storage.full_disk(error) or _reason(error)
            raise UserError(
                f"cannot write checkpoint {path}: {reason}; {kept(self._folder)}"
            ) from None

    def _restore(self, name):
        damaged = []
        for path in reversed(_paths(self._folder / name)):
            reason = _damage(path)
            if reason is None:
                break
            damaged.append(f"{path} cannot be read: {reason}")
        else:
            if damaged or (self._folder / name / _STATE).exists():
                what = "; ".join(damaged) or f"{self._folder / name} has lost its checkpoints"
                raise UserError(f"{what}; expected a checkpoint (--overwrite starts afresh)")
            return False
        if damaged:
            warnings.warn(f"{'; '.join(damaged)}; {path} is taken in its place", stacklevel=3)
        try:
            self._state(name).restore(str(path)).assert_existing_objects_matched()
        except (ValueError, AssertionError) as error:
            raise UserError(
                f"checkpoint {path} is of another architecture than the flags say: {_reason(error)}"
            ) from None
        return True


def exist(folder: Path) -> bool:
    """Whether a run has written checkpoints, readable or not.

    Args:
      folder: folder of the run's checkpoints.
    """
    return bool(_paths(folder / "last"))


def kept(folder: Path) -> str:
    """What a run that ends now leaves, in words.

    Args:
      folder: folder of the run's checkpoints.
    """
    numbers = [_number(path) for path in _paths(folder / "last")]
    if not numbers:
        return "no epoch was finished, so that there is no checkpoint"
    return f"the checkpoint after epoch {numbers[-1]} is kept in {folder}"


def _manager(state, folder, most):
    """TensorFlow's manager of a folder, which knows all checkpoints there, and nothing else is."""
    names = [path.name for path in _paths(folder)]
    for left in folder.glob("*"):
        if left.name != _STATE and left.stem not in names:
            _remove(left)
    if names:
        lines = [f'model_checkpoint_path: "{names[-1]}"']
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
        # Without times the manager would keep them all.
        lines += ["all_model_checkpoint_timestamps: 1.0" for _ in names]
        lines += ["last_preserved_timestamp: 0.0"]
        storage.write_text(folder / _STATE, "\n".join(lines) + "\n")
    return tf.train.CheckpointManager(state, str(folder), max_to_keep=most)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _paths(folder):
    """The checkpoints in a folder, as TensorFlow names them, the newest last."""
    found = [path.with_suffix("") for path in folder.glob("ckpt-*.index")]
    return sorted((path for path in found if path.name[5:].isdecimal()), key=_number)


def _number(path):
    return int(path.name[5:])


def _damage(path):
    """Why a checkpoint cannot be read; None: it can, to the last byte."""
    try:
        reader = tf.train.load_checkpoint(str(path))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except _DAMAGE as error:
        return _reason(error)
    return None


def _reason(error):
    return " ".join(str(error).split())[:200]


def _values(variables):
    """The TensorFlow variables behind Keras variables, in their order."""
    return [variable.value for variable in variables]
