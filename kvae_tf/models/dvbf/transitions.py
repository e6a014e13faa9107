r"""Transitions z_{t+1} = f(z_t, u_t, w_t; v) of Karl et al. (2017).

They are deterministic once the noise w and the parameters v are drawn. A transition is a layer with
three calls: ``draw(seed)`` returns v, ``transition(z, u, w, v)`` the next state, ``kl()`` the KL
divergence of q(v) from its prior.

======  ===================  =============================
letter  name                 shape
======  ===================  =============================
z       latent state         ``[B, n]``
u       control              ``[B, U]``
w       noise                ``[B, n]``, a priori N(0, I)
v       parameters           a tuple of tensors
alpha   weight of each mode  ``[B, M]``
======  ===================  =============================
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError

KINDS = ("locally_linear", "gated")

_INITIAL_STD = 0.1  # of the matrices' entries
_INITIAL_UNCERTAINTY = 0.01  # standard deviation of q(v)
# Second-order initialisation: factor of a velocity in its position, of a noise in its velocity.
_INITIAL_STEP, _INITIAL_PUSH = 0.25, 0.1


@keras.saving.register_keras_serializable("kvae_tf")
class LocallyLinearTransition(keras.layers.Layer):
    """z_{t+1} = A_t z_t + B_t u_t + C_t w_t, equation 12.

    A_t, B_t and C_t are mixtures of M triplets, v, with weights alpha(z_t, u_t) that sum to 1. The
    posterior of v is a mean-field Gaussian, its prior N(0, s² I), of which s maximises the bound
    (empirical Bayes: s² is the mean of mean² + std² over all entries).

    Args:
      latent_size: dimension n of a latent state.
      control_size: number U of controls.
      num_modes: number M of triplets of matrices, 16 by default.
      residual: the mixture gives z_{t+1} - z_t, as in the authors' code (default), else z_{t+1}.
      bayesian: v has a posterior (default), else it is a point estimate.
      mixer_units: width of a hidden layer before alpha, for borders between the modes that are
        sharp and bent; 0: no such layer, as in the paper (default).
      second_order: initialise the matrices around those of n / 2 positions and their velocities,
        which most moving things have; they are learned all the same. False by default.
    """

    def __init__(
        self,
        latent_size,
        control_size,
        num_modes=16,
        residual=True,
        bayesian=True,
        mixer_units=0,
        second_order=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.latent_size = latent_size
        self.control_size = control_size
        self.num_modes = num_modes
        self.residual = residual
        self.bayesian = bayesian
        self.mixer_units = mixer_units
        self.second_order = second_order
        self.mixer_hidden = None
        if mixer_units:
            self.mixer_hidden = keras.layers.Dense(mixer_units, "relu", name="mixer_hidden")
        self.mixer = keras.layers.Dense(num_modes, name="mixer")

    def build(self, input_shape=None):
        del input_shape
        n, U, M = self.latent_size, self.control_size, self.num_modes
        if self.mixer_hidden:
            self.mixer_hidden.build((None, n + U))
        self.mixer.build((None, self.mixer_units or n + U))
        shape = (M, 2 * n + U, n)  # rows that z, u and w are multiplied with
        initial = keras.initializers.RandomNormal(stddev=_INITIAL_STD)
        if self.second_order:
            initial = self._around_second_order(initial)
        self.matrices = self.add_weight(shape=shape, initializer=initial, name="matrices")
        if self.bayesian:
            initial = keras.initializers.Constant(math.log(_INITIAL_UNCERTAINTY))
            self.log_std = self.add_weight(shape=shape, initializer=initial, name="log_std")
        self.built = True

    def _around_second_order(self, noise):
        """z_{t+1} = z_t + (D v_t + D w_t, w_t), w small, where v_t is the second half of z_t."""
        n, half = self.latent_size, self.latent_size // 2
        move, push = _INITIAL_STEP * np.eye(half), _INITIAL_PUSH * np.eye(half)
        mean = np.zeros([2 * n + self.control_size, n], np.float32)
        if not self.residual:
            mean[:n] = np.eye(n)
        mean[half : 2 * half, :half] = move
        mean[n + self.control_size :][:half, : 2 * half] = np.hstack([push @ move, push])
        return lambda shape, dtype=None: mean + noise(shape, dtype)

    def draw(self, seed=None):
        """v, a tuple of one ``[M, 2n + U, n]``: a draw from q(v) for the whole batch, or its mean.

        Args:
          seed: an int, a stateless pair or a ``Sampler``; None: the mean (default).
        """
        if seed is None or not self.bayesian:
            return (tf.convert_to_tensor(self.matrices),)
        # All parts of a batch share it.
        noise = tf.random.stateless_normal(self.matrices.shape, lgssm.as_sampler(seed).seed)
        return (self.matrices + tf.exp(self.log_std) * noise,)

    def kl(self):
        """KL(q(v) || p(v)) in nats; 0 for a point estimate."""
        if not self.bayesian:
            return tf.zeros([])
        second_moment = tf.square(self.matrices) + tf.exp(2.0 * self.log_std)
        prior_variance = tf.reduce_mean(second_moment)
        # At that variance the quadratic terms are one half an entry, as is the entropy's constant.
        return tf.reduce_sum(0.5 * tf.math.log(prior_variance) - self.log_std)

    @property
    def noise_variables(self):
        """The variables that hold C; those of A and B are among them, see ``resting``."""
        return [self.matrices]

    def resting(self, v):
        """v, of which only the matrices C of the noise learn."""
        (matrices,) = v
        rows = self.latent_size + self.control_size
        return (tf.concat([tf.stop_gradient(matrices[:, :rows]), matrices[:, rows:]], axis=1),)

    def mode_weights(self, z, u):
        """alpha ``[B, M]``, the mode weights of states ``z [B, n]`` and controls ``u [B, U]``."""
        x = tf.concat([z, u], axis=-1)
        return tf.nn.softmax(self.mixer(self.mixer_hidden(x) if self.mixer_hidden else x))

    def call(self, z, u, w, v):
        (matrices,) = v
        x = tf.concat([z, u, w], axis=-1)
        alpha = self.mode_weights(z, u)
        # One product of all modes' matrices: Σ_m α_m (x V_m) = (α ⊗ x) V.
        weighted = alpha[:, :, tf.newaxis] * x[:, tf.newaxis]  # [B, M, 2n + U]
        size = self.num_modes * x.shape[-1]
        moved = tf.reshape(weighted, [-1, size]) @ tf.reshape(matrices, [size, -1])
        return z + moved if self.residual else moved

    def get_config(self):
        return super().get_config() | {
            "latent_size": self.latent_size,
            "control_size": self.control_size,
            "num_modes": self.num_modes,
            "residual": self.residual,
            "bayesian": self.bayesian,
            "mixer_units": self.mixer_units,
            "second_order": self.second_order,
        }


@keras.saving.register_keras_serializable("kvae_tf")
class GatedTransition(keras.layers.Layer):
    """z_{t+1} = (1 - g) ⊙ L(z, u) + g ⊙ h(z, u) + s ⊙ w, after Krishnan et al. (2017).

    The gate g and the proposal h come from dense networks, L is affine, the scale s learned. All
    parameters are point estimates.

    Args:
      latent_size: dimension n of a latent state.
      control_size: number U of controls.
      units: width of the hidden layers of gate and proposal, 64 by default.
    """

    def __init__(self, latent_size, control_size, units=64, **kwargs):
        super().__init__(**kwargs)
        self.latent_size = latent_size
        self.control_size = control_size
        self.units = units
        self.hidden = keras.layers.Dense(2 * units, activation="relu", name="hidden")
        self.gate = keras.layers.Dense(latent_size, activation="sigmoid", name="gate")
        self.proposal = keras.layers.Dense(latent_size, name="proposal")
        self.linear = keras.layers.Dense(latent_size, kernel_initializer=_identity, name="linear")

    def build(self, input_shape=None):
        del input_shape
        n = self.latent_size
        for layer in (self.hidden, self.linear):
            layer.build((None, n + self.control_size))
        for layer in (self.gate, self.proposal):
            layer.build((None, self.units))
        initial = keras.initializers.Constant(math.log(_INITIAL_STD))
        self.log_scale = self.add_weight(shape=(n,), initializer=initial, name="log_scale")
        self.built = True

    def draw(self, seed=None):
        """v, an empty tuple: all parameters are point estimates."""
        del seed
        return ()

    def kl(self):
        """0, since all parameters are point estimates."""
        return tf.zeros([])

    @property
    def noise_variables(self):
        """The scale of the noise."""
        return [self.log_scale]

    def resting(self, v):
        """v, which is empty."""
        return v

    def call(self, z, u, w, v):
        del v
        x = tf.concat([z, u], axis=-1)
        for_gate, for_proposal = tf.split(self.hidden(x), 2, axis=-1)
        g = self.gate(for_gate)
        mean = (1.0 - g) * self.linear(x) + g * self.proposal(for_proposal)
        return mean + tf.exp(self.log_scale) * w

    def get_config(self):
        return super().get_config() | {
            "latent_size": self.latent_size,
            "control_size": self.control_size,
            "units": self.units,
        }


def transition_layer(
    kind: str,
    latent_size: int,
    control_size: int,
    num_modes: int,
    units: int,
    residual: bool,
    bayesian: bool,
    mixer_units: int,
    second_order: bool,
):
    """The transition layer named by a flag.

    Args:
      kind: ``"locally_linear"`` or ``"gated"``.
      latent_size: dimension n of a latent state.
      control_size: number U of controls.
      num_modes: number M of triplets of matrices of the locally linear transition.
      units: width of the hidden layers of the gated transition.
      residual: see ``LocallyLinearTransition``.
      bayesian: see ``LocallyLinearTransition``.
      mixer_units: see ``LocallyLinearTransition``.
      second_order: see ``LocallyLinearTransition``; not for ``"gated"``.

    Raises:
      UserError: ``kind`` is not one of ``KINDS``, or ``second_order`` is set for ``"gated"``.
    """
    if second_order and kind != "locally_linear":
        raise UserError(f"second_order is on, expected off for the {kind} transition")
    if kind == "locally_linear":
        return LocallyLinearTransition(
            latent_size,
            control_size,
            num_modes,
            residual,
            bayesian,
            mixer_units,
            second_order,
            name="transition",
        )
    if kind == "gated":
        return GatedTransition(latent_size, control_size, units, name="transition")
    raise UserError(f"transition is {kind!r}, expected one of {', '.join(KINDS)}")


def _identity(shape, dtype=None):
    """Initial weights with which the state stays as it is and controls have no effect."""
    return tf.eye(*shape, dtype=dtype)
