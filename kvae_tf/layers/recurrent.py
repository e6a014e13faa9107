"""Recurrent cells over whole sequences, as loops for XLA and for dynamic lengths."""

from __future__ import annotations

import keras
import tensorflow as tf

from kvae_tf import lgssm


def run(cell: keras.layers.GRUCell, inputs: tf.Tensor, keep=None, reverse=False) -> tf.Tensor:
    """The cell's output at each step, from a state of zeros.

    Args:
      cell: a cell with a single state.
      inputs: ``[B, T, F]``.
      keep: ``[B, T]``, 0 where the state is set to zero after the step; None: it is never set to
        zero (default).
      reverse: run from the last step to the first; False by default.

    Returns:
      ``[B, T, units]``.
    """
    keep = tf.ones_like(inputs[..., 0]) if keep is None else keep

    def step(carry, now):
        output = cell(now[0], carry)[0] * now[1]
        return (output,), (output,)

    start = tf.zeros([tf.shape(inputs)[0], cell.units])
    sequences = tuple(tf.transpose(x, [1, 0, 2]) for x in (inputs, keep[..., tf.newaxis]))
    shapes = [[inputs.shape[0], cell.units]]
    _, (outputs,) = lgssm.scan(step, (start,), sequences, shapes, reverse)
    return tf.transpose(outputs, [1, 0, 2])


@keras.saving.register_keras_serializable("kvae_tf")
class InitialNetwork(keras.layers.Layer):
    """Raw moments of q(w_1 | x_{1:k}), ``[B, 2n]``, from the first k frames.

    Args:
      size: dimension n of w_1.
      kind: ``"birnn"``, one GRU forward and one backward (default), or ``"mlp"``, a dense layer
        over the k frames side by side.
      units: width of the GRUs or of the dense layer, 64 by default.
      num_frames: number k of first frames, 5 by default; shorter sequences are padded as missing.
    """

    def __init__(self, size, kind="birnn", units=64, num_frames=5, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.kind = kind
        self.units = units
        self.num_frames = num_frames
        if kind == "birnn":
            self.ahead = keras.layers.GRUCell(units, name="ahead")
            self.back = keras.layers.GRUCell(units, name="back")
        else:
            self.hidden = keras.layers.Dense(units, activation="relu", name="hidden")
        self.head = keras.layers.Dense(2 * size, name="head")

    def build(self, input_shape):
        features = input_shape[-1]
        if self.kind == "birnn":
            self.ahead.build((None, features))
            self.back.build((None, features))
            self.head.build((None, 2 * self.units))
        else:
            self.hidden.build((None, self.num_frames * features))
            self.head.build((None, self.units))
        self.built = True

    def call(self, inputs):
        """Raw moments ``[B, 2n]``.

        Args:
          inputs: ``[B, T, F]``, features of frames, 0 where missing, with the mask as one of them.
        """
        padding = tf.maximum(self.num_frames - tf.shape(inputs)[1], 0)
        x = tf.pad(inputs, [[0, 0], [0, padding], [0, 0]])[:, : self.num_frames]
        x = tf.ensure_shape(x, [None, self.num_frames, inputs.shape[-1]])
        if self.kind == "birnn":
            x = tf.concat([run(self.ahead, x)[:, -1], run(self.back, x, reverse=True)[:, 0]], -1)
        else:
            x = self.hidden(tf.reshape(x, [-1, self.num_frames * inputs.shape[-1]]))
        return self.head(x)

    def get_config(self):
        return super().get_config() | {
            "size": self.size,
            "kind": self.kind,
            "units": self.units,
            "num_frames": self.num_frames,
        }
