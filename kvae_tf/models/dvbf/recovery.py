"""The change from the training of the whole DVBF to its recovery."""

from __future__ import annotations

import keras


class Recovery(keras.callbacks.Callback):
    """Lets the optimiser forget the matrices of which only a part goes on learning.

    A, B and C are one variable. In a recovery C alone learns, and without this the momentum of the
    epochs before would move A and B.

    Args:
      epoch: number of epochs before the recovery.
    """

    def __init__(self, epoch: int):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = self.model.optimizer
        if epoch == self.epoch and hasattr(optimizer, "forget"):
            optimizer.forget(self.model.transition.noise_variables)
