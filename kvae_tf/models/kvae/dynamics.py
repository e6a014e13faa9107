r"""The state-space model of a batch as a KVAE's queries use it, in discrete or continuous time.

In continuous time there are more steps than frames. Each interval between two frames is divided
into S equal parts, at each of which the modes are weighted anew: a part is a step whose frame is
missing. Queries at other times are further steps, reached by the weights of the part they lie in;
the steps of that part then have the same generator, so that the queries change no other answer.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.models.contract import Latents
from kvae_tf.models.kvae.moments import latent_moments


class Steps(NamedTuple):
    """Encodings at the steps of the dynamics.

    Attributes:
      encodings: ``[B, T, m]``.
      observed: ``[B, T]`` or ``[B, T, m]``, 1 = seen; None: all are seen.
      controls: ``[B, T, U]``.
      intervals: ``[B, T]``, from each step to the next, units of time; None in discrete time.
      variances: ``[B, T, m]``, of errors with which the encodings are read, beside the emission
        noise; None: 0.
    """

    encodings: tf.Tensor
    observed: tf.Tensor | None
    controls: tf.Tensor
    intervals: tf.Tensor | None = None
    variances: tf.Tensor | None = None

    def divided(self, parts: int) -> Steps:
        """The steps with each interval divided into equal parts; ``[B, T parts, ...]``."""
        if parts == 1:
            return self
        seen = self.observed
        if seen is None:
            seen = tf.ones_like(self.encodings[..., 0])
        return Steps(
            _first_of(self.encodings, parts),
            _first_of(seen, parts),
            tf.repeat(self.controls, parts, axis=1),
            tf.repeat(self.intervals, parts, axis=1) / parts,
            None if self.variances is None else _first_of(self.variances, parts),
        )


def _first_of(x, parts):
    """``[B, T, ...] -> [B, T parts, ...]``: each step, followed by zeros."""
    shape = tf.shape(x)
    after = [[0, 0], [0, 0], [0, parts - 1]] + [[0, 0]] * (x.shape.rank - 2)
    padded = tf.pad(x[:, :, tf.newaxis], after)
    steps = tf.reshape(padded, tf.concat([[shape[0], -1], shape[2:]], axis=0))
    return tf.ensure_shape(steps, [x.shape[0], None, *x.shape[2:]])


class Dynamics(NamedTuple):
    """A state-space model, what it observes, and how its states belong to frames.

    Attributes:
      model: the LGSSM of all steps, in continuous time in coordinates of its own.
      encodings: ``[B, T, m]``, with predictions in gaps.
      observed: ``[B, T]`` or ``[B, T, m]``, 1 = seen; None: all are seen.
      mode_weights: ``[B, T, K]``, those of the emissions.
      emission: ``[B, T, m, n]``, of the latent states.
      basis: ``[B, T, n, n]``, from the model's coordinates to those of the latent states; None:
        they are the same.
      steps: ``[B, R]`` int32, the steps that are asked for; None: all.
    """

    model: lgssm.LGSSM
    encodings: tf.Tensor
    observed: tf.Tensor | None
    mode_weights: tf.Tensor
    emission: tf.Tensor
    basis: tf.Tensor | None = None
    steps: tf.Tensor | None = None

    def at_steps(self, x):
        """The steps that are asked for: ``[B, T, ...] -> [B, R, ...]``."""
        return x if self.steps is None else tf.gather(x, self.steps, axis=1, batch_dims=1)

    def moments(self, method: str) -> Latents:
        """Moments of the latent states at these steps.

        Args:
          method: ``"smooth"`` or ``"filter"``.
        """
        z = latent_moments(self.model, self.encodings, self.observed, method)
        if self.basis is not None:
            means = tf.linalg.matvec(self.basis, z.means)
            covariances = tf.matmul(self.basis @ z.covariances, self.basis, transpose_b=True)
            z = Latents(means, covariances)
        return Latents(*map(self.at_steps, z))


def intervals(times, like, unit: float) -> tf.Tensor:
    """Time from each frame to the next, ``[B, T]``, in units; 1 after the last frame.

    Args:
      times: ``[B, T]`` seconds; None: frames are one unit apart.
      like: ``[B, T, ...]``, for the shape.
      unit: seconds.
    """
    one = tf.ones(tf.shape(like)[:2])
    if times is None:
        return one
    return tf.concat([(times[:, 1:] - times[:, :-1]) / unit, one[:, :1]], axis=1)


class Merged(NamedTuple):
    """Steps and further times in one order.

    Attributes:
      order: ``[B, T + R]``, index of each among steps, then times.
      is_step: ``[B, T + R]`` bool.
      intervals: ``[B, T + R]``, from each to the next, units; 1 after the last.
      emission_index: ``[B, T + R]``, of the mode weights ``[B, T + 1, K]`` of the emission.
      weight_index: ``[B, T + R]``, of those of the transition to the next.
      places: ``[B, R]``, where the times are.
    """

    order: tf.Tensor
    is_step: tf.Tensor
    intervals: tf.Tensor
    emission_index: tf.Tensor
    weight_index: tf.Tensor
    places: tf.Tensor


def merge(steps: tf.Tensor, at: tf.Tensor) -> Merged:
    """Sorts further times among those of the steps; of equal times the step comes first.

    Args:
      steps: ``[B, T]``, increasing, units of time.
      at: ``[B, R]``, in any order, none before the first step.
    """
    T = tf.shape(steps)[1]
    both = tf.concat([steps, at], axis=1)
    order = tf.argsort(both, axis=1, stable=True)
    times = tf.gather(both, order, axis=1, batch_dims=1)
    is_step = order < T
    passed = tf.cumsum(tf.cast(is_step, tf.int32), axis=1)  # steps up to here, this one too
    # A time belongs to the interval that ends there, also where that is a step's own time.
    before = tf.searchsorted(steps, times, side="left")
    ones = tf.ones_like(times[:, :1])
    places = tf.argsort(order, axis=1, stable=True)[:, T:]
    return Merged(
        order,
        is_step,
        tf.concat([times[:, 1:] - times[:, :-1], ones], axis=1),
        tf.minimum(before, T),
        tf.minimum(passed, T),
        places,
    )
