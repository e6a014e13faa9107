r"""The constrained objective: the dynamics' bound, subject to a reconstruction that is good enough.

    maximise  E[log p(a | u) - log q(a | x)]   subject to   d(x, a) <= d*

d is the distortion of the seen frames, the mean over a sequence, and d* a target that the
auto-encoder alone has reached before. Lagrange's function has one multiplier, which rises where the
constraint is violated and falls where it is met with room to spare:

    maximise over the networks, minimise over lambda > 0:
        E[log p(a | u) - log q(a | x)] - lambda (d / d* - 1)

Rezende and Viola (2018), "Taming VAEs"; Klushyn, Kurle, Soelch, Cseke and van der Smagt (2021),
"Latent matters". With a Gaussian likelihood of D pixels whose variance is d* / D, lambda = D / 2 is
the evidence lower bound.

======  ======================  ================
letter  name                    shape
======  ======================  ================
d       ``distortion``          ``[B]``
d*      ``target``              scalar
lambda  ``multiplier``          scalar, nats
======  ======================  ================
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

_START = 20.0  # nats: the first updates keep what the auto-encoder has learned
_LIMITS = (1e-2, 1e4)


@keras.saving.register_keras_serializable("kvae_tf")
class ReconstructionConstraint(keras.layers.Layer):
    """The multiplier, which the optimiser changes with all other variables, and the target.

    ``pixel_weights [H, W, C]``, ``scale`` and ``target`` are fixed; all are 1 until they are
    assigned.
    """

    def build(self, frame_shape):
        """Creates the variables.

        Args:
          frame_shape: ``(H, W, C)`` of a frame.
        """
        self.pixel_weights = self.add_weight(
            shape=frame_shape, initializer="ones", trainable=False, name="pixel_weights"
        )
        start = keras.initializers.Constant(math.log(_START))
        self.log_multiplier = self.add_weight(
            shape=(), initializer=start, dtype="float32", name="log_multiplier"
        )
        # The distortion of the mean frame, which makes distortions shares; the largest good share.
        self.scale, self.target = (
            self.add_weight(
                shape=(), initializer="ones", trainable=False, dtype="float32", name=name
            )
            for name in ("scale", "target")
        )
        self.built = True

    @property
    def multiplier(self) -> tf.Tensor:
        """lambda, a scalar, nats."""
        return tf.exp(tf.clip_by_value(self.log_multiplier, *map(math.log, _LIMITS)))

    def share(self, likelihood, decoded: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Distortion as a share of the mean frame's: 0 is perfect, 1 no better than it, ``[...]``.

        Args:
          likelihood: the layer of p(x | a).
          decoded: the decoder's output ``[..., H, W, C]``.
          frames: ``[..., H, W, C]`` in [0, 1].
        """
        return likelihood.distortion(decoded, frames, self.pixel_weights) / self.scale

    def penalty(self, share: tf.Tensor) -> tf.Tensor:
        """lambda d / d*, nats, of the shape of ``share``.

        Its gradient descends in what ``share`` depends on, and ascends in the multiplier.

        Args:
          share: distortions as shares, of any shape.
        """
        excess = tf.stop_gradient(share / self.target - 1.0)
        # Large excesses at first say no more than that the constraint is violated.
        excess = tf.clip_by_value(excess, -1.0, 1.0)
        low, high = map(math.log, _LIMITS)
        log_multiplier = tf.convert_to_tensor(self.log_multiplier)
        excess = tf.where(log_multiplier < low, tf.maximum(excess, 0.0), excess)
        excess = tf.where(log_multiplier > high, tf.minimum(excess, 0.0), excess)
        ascent = -log_multiplier * excess
        ascent -= tf.stop_gradient(ascent)
        return tf.stop_gradient(self.multiplier) * share / self.target + ascent
