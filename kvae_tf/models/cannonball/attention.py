r"""Recurrent attention, which locates objects in frames, and a recurrent renderer of objects.

Chiappa and Paquet, equations 1, 2, 8 and 9. Inference runs over steps t and objects n,

    b_t^n = sigm(W^b [s_{t-1}^n, s_t^{n-1}, v_t] + c^b)          s_t^0 = 0
    r_t^n = tanh(W^s [s_{t-1}^n, s_t^{n-1}, v_t] + c^s)          s_0^n = tanh(φ^{N,n})
    s_t^n = (1 - b_t^n) ∘ s_t^{n-1} + b_t^n ∘ r_t^n              q(a_t^n) = N(μ(s_t^n), σ²(s_t^n))

and rendering over objects only,

    α^n = sigm(W^α a_t^n + c^α),   x̂^n = tanh(W^x a_t^n + c^x)   x^0 = tanh(θ)
    x^n = (1 - α^n) ∘ x^{n-1} + α^n ∘ x̂^n                        logits of v_t = W^v x^N + c^v

======  ==================  ==================
letter  name                shape
======  ==================  ==================
v       ``frames``          ``[B, T, H, W, C]``
s       ``states``          ``[B, N, S]``
a       ``positions``       ``[..., N, m]``
N       ``num_objects``     ``[B]``; as a size: the most that a sequence can show
======  ==================  ==================

The products of W^b and W^s with v_t, by far the largest, are the same for all objects and are
computed for all steps at once.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.layers.frame_networks import Encoding

# Of read_linearly: scale of a coordinate in its unit, bias of its mask, factor of other weights.
_SHARE, _OPEN, _QUIET = 0.3, 3.0, 0.1


@keras.saving.register_keras_serializable("kvae_tf")
class RecurrentAttention(keras.layers.Layer):
    """q(a | v): the position of each object in each frame.

    Args:
      max_objects: largest number N of objects in a sequence.
      state_size: width S of the states, 256 by default.
      position_size: dimension m of a position, 2 by default.
      min_std: lower bound of the positions' standard deviation, 1e-3 by default.
      first_looks: number of times that a sequence's first frame is looked at; 1 as in the paper
        (default). States know objects from the frames before, and the first frame has none.
    """

    def __init__(
        self, max_objects, state_size=256, position_size=2, min_std=1e-3, first_looks=1, **kwargs
    ):
        super().__init__(**kwargs)
        self.max_objects = max_objects
        self.state_size = state_size
        self.position_size = position_size
        self.min_std = min_std
        self.first_looks = first_looks

    def build(self, input_shape):
        """Creates the weights; ``input_shape`` is that of frames ``[..., H, W, C]``."""
        S, m = self.state_size, self.position_size
        pixels = math.prod(input_shape[-3:])
        # Each equation has one matrix, stored in parts; its whole size sets its variance.
        wide = _normal((2 * S + pixels) * S)

        def weight(name, shape, initializer):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.from_frame = weight("from_frame", (pixels, 2 * S), wide)
        self.from_past = weight("from_past", (S, 2 * S), wide)
        self.from_others = weight("from_others", (S, 2 * S), wide)
        self.bias = weight("bias", (2 * S,), "zeros")
        # One initial state for each object and each number of objects (footnote 2).
        shape = (self.max_objects, self.max_objects, S)
        self.start_states = weight(
            "start_states", shape, keras.initializers.RandomNormal(stddev=1.0)
        )
        self.to_moments = weight("to_moments", (S, 2 * m), _normal(S * m))
        self.moments_bias = weight("moments_bias", (2 * m,), "zeros")
        self.built = True

    def call(self, frames, num_objects):
        """An ``Encoding`` of means and standard deviations, ``[B, T, N, m]``.

        Values of objects beyond a sequence's number of objects have no meaning.

        Args:
          frames: ``[B, T, H, W, C]``.
          num_objects: ``[B]`` integers from 1 to N.
        """
        projected = tf.transpose(self.project(frames), [1, 0, 2])

        def step(carry, now):
            states = self.step(carry[0], now[0])
            return (states,), (states,)

        start = self.start(num_objects, projected[0])
        shape = [frames.shape[0], self.max_objects, self.state_size]
        _, (states,) = lgssm.scan(step, (start,), (projected,), [shape])
        return self.read(tf.transpose(states, [1, 0, 2, 3]))

    def project(self, frames):
        """W^b v and W^s v, biases included: ``[..., H, W, C] -> [..., 2S]``."""
        flat = tf.reshape(frames, [-1, self.from_frame.shape[0]])
        projected = flat @ self.from_frame + self.bias
        return tf.reshape(projected, tf.concat([tf.shape(frames)[:-3], [projected.shape[1]]], 0))

    def start(self, num_objects, projected, seen=None):
        """States ``[B, N, S]`` before the last look at the first frame.

        Args:
          num_objects: ``[B]`` integers from 1 to N.
          projected: the projected first frames, ``[B, 2S]``.
          seen: ``[B]``, 0 = the first frame is missing; None: none is (default).
        """
        chosen = tf.one_hot(num_objects - 1, self.max_objects)  # a gather has a sparse gradient
        start = states = tf.tanh(tf.tensordot(chosen, self.start_states, 1))
        for _ in range(self.first_looks - 1):
            states = self.step(states, projected)
        return states if seen is None else tf.where(seen[:, None, None] > 0, states, start)

    def step(self, states, projected):
        """s_t ``[B, N, S]`` from s_{t-1} and the projected frame ``[B, 2S]``."""
        past = tf.einsum("bns,sk->bnk", states, self.from_past) + projected[:, tf.newaxis]
        current = tf.zeros_like(states[:, 0])
        new_states = []
        for n in range(self.max_objects):
            raw = past[:, n] + (current @ self.from_others if n else 0.0)
            mask, contribution = tf.split(raw, 2, axis=-1)
            mask = tf.sigmoid(mask)
            current = (1.0 - mask) * current + mask * tf.tanh(contribution)
            new_states.append(current)
        return tf.stack(new_states, axis=1)

    def read(self, states):
        """An ``Encoding`` ``[..., m]`` of states ``[..., S]``."""
        raw = tf.tensordot(states, self.to_moments, 1) + self.moments_bias
        mean, spread = tf.split(raw, 2, axis=-1)
        return Encoding(mean, self.min_std + tf.nn.softplus(spread))

    def read_linearly(self, matrix, offset, spread):
        """Sets weights with which the mean is about ``spread · (frames · matrix + offset)``.

        One unit represents each coordinate: its mask is open, it does not depend on the past, and
        its values are so small that tanh is nearly linear. All other units get small weights.

        Args:
          matrix: ``[H · W · C, m]``, of features whose standard deviation is 1.
          offset: ``[m]``.
          spread: standard deviation that a coordinate is to have.
        """
        S, m = self.state_size, self.position_size
        changed = self.from_frame, self.from_past, self.bias, self.to_moments
        from_frame, from_past, bias, to_moments = values = [x.numpy() for x in changed]
        masks, contributions = slice(0, m), slice(S, S + m)
        from_frame[:, masks] = from_past[:, masks] = from_past[:, contributions] = 0.0
        from_frame[:, contributions] = _SHARE * matrix
        bias[masks], bias[contributions] = _OPEN, _SHARE * offset
        to_moments[:, :m] *= _QUIET
        to_moments[:m] = 0.0
        to_moments[:m, :m] = spread / _SHARE * (1.0 + math.exp(-_OPEN)) * np.eye(m)
        for weight, value in zip(changed, values, strict=True):
            weight.assign(value)

    def get_config(self):
        return super().get_config() | {
            "max_objects": self.max_objects,
            "state_size": self.state_size,
            "position_size": self.position_size,
            "min_std": self.min_std,
            "first_looks": self.first_looks,
        }


@keras.saving.register_keras_serializable("kvae_tf")
class RecurrentRenderer(keras.layers.Layer):
    """The logits of a frame, from the positions of its objects.

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      state_size: width of x, 256 by default.
      position_size: dimension m of a position, 2 by default.
    """

    def __init__(self, frame_shape, state_size=256, position_size=2, **kwargs):
        super().__init__(**kwargs)
        self.frame_shape = tuple(frame_shape)
        self.state_size = state_size
        self.position_size = position_size

    def build(self, input_shape=None):
        del input_shape
        S, m, pixels = self.state_size, self.position_size, math.prod(self.frame_shape)

        def weight(name, shape, initializer):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.canvas = weight("canvas", (S,), keras.initializers.RandomNormal(stddev=1.0))
        self.from_position = weight("from_position", (m, 2 * S), _normal(m * S))
        self.bias = weight("bias", (2 * S,), "zeros")
        self.to_frame = weight("to_frame", (S, pixels), _normal(S * pixels))
        self.frame_bias = weight("frame_bias", (pixels,), "zeros")
        self.built = True

    def call(self, positions, present):
        """Logits ``[..., H, W, C]``.

        Args:
          positions: ``[..., N, m]``; any finite value where an object is absent.
          present: ``[..., N]``, 1 = the object is present.
        """
        count, m = positions.shape[-2:]
        lead = tf.shape(positions)[:-2]
        positions = tf.reshape(positions, [-1, count, m])
        present = tf.reshape(present, [-1, count, 1])
        raw = tf.tensordot(positions, self.from_position, 1) + self.bias
        mask, contribution = tf.split(raw, 2, axis=-1)
        mask, contribution = present * tf.sigmoid(mask), tf.tanh(contribution)
        state = tf.tanh(self.canvas)[tf.newaxis]
        for n in range(count):
            state = (1.0 - mask[:, n]) * state + mask[:, n] * contribution[:, n]
        logits = state @ self.to_frame + self.frame_bias
        return tf.reshape(logits, tf.concat([lead, self.frame_shape], axis=0))

    def get_config(self):
        return super().get_config() | {
            "frame_shape": self.frame_shape,
            "state_size": self.state_size,
            "position_size": self.position_size,
        }


def _normal(num_elements):
    """Initialiser N(0, 1/√d), a variance, for a matrix of d elements (section 3.2)."""
    return keras.initializers.RandomNormal(stddev=num_elements**-0.25)
