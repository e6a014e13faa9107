r"""The modes of a KVAE's dynamics, and the LGSSM that mode weights make of them.

Fraccaro et al. (2017), equation 9: A_t = Σ_k alpha_t^(k) A^(k), and B_t, C_t alike.

Three things may depend on the mode that the paper does not have, an offset b_t, the transition's
noise q_t = Σ_k alpha_t^(k) q^(k), and one emission C may serve all modes instead. A bounce is an
affine map, and where it is not certain when it comes, the noise is large there only.

======  =======================  =========================
letter  name                     shape
======  =======================  =========================
alpha   ``mode_weights``         ``[B, T, K]``
A^(k)   ``transition``           ``[K, n, n]``
b^(k)   ``affine``               ``[K, n]``
B^(k)   ``control``              ``[K, n, U]``
C^(k)   ``emission``             ``[K, m, n]``, ``[1, m, n]``
Q, R    ``transition_noise`` …   ``[n]`` or ``[K, n], [m]``
======  =======================  =========================

The paper's z_t = A_t z_{t-1} + B_t u_t reads, in ``lgssm``'s index, transition[t] = A_{t+1}: T
encodings give T + 1 weights, the first T for the emissions, the last T for the transitions.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import LGSSM

NOISE_FLOOR = 1e-6


@keras.saving.register_keras_serializable("kvae_tf")
class ModeMixture(keras.layers.Layer):
    """K linear modes and the noises, and the LGSSM that mode weights make of them.

    Args:
      num_modes: number K of modes.
      latent_size: dimension n of a latent state.
      encoding_size: dimension m of an encoding.
      control_size: number U of controls; 0: none (default).
      transition_noise: variance Q of the transition noise, initial value if learned; 0.08 by
        default.
      emission_noise: variance R of the emission noise, initial value if learned; 0.03 by default.
      initial_variance: variance Σ_1 of z_1, initial value if learned; 20 by default.
      learn_noise: learn Q and R (diagonal); False by default.
      learn_initial: learn the mean and the full covariance of z_1; False by default: z_1 ~
        N(0, Σ_1 I).
      affine_modes: each mode has an offset, too; False by default.
      mode_noise: each mode has a Q of its own; False by default.
      shared_emission: one C for all modes; False by default.
      seed: seed of the initial matrices B and C, an int, 0 by default.

    Raises:
      UserError: a variance is not positive.
    """

    is_continuous = False

    def __init__(
        self,
        num_modes,
        latent_size,
        encoding_size,
        control_size=0,
        transition_noise=0.08,
        emission_noise=0.03,
        initial_variance=20.0,
        learn_noise=False,
        learn_initial=False,
        affine_modes=False,
        mode_noise=False,
        shared_emission=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (
            ("transition_noise", transition_noise),
            ("emission_noise", emission_noise),
            ("initial_variance", initial_variance),
        ):
            if not value > 0:
                raise UserError(f"{name} is {value}, expected a positive variance")
        self.settings = {
            "num_modes": num_modes,
            "latent_size": latent_size,
            "encoding_size": encoding_size,
            "control_size": control_size,
            "transition_noise": transition_noise,
            "emission_noise": emission_noise,
            "initial_variance": initial_variance,
            "learn_noise": learn_noise,
            "learn_initial": learn_initial,
            "affine_modes": affine_modes,
            "mode_noise": mode_noise,
            "shared_emission": shared_emission,
            "seed": seed,
        }

    def build(self, input_shape=None):
        del input_shape
        s = self.settings
        K, n, m, U = (
            s[key] for key in ("num_modes", "latent_size", "encoding_size", "control_size")
        )

        def normal(offset):
            return keras.initializers.RandomNormal(stddev=0.05, seed=s["seed"] + offset)

        def log(value):
            return keras.initializers.Constant(np.log(value))

        def weight(name, shape, initializer, trainable=True):
            return self.add_weight(
                shape=shape,
                initializer=initializer,
                trainable=trainable,
                name=name,
                dtype="float32",
            )

        self.transition = weight("transition", (K, n, n), self._first_transition)
        self.control = weight("control", (K, n, U), normal(1), trainable=U > 0)
        emissions = 1 if s["shared_emission"] else K
        self.emission = weight("emission", (emissions, m, n), normal(2))
        self.affine = weight("affine", (K, n), "zeros") if s["affine_modes"] else None
        learn, start = s["learn_noise"], s["learn_initial"]
        shape = (K, n) if s["mode_noise"] else (n,)
        self.log_transition_noise = weight("log_q", shape, log(s["transition_noise"]), learn)
        self.log_emission_noise = weight("log_r", (m,), log(s["emission_noise"]), learn)
        self.initial_mean = weight("initial_mean", (n,), "zeros", start)
        self.initial_log_scale = weight(
            "initial_log_scale", (n,), log(s["initial_variance"] ** 0.5), start
        )
        self.initial_corner = weight("initial_corner", (n, n), "zeros", start)
        self.built = True

    @staticmethod
    def _first_transition(shape, dtype=None):
        return tf.eye(shape[-1], batch_shape=shape[:1], dtype=dtype or "float32")

    @property
    def transition_noise(self) -> tf.Tensor:
        """Q's diagonal, ``[n]`` variances; with ``mode_noise`` each mode's, ``[K, n]``."""
        return tf.exp(self.log_transition_noise) + NOISE_FLOOR

    @property
    def emission_noise(self) -> tf.Tensor:
        """R's diagonal, ``[m]`` variances."""
        return tf.exp(self.log_emission_noise) + NOISE_FLOOR

    @property
    def initial_covariance(self) -> tf.Tensor:
        """Σ_1, ``[n, n]``, from its Cholesky factor."""
        corner = tf.linalg.band_part(self.initial_corner, -1, 0)
        factor = tf.linalg.set_diag(corner, tf.exp(self.initial_log_scale))
        return tf.reduce_sum(factor[:, tf.newaxis] * factor, axis=-1)

    def assign(self, model: LGSSM, control=None) -> None:
        """Sets all modes to one linear model, and the noises and initial moments to its own.

        Args:
          model: arrays without batch and time axes; variances above ``NOISE_FLOOR``.
          control: ``[n, U]``; None: B stays as it is (default).
        """
        factor = np.linalg.cholesky(np.asarray(model.initial_covariance, np.float64))
        values = [
            (self.transition, model.transition),
            (self.emission, model.emission),
            (self.log_transition_noise, _log_above_floor(model.transition_noise)),
            (self.log_emission_noise, _log_above_floor(model.emission_noise)),
            (self.initial_mean, model.initial_mean),
            (self.initial_log_scale, np.log(np.diagonal(factor))),
            (self.initial_corner, np.tril(factor, -1)),
        ]
        if control is not None:
            values.append((self.control, control))
        for variable, value in values:
            variable.assign(np.broadcast_to(value, variable.shape))

    @property
    def has_offset(self) -> bool:
        """Whether transitions have an offset, of controls or of the modes themselves."""
        return self.settings["control_size"] > 0 or self.affine is not None

    def mix(self, matrices, mode_weights) -> tf.Tensor:
        """Σ_k alpha^(k) M^(k): ``[K, i, j], [..., K] -> [..., i, j]``."""
        if matrices.shape[0] == 1:  # one for all modes; weights sum to 1
            mode_weights = tf.ones_like(mode_weights[..., :1])
        # No tf.matmul here and below: on a GPU it would round to TensorFloat-32.
        return tf.reduce_sum(mode_weights[..., tf.newaxis, tf.newaxis] * matrices, axis=-3)

    def offset(self, mode_weights, controls) -> tf.Tensor:
        """B u + b: ``[..., K], [..., U] -> [..., n]``."""
        control = self.mix(self.control, mode_weights)
        offset = tf.reduce_sum(control * controls[..., tf.newaxis, :], axis=-1)
        return offset if self.affine is None else offset + _mixed(self.affine, mode_weights)

    def noise(self, mode_weights) -> tf.Tensor:
        """Variances of the transition noise: ``[..., K] -> [..., n]``, or ``[n]`` if all alike."""
        q = self.transition_noise
        return _mixed(q, mode_weights) if self.settings["mode_noise"] else q

    def call(self, mode_weights, controls):
        """The LGSSM that mode weights make.

        Args:
          mode_weights: ``[B, T + 1, K]``.
          controls: ``[B, T, U]``.
        """
        later = mode_weights[:, 1:]
        return LGSSM(
            transition=self.mix(self.transition, later),
            transition_offset=self.offset(later, controls) if self.has_offset else None,
            transition_noise=self.noise(later),
            emission=self.mix(self.emission, mode_weights[:, :-1]),
            emission_noise=self.emission_noise,
            initial_mean=tf.convert_to_tensor(self.initial_mean),
            initial_covariance=self.initial_covariance,
        )

    def get_config(self):
        return super().get_config() | self.settings


def _mixed(vectors, mode_weights):
    """Σ_k alpha^(k) v^(k): ``[K, n], [..., K] -> [..., n]``."""
    return tf.reduce_sum(mode_weights[..., tf.newaxis] * vectors, axis=-2)


def _log_above_floor(variances):
    return np.log(np.maximum(np.asarray(variances) - NOISE_FLOOR, 1e-3 * NOISE_FLOOR))
