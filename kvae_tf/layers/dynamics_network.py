r"""The dynamics parameter network of a KVAE: weights the modes given the encodings so far.

Fraccaro et al. (2017), section 3.3: alpha_t = alpha(a_0, a_1 … a_{t-1}) with a learned a_0, so that
T encodings give T + 1 weights. The network may also emit a control for the same transition.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.layers import fourier
from kvae_tf.lgssm.sequential import scan

KINDS = ("lstm", "gru", "mlp", "fifo", "state", "constant")
MAX_MODES = 1000
_HIGHEST = 16.0  # radians per standard deviation of a latent state


class Parameters(NamedTuple):
    """Outputs of the network for one step, or for each of ``T + 1`` steps.

    Attributes:
      mode_weights: ``[B, K]`` or ``[B, T + 1, K]``, they sum to 1.
      controls: ``[B, L]`` or ``[B, T + 1, L]``, learned controls; L = 0: none.
    """

    mode_weights: tf.Tensor
    controls: tf.Tensor

    def followed_by(self, later: Parameters) -> Parameters:
        """Parameters ``[B, T + 1, ·]`` of all steps, of which ``self`` are those of the first step.

        Args:
          later: parameters of the later steps, ``[B, T, ·]``.
        """
        pairs = zip(self, later, strict=True)
        return Parameters(*(tf.concat([x[:, tf.newaxis], y], axis=1) for x, y in pairs))


@keras.saving.register_keras_serializable("kvae_tf")
class DynamicsParameterNetwork(keras.layers.Layer):
    """alpha: a network over encodings with a softmax over K modes.

    It is called on a whole sequence, or one step at a time in a loop (``start``, ``step``); both
    use the same cell.

    Args:
      num_modes: number K of modes, 1 to 1000; for K = 1 the weight is 1.
      units: width of the network.
      kind: ``"lstm"`` (default) or ``"gru"`` over all encodings so far; ``"mlp"``, two dense layers
        over the last encoding; ``"fifo"``, two dense layers over the last ``window`` encodings;
        ``"state"``, two dense layers over the filtered mean of the latent state, E[z_t | a_{1:t}],
        in place of encodings; or ``"constant"``, without input, for K = 1.
      window: number of last encodings that ``"fifo"`` reads, 1 by default.
      learned_controls: size L of the emitted control; 0: none (default).
      features: number of Fourier features of the latent state that ``"state"`` reads beside it, so
        that modes can change within a small step; 0: none (default).
      reads_intervals: the network also reads the time from each step to the next; False by default.

    Raises:
      UserError: ``num_modes`` is out of its range, or ``kind`` is unknown.
    """

    def __init__(
        self,
        num_modes,
        units,
        kind="lstm",
        window=1,
        learned_controls=0,
        features=0,
        reads_intervals=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 1 <= num_modes <= MAX_MODES:
            raise UserError(f"num_modes is {num_modes}, expected 1 to {MAX_MODES}")
        if kind == "constant" and num_modes > 1:
            raise UserError(
                f"num_modes is {num_modes}, expected 1 with the constant dynamics network, which "
                "has no mode weights"
            )
        self.num_modes = num_modes
        self.units = units
        self.kind = kind
        self.window = window
        self.learned_controls = learned_controls
        self.features = features
        self.reads_intervals = reads_intervals
        self.cell = _cell(kind, units, window)
        self.head = keras.layers.Dense(num_modes, name="head")
        self.control_head = (
            keras.layers.Dense(learned_controls, name="control_head") if learned_controls else None
        )

    @property
    def reads_latents(self) -> bool:
        """Whether the input is a latent state ``[B, n]``, and not an encoding ``[B, m]``."""
        return self.kind == "state"

    def build(self, input_shape):
        size = input_shape[-1]
        if self.reads_latents:
            self.input_scale = self.add_weight(
                shape=(size,), initializer="ones", trainable=False, name="input_scale"
            )
            self.frequencies = self.add_weight(
                shape=(size, self.features), trainable=False, name="frequencies"
            )
            self.frequencies.assign(fourier.frequencies(size, self.features, _HIGHEST))
        self.start_encoding = self.add_weight(
            shape=(size,), initializer="zeros", name="start_encoding"
        )
        width = size + 2 * self.features if self.reads_latents else size
        self.cell.build((None, width + int(self.reads_intervals)))
        self.head.build((None, self.cell.output_size))
        if self.control_head:
            self.control_head.build((None, self.cell.output_size))
        self.built = True

    def start(self, batch_size) -> tuple[Parameters, tuple[tf.Tensor, ...]]:
        """The parameters of the first step, from the learned a_0.

        Args:
          batch_size: B.

        Returns:
          ``Parameters`` of one step, and the network's state.
        """
        start = tf.repeat(self.start_encoding[tf.newaxis], batch_size, axis=0)
        interval = tf.zeros([batch_size]) if self.reads_intervals else None
        if self.reads_latents:
            state = (self._input(start, interval),)
        elif isinstance(self.cell, _WindowCell):
            state = (tf.tile(self._input(start, interval), [1, self.cell.window]),)
        else:
            sizes = tf.nest.flatten(self.cell.state_size)
            state = tuple(tf.zeros([batch_size, size]) for size in sizes)
        return self.step(start, state, interval)

    def step(self, encoding, state, interval=None) -> tuple[Parameters, tuple[tf.Tensor, ...]]:
        """The parameters of step t + 1.

        Args:
          encoding: a_t, ``[B, m]``; for ``"state"`` a latent state, ``[B, n]``.
          state: the network's state before a_t.
          interval: ``[B]``, time from step t to t + 1, where the network reads it; else None.

        Returns:
          ``Parameters`` of one step, and the new state.
        """
        output, state = self.cell(self._input(encoding, interval), list(state))
        return self._parameters(output), tuple(state)

    def call(self, encodings, intervals=None):
        """``Parameters`` of steps 1 … T + 1.

        Args:
          encodings: encodings ``[B, T, m]`` or latents ``[B, T, n]``.
          intervals: ``[B, T]``, where the network reads them; else None.
        """
        first, state = self.start(tf.shape(encodings)[0])
        encodings = self._input(encodings, intervals)

        def step(state, inputs):
            output, state = self.cell(inputs[0], list(state))
            return tuple(state), (output,)

        _, (outputs,) = scan(
            step,
            state,
            (tf.transpose(encodings, [1, 0, 2]),),
            [[encodings.shape[0], self.cell.output_size]],
        )
        later = self._parameters(tf.transpose(outputs, [1, 0, 2]))
        return first.followed_by(later)

    def _input(self, encoding, interval):
        """What the cell reads, ``[..., ·]``."""
        read = self._read(encoding) if self.reads_latents else encoding
        if not self.reads_intervals:
            return read
        return tf.concat([read, interval[..., tf.newaxis]], axis=-1)

    def _read(self, latents):
        """Latents in units of their spread, with Fourier features."""
        return fourier.with_waves(latents / self.input_scale, self.frequencies)

    def _parameters(self, output):
        weights = tf.nn.softmax(tf.cast(self.head(output), tf.float32), axis=-1)
        if self.control_head:
            controls = tf.cast(self.control_head(output), tf.float32)
        else:
            controls = tf.zeros_like(weights[..., :0])
        return Parameters(weights, controls)

    def get_config(self):
        return super().get_config() | {
            "num_modes": self.num_modes,
            "units": self.units,
            "kind": self.kind,
            "window": self.window,
            "learned_controls": self.learned_controls,
            "features": self.features,
            "reads_intervals": self.reads_intervals,
        }


def _cell(kind, units, window):
    """The recurrent cell: ``cell(encoding, states) -> output, states``, as Keras' cells."""
    if kind == "lstm":
        return keras.layers.LSTMCell(units, name="cell")
    if kind == "gru":
        return keras.layers.GRUCell(units, name="cell")
    if kind in ("mlp", "fifo", "state"):
        return _WindowCell(units, window if kind == "fifo" else 1, name="cell")
    if kind == "constant":
        return _ConstantCell(name="cell")
    raise UserError(f"dynamics network is {kind!r}, expected one of {', '.join(KINDS)}")


class _WindowCell(keras.layers.Layer):
    """Two dense layers over the last encodings, which are the state ``[B, window · m]``."""

    def __init__(self, units, window, **kwargs):
        super().__init__(**kwargs)
        self.window = window
        self.output_size = units
        self.hidden = [keras.layers.Dense(units, activation="relu") for _ in range(2)]

    def build(self, input_shape):
        width = self.window * input_shape[-1]
        for layer in self.hidden:
            layer.build((None, width))
            width = self.output_size
        self.built = True

    def call(self, encoding, states):
        window = tf.concat([states[0][:, encoding.shape[-1] :], encoding], axis=1)
        output = window
        for layer in self.hidden:
            output = layer(output)
        return output, [window]


class _ConstantCell(keras.layers.Layer):
    """Always returns 1; its state is 1 as well, since a loop needs a state."""

    output_size = state_size = 1

    def call(self, encoding, states):
        one = tf.ones_like(encoding[:, :1])
        return one, [one]
