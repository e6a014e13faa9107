"""Checkpoints; a run that is resumed from one gives the same numbers, bit for bit.

A checkpoint holds the model, the optimiser and the progress of the training. TensorFlow writes the
data under a new name and then replaces the small index file ``checkpoint``, so that after a kill at
any moment the previous checkpoint is intact.
"""

from __future__ import annotations

import math
from pathlib import Path

import keras
import tensorflow as tf

from kvae_tf.errors import UserError


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

    Args:
      folder: folder that checkpoints are restored from.
      model: a built model, compiled with a built optimiser.
      written_to: folder that checkpoints are written to; None: ``folder`` (default). In a
        distributed training all workers have to write, but only the chief's files count.
    """

    def __init__(self, folder: Path, model: keras.Model, written_to: Path | None = None):
        self._folder, written_to = folder, written_to or folder
        self.progress = Progress()
        self._state = tf.train.Checkpoint(
            model=_values(model.variables),
            optimizer=_values(model.optimizer.variables),
            progress=self.progress,
        )
        self._last = tf.train.CheckpointManager(
            self._state, str(written_to / "last"), max_to_keep=2
        )
        self._best = tf.train.CheckpointManager(
            self._state, str(written_to / "best"), max_to_keep=1
        )

    def save(self, is_best: bool) -> None:
        """Writes the state to ``last``, and before that to ``best`` if it is the best.

        Args:
          is_best: whether the validation bound is the best so far.
        """
        number = self.progress.epoch.numpy()
        if is_best:
            self._best.save(checkpoint_number=number)
        self._last.save(checkpoint_number=number)

    def restore_last(self) -> bool:
        """Restores the last state, if there is one.

        Returns:
          Whether there was a checkpoint.

        Raises:
          UserError: the checkpoint belongs to another architecture, or is damaged.
        """
        return self._restore("last")

    def restore_best(self) -> bool:
        """Restores the state with the best validation bound, if there is one.

        Returns:
          Whether there was a checkpoint.

        Raises:
          UserError: the checkpoint belongs to another architecture, or is damaged.
        """
        return self._restore("best")

    def _restore(self, name):
        path = tf.train.latest_checkpoint(str(self._folder / name))
        if path is None:
            return False
        try:
            self._state.restore(path).assert_existing_objects_matched()
        except (ValueError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"checkpoint {path} is of another architecture than the flags say: {reason}"
            ) from None
        except (tf.errors.OpError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"checkpoint {path} cannot be read: {reason}") from None
        return True


def _values(variables):
    """The TensorFlow variables behind Keras variables, in their order."""
    return [variable.value for variable in variables]
