r"""The deep Kalman filter, or deep Markov model (Krishnan, Shalit and Sontag 2015, 2017).

    z_1 ~ N(mu_1, sigma_1²),  z_{t+1} ~ p(z_{t+1} | z_t, u_t)    dense transition network
    x_t ~ p(x_t | z_t)                                           frame decoder and likelihood
    z_t ~ q(z_t | z_{t-1}, x_{t:T}, u)                           structured inference network

A recurrent network runs backward over the frames, and with ``inference="bidirectional"`` a second
one runs forward; their outputs at t are combined with z_{t-1} to the posterior of z_t. The
transition occurs in the KL divergence only, which the DVBF paper criticises (its section 2.2).
Appendix B.6 of the DVBF paper has the sizes.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.layers.recurrent import run
from kvae_tf.models.nonlinear import Condition, NonlinearSSM, Reading, gaussian_draw, split_moments

INFERENCES = ("backward", "bidirectional")


class Prefixes(Condition):
    """A condition for filtering: inputs of the recurrent networks, to smooth each prefix."""


@keras.saving.register_keras_serializable("kvae_tf")
class DKF(NonlinearSSM):
    """Deep Kalman filter.

    The bound's terms: ``reconstruction``; ``regularisation``, minus the KL divergence of the states
    from the transition. Filtering, which the structured posterior does not give, smooths each
    prefix of a sequence: T times the work.

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      transition_units: width of the transition network's two hidden layers, 128 by default.
      inference: ``"backward"``, a GRU over x_{t:T} (default), or ``"bidirectional"``, also a GRU
        over x_{1:t}.
      dynamics_units: width of the recurrent networks, 128 by default.
      **options: arguments of ``NonlinearSSM``.

    Raises:
      UserError: ``inference`` is unknown, or ``NonlinearSSM`` refuses an argument.
    """

    def __init__(
        self, frame_shape, transition_units=128, inference="backward", dynamics_units=128, **options
    ):
        super().__init__(frame_shape, **options)
        self.record_arguments(locals())
        if inference not in INFERENCES:
            raise UserError(f"inference is {inference!r}, expected one of {', '.join(INFERENCES)}")
        n = self.latent_size
        self.transition = [
            keras.layers.Dense(transition_units, activation="sigmoid", name="transition_0"),
            keras.layers.Dense(transition_units, activation="sigmoid", name="transition_1"),
            keras.layers.Dense(2 * n, name="transition_head"),
        ]
        self.back = keras.layers.GRUCell(dynamics_units, name="back")
        self.ahead = (
            keras.layers.GRUCell(dynamics_units, name="ahead")
            if inference == "bidirectional"
            else None
        )
        context = dynamics_units * (1 if self.ahead is None else 2)
        self.combiner = keras.layers.Dense(context, activation="tanh", name="combiner")
        self.posterior = keras.layers.Dense(2 * n, name="posterior")

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        super().build(input_shape)
        n, U = self.latent_size, self.control_size
        size = n + U
        for layer in self.transition:
            layer.build((None, size))
            size = layer.units
        for cell in (self.back, self.ahead):
            if cell is not None:
                cell.build((None, self.features.size + 1 + U))
        self.combiner.build((None, n + U))
        self.posterior.build((None, self.combiner.units))
        self.initial = self.add_weight(
            shape=(1, 2 * n), initializer="zeros", dtype="float32", name="initial"
        )
        self.start = self.add_weight(
            shape=(1, n + U), initializer="zeros", dtype="float32", name="start"
        )

    @property
    def dynamics_variables(self):
        return [
            *(variable for layer in self.transition for variable in layer.trainable_variables),
            self.initial,
        ]

    def _condition(self, given, smooth):
        condition = super()._condition(given, smooth)
        return condition if smooth else Prefixes(*condition)

    def _states(self, condition, sampler):
        if not isinstance(condition, Prefixes):
            return super()._states(condition, sampler)
        inputs, seen = condition.reading.later, condition.reading.active
        length = tf.shape(seen)[1]
        upto = tf.linalg.band_part(tf.ones([length, length]), -1, 0)  # [prefix, T]
        seen = tf.reshape(seen[:, tf.newaxis] * upto, [-1, length])
        inputs, controls = (tf.repeat(x, length, axis=0) for x in (inputs, condition.controls))
        z = self._walk(self._encode_context(inputs, seen), controls, sampler)[0]
        z = tf.reshape(z, [-1, length, length, self.latent_size])
        return tf.einsum("bttn->btn", z)  # of each prefix its last state

    def _read(self, frames, seen, controls, smooth):
        """The context of each step; if not ``smooth``, the inputs of the recurrent networks."""
        # Each frame comes with the control that led to it.
        led = tf.pad(controls, [[0, 0], [1, 0], [0, 0]])[:, :-1]
        inputs = tf.concat([tf.nn.relu(self.features(frames)), led], axis=-1)
        return self._encode_context(inputs, seen) if smooth else Reading(inputs[:, 0], inputs, seen)

    def _encode_context(self, inputs, seen):
        mask = seen[..., tf.newaxis]
        features, led = inputs[..., : self.features.size], inputs[..., self.features.size :]
        inputs = tf.concat([mask * features, led, mask], axis=-1)
        active = tf.cast(tf.cumsum(seen, axis=1, reverse=True) > 0, tf.float32)
        context = run(self.back, inputs, active, reverse=True)
        if self.ahead is not None:
            context = tf.concat([context, run(self.ahead, inputs)], axis=-1)
        return Reading(context[:, 0], context, active)

    def _prior(self, z, u):
        x = tf.concat([z, u], axis=-1)
        for layer in self.transition:
            x = layer(x)
        mean, log_std = split_moments(x)
        return z + mean, log_std

    def _draw(self, before, reading, active, noise, prior):
        """A draw from q; where ``active`` is 0, q is the prior."""
        raw = self.posterior(0.5 * (self.combiner(before) + reading))
        mean, log_std = (
            tf.where(active > 0, own, of_prior)
            for own, of_prior in zip(split_moments(raw), prior, strict=True)
        )
        return gaussian_draw(mean, log_std, noise, *prior)

    def _initial_prior(self, like):
        return tuple(tf.zeros_like(like) + x for x in split_moments(self.initial))

    def _infer_initial(self, first, active, noise):
        start = tf.repeat(self.start, tf.shape(noise)[0], axis=0)
        draw = self._draw(start, first, active, noise, self._initial_prior(noise))
        return draw.value, draw

    def _sample_initial(self, noise):
        mean, log_std = self._initial_prior(noise)
        return mean + tf.exp(log_std) * noise

    def _advance(self, z, u, reading, active, noise, v):
        del v
        before = tf.concat([z, u], axis=-1)
        draw = self._draw(before, reading, active, noise, self._prior(z, u))
        return draw.value, draw

    def _advance_freely(self, z, u, noise, v):
        del v
        mean, log_std = self._prior(z, u)
        return mean + tf.exp(log_std) * noise
