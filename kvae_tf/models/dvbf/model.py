r"""Deep variational Bayes filters (Karl, Soelch, Bayer and van der Smagt 2017).

    w_1 ~ q(w_1 | x_{1:k}),  z_1 = z_1(w_1)            initial network, initial transition
    w_t ~ q(w_t | z_t, x_{t+1}, u_t)                   recognition
    z_{t+1} = f(z_t, u_t, w_t; v),  v ~ q(v)           transition
    x_t ~ p(x_t | z_t)                                 frame decoder and likelihood

A priori all w are N(0, I). Inference draws noises, never states, so that the gradient of the
reconstruction passes through all transitions that led to a state. For a missing frame the noise is
drawn from the prior.

======  ==========================  ==============
letter  name                        shape
======  ==========================  ==============
w       noise of a transition       ``[B, n]``
v       parameters of a transition  see ``draw``
======  ==========================  ==============

The symbols x, u and z are as in ``nonlinear``.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError
from kvae_tf.layers import InitialNetwork
from kvae_tf.layers.recurrent import run
from kvae_tf.models.dvbf.transitions import transition_layer
from kvae_tf.models.nonlinear import (
    NonlinearSSM,
    Reading,
    Start,
    gaussian_draw,
    split_moments,
)
from kvae_tf.models.training_step import Phase

RECOGNITIONS = ("filter", "smooth")
# Of a recovery: share of the sequences that start at a wrong state, and how far it is moved.
_OFF_SHARE, _OFF_STD = 0.35, 0.5


@keras.saving.register_keras_serializable("kvae_tf")
class DVBF(NonlinearSSM):
    """Deep variational Bayes filter.

    The bound's terms: ``reconstruction``; ``regularisation``, minus KL(q(w) || p(w)); and
    ``parameters``, minus KL(q(v) || p(v)) divided by the number of training sequences (the paper
    does not count it in its figures).

    Args:
      frame_shape: ``(H, W, C)`` of a frame.
      transition: ``"locally_linear"`` (section 3.3, default) or ``"gated"``, a gated dense network.
      num_modes: number M of triplets of matrices of the locally linear transition, 16 by default.
      residual_transition: the locally linear transition gives the change z_{t+1} - z_t (default),
        else z_{t+1} itself.
      bayesian_weights: the matrices of the locally linear transition have a posterior (default),
        else they are point estimates.
      mixer_units: width of a hidden layer before the mode weights; 0: no such layer (default).
      second_order: initialise the matrices as if one half of the state were the velocities of the
        other half; False by default.
      initial_network: network that reads the first frames, ``"birnn"`` (default) or ``"mlp"``.
      initial_frames: number k of first frames that the initial network reads, 5 by default.
      recognition: ``"filter"`` (default): w_t is inferred from the next frame; ``"smooth"``: in one
        half of the training sequences also from all later frames, by a GRU that runs backward, so
        that the model can filter and smooth.
      noise_limit: largest mean of q(w), in standard deviations of the prior, so that a state far
        off is not pushed further; 0: no limit (default).
      dynamics_units: width of the recurrent networks and of the gated transition, 64 by default.
      recovery_start: number of updates after which only the recognition and the matrices of the
        noise learn, from sequences of which a share starts at a wrong state; None: never (default).
      num_sequences: number of training sequences, by which the KL divergence of the parameters is
        divided; 1 by default.
      **options: arguments of ``NonlinearSSM``.

    Raises:
      UserError: ``recognition`` or ``transition`` is unknown, ``second_order`` is set for the gated
        transition, or ``NonlinearSSM`` refuses an argument.
    """

    def __init__(
        self,
        frame_shape,
        transition="locally_linear",
        num_modes=16,
        residual_transition=True,
        bayesian_weights=True,
        mixer_units=0,
        second_order=False,
        initial_network="birnn",
        initial_frames=5,
        recognition="filter",
        noise_limit=0.0,
        dynamics_units=64,
        recovery_start=None,
        num_sequences=1,
        **options,
    ):
        super().__init__(frame_shape, **options)
        self.record_arguments(locals())
        if recognition not in RECOGNITIONS:
            raise UserError(
                f"recognition is {recognition!r}, expected one of {', '.join(RECOGNITIONS)}"
            )
        self.recognition = recognition
        self.noise_limit = noise_limit
        self.recovery_start = recovery_start
        self.num_sequences = num_sequences
        n, F = self.latent_size, self.features.size
        self.transition = transition_layer(
            transition,
            n,
            self.control_size,
            num_modes,
            dynamics_units,
            residual_transition,
            bayesian_weights,
            mixer_units,
            second_order,
        )
        self.initial_network = InitialNetwork(
            n, initial_network, dynamics_units, initial_frames, name="initial_network"
        )
        self.initial_hidden = keras.layers.Dense(F, activation="relu", name="initial_hidden")
        self.initial_head = keras.layers.Dense(n, name="initial_head")
        self.recognition_hidden = keras.layers.Dense(F, use_bias=False, name="recognition_hidden")
        self.recognition_head = keras.layers.Dense(2 * n, name="recognition_head")
        if recognition == "smooth":
            self.backward_cell = keras.layers.GRUCell(dynamics_units, name="backward_cell")
            self.backward_head = keras.layers.Dense(F, use_bias=False, name="backward_head")

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        super().build(input_shape)
        n, F, U = self.latent_size, self.features.size, self.control_size
        self.transition.build()
        self.initial_network.build((None, None, F + 1 + U))
        self.initial_hidden.build((None, n))
        self.initial_head.build((None, F))
        self.recognition_hidden.build((None, n + U))
        self.recognition_head.build((None, F))
        if self.recognition == "smooth":
            self.backward_cell.build((None, F + 1 + U))
            self.backward_head.build((None, self.backward_cell.units))

    @property
    def term_names(self):
        return (*super().term_names, "parameters")

    @property
    def filter_warmup(self):
        """k - 1, since the initial network reads k frames."""
        return self.initial_network.num_frames - 1

    def _filter(self, given):
        """Moments over draws from q.

        The initial network reads the first k frames (``initial_frames``) at once, so the first
        k - 1 filtered states depend on all k of them, see ``filter_warmup``.
        """
        return super()._filter(given)

    @property
    def supports(self):
        """``smooth`` only where the recognition reads later frames."""
        return super().supports - ({"smooth"} if self.recognition == "filter" else set())

    @property
    def imputation_methods(self):
        """``"smooth"`` only where the recognition reads later frames."""
        return ("filter",) if self.recognition == "filter" else ("smooth", "filter")

    @property
    def phases(self):
        """All of the model; then, if it is asked for, recognition and the scale of noise alone."""
        start = self.recovery_start
        whole = Phase(self.training_bound, self.trainable_variables, start or 0)
        if start is None:
            return [whole]
        layers = [self.recognition_hidden, self.recognition_head]
        if self.recognition == "smooth":
            layers += [self.backward_cell, self.backward_head]
        variables = [variable for layer in layers for variable in layer.trainable_variables]
        variables += self.transition.noise_variables
        recovery = Phase(self.recovery_bound, variables)
        return [whole, recovery] if start else [recovery]

    def recovery_bound(self, batch, seed):
        """``training_bound``, a share of the sequences starting at a wrong state.

        That state is a draw from the prior, moved at random, and the frames that the initial
        network would have read do not count. So recognition learns to correct states that are off,
        without which a filter of long sequences may be lost.
        """
        sampler = lgssm.as_sampler(seed)
        *_, own = sampler.split(3)  # the first two are those of ``_walk``
        share, initial, moved = own.split(3)
        count = tf.shape(batch["frames"])[0]
        shape = [count, self.latent_size]
        states = self._sample_initial(initial.normal(shape)) + _OFF_STD * moved.normal(shape)
        replaced = tf.cast(share.uniform([count, 1]) < _OFF_SHARE, tf.float32)
        start = Start(replaced, states, self.initial_network.num_frames)
        return self._bound(batch, sampler, training=True, start=start)

    @property
    def dynamics_variables(self):
        return self.transition.trainable_variables

    def _need(self, query):
        if query == "smooth" and self.recognition == "filter":
            raise UserError(
                "DVBF does not smooth with recognition='filter', expected a model that was trained "
                "with --recognition=smooth"
            )
        super()._need(query)

    def _read(self, frames, seen, controls, smooth):
        """A ``Reading``; features of missing frames are 0, and later frames count if ``smooth``."""
        mask = seen[..., tf.newaxis]
        features = mask * self.features(frames)
        inputs = tf.concat([tf.nn.relu(features), mask, controls], axis=-1)
        reading = Reading(inputs, features, seen)
        if not smooth:
            return reading
        known_later = tf.cumsum(seen, axis=1, reverse=True)
        active = tf.cast(known_later > 0, tf.float32)
        later = self.backward_head(run(self.backward_cell, inputs, active, reverse=True))
        return Reading(inputs, features + later, active)

    def _read_in_training(self, frames, seen, controls, sampler):
        """A coin for each sequence decides whether later frames count."""
        ahead = self._read(frames, seen, controls, smooth=False)
        if self.recognition == "filter":
            return ahead
        both = self._read(frames, seen, controls, smooth=True)
        coin = sampler.uniform([tf.shape(frames)[0], 1]) < 0.5
        return Reading(
            ahead.first,
            tf.where(coin[..., tf.newaxis], both.later, ahead.later),
            tf.where(coin, both.active, ahead.active),
        )

    def _parameters(self, sampler):
        return self.transition.draw(sampler)

    def _resting(self, v):
        return self.transition.resting(v)

    def _parameter_cost(self):
        return self.transition.kl() / self.num_sequences

    def _infer_initial(self, first, active, noise):
        del active
        draw = gaussian_draw(*split_moments(self.initial_network(first)), noise)
        return self._sample_initial(draw.value), draw

    def _sample_initial(self, noise):
        return self.initial_head(self.initial_hidden(noise))

    def _advance(self, z, u, reading, active, noise, v):
        hidden = tf.nn.relu(reading + self.recognition_hidden(tf.concat([z, u], axis=-1)))
        mean, log_std = split_moments(self.recognition_head(hidden))
        if self.noise_limit:
            mean = self.noise_limit * tf.tanh(mean / self.noise_limit)
        draw = gaussian_draw(active * mean, active * log_std, noise)
        return self._advance_freely(z, u, draw.value, v), draw

    def _advance_freely(self, z, u, noise, v):
        return self.transition(z, u, noise, v)
