"""An optimiser and a learning-rate schedule for trainings in phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kvae_tf")
class PhasedAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) that does not update a variable whose gradient is zero throughout.

    Plain Adam goes on moving a variable that is frozen in a phase of the training, by its old
    momentum; and its bias correction is wrong for a variable that was frozen at first, whose first
    steps are then several times too long. Here each variable counts its own updates. Without frozen
    variables this is Adam.

    Args:
      learning_rate: a number or a schedule, 0.001 by default.
      quick_variables: variables with a learning rate of their own, or their positions among the
        variables that ``build`` is given; none by default.
      factor: factor of the learning rate of ``quick_variables``, 1 by default.
      **options: other arguments of ``keras.optimizers.Adam``.
    """

    def __init__(self, learning_rate=0.001, quick_variables=(), factor=1.0, **options):
        super().__init__(learning_rate, **options)
        self.factor = factor
        # Not the variables themselves: Keras would count them among the optimiser's own, which a
        # file then holds and the optimiser read from it does not.
        self._quick = [x if isinstance(x, int) else id(x) for x in quick_variables]

    def build(self, variables):
        """Creates moments and a count of updates for each variable."""
        if self.built:
            return
        super().build(variables)
        self._counts = [
            self.add_variable((), initializer="zeros", dtype="float32", name=f"count_{i}")
            for i in range(len(variables))
        ]
        quick = set(self._quick)
        self._quick = [i for i, v in enumerate(variables) if {i, id(v)} & quick]
        self._factors = [self.factor if i in self._quick else 1.0 for i in range(len(variables))]

    def update_step(self, gradient, variable, learning_rate):
        """One update of one variable."""
        index = self._get_variable_index(variable)
        m, v, count = self._momentums[index], self._velocities[index], self._counts[index]
        moves = tf.cast(tf.reduce_any(gradient != 0), tf.float32)
        self.assign_add(count, moves)
        step = tf.maximum(tf.convert_to_tensor(count), 1.0)
        rate = tf.cast(learning_rate, tf.float32) * self._factors[index] * moves
        rate *= tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)
        self.assign_add(m, moves * (1.0 - self.beta_1) * (gradient - m))
        self.assign_add(v, moves * (1.0 - self.beta_2) * (tf.square(gradient) - v))
        m, v = tf.convert_to_tensor(m), tf.convert_to_tensor(v)
        self.assign_sub(variable, rate * m / (tf.sqrt(v) + self.epsilon))

    def forget(self, variables):
        """Sets moments and counts of some variables back, as before their first update.

        A variable of which a part rests from now on would else go on moving as a whole.

        Args:
          variables: some of those that ``build`` was given.
        """
        for variable in variables:
            index = self._get_variable_index(variable)
            for state in (self._momentums[index], self._velocities[index], self._counts[index]):
                state.assign(tf.zeros_like(state))

    def get_config(self):
        """The constructor's arguments; ``quick_variables`` of a built optimiser as positions."""
        quick = self._quick if self.built else []
        return super().get_config() | {"factor": self.factor, "quick_variables": quick}


class SchedulePiece(NamedTuple):
    """One piece of a ``PiecewiseSchedule``.

    Attributes:
      updates: number of updates of this piece.
      schedule: learning-rate schedule, in updates from the start of this piece.
    """

    updates: int
    schedule: keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable("kvae_tf")
class PiecewiseSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning-rate schedules one after another; the last one has no end.

    Args:
      pieces: the schedules in their order, at least one.
    """

    def __init__(self, pieces: Sequence[SchedulePiece]):
        self.pieces = [SchedulePiece(*piece) for piece in pieces]

    def __call__(self, step):
        step, start = tf.cast(step, tf.float32), 0.0
        rate = tf.cast(self.pieces[0].schedule(step), tf.float32)
        for before, piece in zip(self.pieces[:-1], self.pieces[1:], strict=True):
            start += before.updates
            here = piece.schedule(tf.maximum(step - start, 0.0))
            rate = tf.where(step >= start, tf.cast(here, tf.float32), rate)
        return rate

    def get_config(self):
        """The pieces, each as its number of updates and its serialised schedule."""
        serialize = keras.optimizers.schedules.serialize
        return {"pieces": [[piece.updates, serialize(piece.schedule)] for piece in self.pieces]}

    @classmethod
    def from_config(cls, config):
        """The schedule that ``get_config`` describes."""
        deserialize = keras.optimizers.schedules.deserialize
        return cls([(updates, deserialize(schedule)) for updates, schedule in config["pieces"]])
