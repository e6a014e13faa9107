r"""The linear Gaussian state-space model as a bundle of matrices.

    z_1     ~ N(initial_mean, initial_covariance)
    z_{t+1} = A_t z_t + b_t + w_t,    w_t ~ N(0, diag(q_t))
    y_t     = C_t z_t + v_t,          v_t ~ N(0, diag(r_t))

Fraccaro et al. (2017), equations 1 and 2, where y_t is the paper's a_t and b_t its B_t u_t.

======  =======================  =================
letter  field                    shape
======  =======================  =================
A_t     ``transition``           ``[B, T, n, n]``
b_t     ``transition_offset``    ``[B, T, n]``
q_t     ``transition_noise``     ``[n]``
C_t     ``emission``             ``[B, T, m, n]``
r_t     ``emission_noise``       ``[m]``
m_1     ``initial_mean``         ``[n]``
P_1     ``initial_covariance``   ``[n, n]``
======  =======================  =================
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import probability
from kvae_tf.lgssm.steps import psd_factor

# Field -> (axes of one time step, may it lack a time axis only, never a batch axis alone).
_STEP_AXES = {
    "transition": ("n", "n"),
    "transition_offset": ("n",),
    "transition_noise": ("n",),
    "emission": ("m", "n"),
    "emission_noise": ("m",),
    "initial_mean": ("n",),
    "initial_covariance": ("n", "n"),
}
_INITIAL = ("initial_mean", "initial_covariance")
_OF_MEANS = ("transition_offset", "initial_mean")  # covariances do not depend on them


class LGSSM(NamedTuple):
    """Matrices of a linear Gaussian state-space model (see the module's equations).

    Every field is a float tensor; all share one dtype (float32 or float64). Batch and time may be
    dynamic. A field without its batch and time axes holds for every sequence and step.

    Attributes:
      transition: ``[B, T, n, n]`` or ``[n, n]``; entry ``t`` maps step t to t+1, so entry T-1
        matters only for forecasting.
      transition_offset: ``[B, T, n]``, ``[n]`` or None (zero); the controls' effect ``B_t u_t``.
      transition_noise: ``[n]`` or ``[B, T, n]`` variances, indexed as ``transition``.
      emission: ``[B, T, m, n]`` or ``[m, n]``.
      emission_noise: ``[m]`` or ``[B, T, m]`` variances.
      initial_mean: ``[n]`` or ``[B, n]``.
      initial_covariance: ``[n, n]`` or ``[B, n, n]``.
    """

    transition: tf.Tensor
    transition_offset: tf.Tensor | None
    transition_noise: tf.Tensor
    emission: tf.Tensor
    emission_noise: tf.Tensor
    initial_mean: tf.Tensor
    initial_covariance: tf.Tensor

    @property
    def latent_size(self) -> int:
        """Number n of latent dimensions."""
        return tf.convert_to_tensor(self.transition).shape[-1]

    @property
    def observation_size(self) -> int:
        """Number m of observed dimensions."""
        return tf.convert_to_tensor(self.emission).shape[-2]

    @property
    def dtype(self) -> tf.DType:
        """The dtype that all fields share."""
        return tf.convert_to_tensor(self.transition).dtype

    def validate(self) -> LGSSM:
        """The same model as tensors, checked.

        Raises:
          UserError: a field's rank, size or dtype does not fit the others; the message names it.
        """
        transition = as_tensor("transition", self.transition)
        dtype = transition.dtype
        if dtype not in (tf.float32, tf.float64):
            raise UserError(f"transition has dtype {dtype.name}, expected float32 or float64")
        if not transition.shape.rank or transition.shape[-1] is None:
            raise UserError(f"transition has shape {transition.shape}, expected a known size n")
        emission = as_tensor("emission", self.emission, dtype)
        if emission.shape.rank is None or emission.shape.rank < 2 or emission.shape[-2] is None:
            raise UserError(f"emission has shape {emission.shape}, expected [m, n] or [B, T, m, n]")
        sizes = {"n": transition.shape[-1], "m": emission.shape[-2]}
        fields = {
            name: _checked_field(name, getattr(self, name), sizes, dtype) for name in _STEP_AXES
        }
        return LGSSM(**fields)

    def has_one_covariance(self) -> bool:
        """Whether all fields but the offset and the initial mean are known to fit all sequences."""
        return all(
            name in _OF_MEANS or value.shape.rank == len(_STEP_AXES[name]) or value.shape[0] == 1
            for name, value in self._asdict().items()
        )

    def broadcast(self, batch_size, num_steps, one_covariance: bool = False) -> LGSSM:
        """Every field with its batch and time axes: ``[B, T, ...]``, initial moments ``[B, ...]``.

        Args:
          batch_size: B, an int or scalar tensor.
          num_steps: T, an int or scalar tensor.
          one_covariance: leave the batch axis at 1 in all fields but the offset and the initial
            mean; for models that ``has_one_covariance``. False by default.

        Returns:
          The model with no None and no missing axis.
        """
        offset = self.transition_offset
        if offset is None:
            offset = tf.zeros([self.latent_size], self.dtype)
        full = self._replace(transition_offset=offset)
        fields = {}
        for name, axes in _STEP_AXES.items():
            value = getattr(full, name)
            number = 1 if one_covariance and name not in _OF_MEANS else batch_size
            lead = [number] if name in _INITIAL else [number, num_steps]
            size = value.shape[value.shape.rank - len(axes) :]
            fields[name] = tf.broadcast_to(value, tf.stack([*lead, *size]))
        return LGSSM(**fields)

    @staticmethod
    def step_ranks() -> dict[str, int]:
        """Field -> its rank without batch and time axes."""
        return {name: len(axes) for name, axes in _STEP_AXES.items()}

    def check_extent(self, shape: tf.TensorShape) -> None:
        """Checks that every field's batch and time axes fit observations of shape ``[B, T, m]``.

        Raises:
          UserError: one does not; the message names it.
        """
        for name, axes in _STEP_AXES.items():
            value = getattr(self, name)
            if value is None or value.shape.rank == len(axes):
                continue
            lead = 1 if name in _INITIAL else 2
            for axis, letter in zip(range(lead), "BT", strict=False):
                have, want = value.shape[axis], shape[axis]
                if have not in (None, 1) and want is not None and have != want:
                    raise UserError(
                        f"{name} has shape {value.shape}, but observations {shape}: "
                        f"expected {letter} = {want}"
                    )

    def to_tfp(self, num_timesteps: int):
        """The equivalent ``tfp.distributions.LinearGaussianStateSpaceModel``.

        Args:
          num_timesteps: T, a Python int or scalar tensor.

        Returns:
          A distribution over ``[T, m]`` observations with batch shape ``[B]`` (or none when no
          field has a batch axis). Time-varying fields are looked up by step; TFP asks for the
          transition at T-1 too, and past the last entry the last one is held.

        Raises:
          UserError: a field does not fit, or TensorFlow Probability is not installed.
        """
        model = self.validate()
        tfd = probability.require("LGSSM.to_tfp").distributions
        linalg = tf.linalg
        offset = model.transition_offset
        if offset is None:
            offset = tf.zeros([model.latent_size], model.dtype)

        def at(value, step_rank, t):
            if value.shape.rank == step_rank:
                return value
            last = tf.shape(value)[1] - 1
            return tf.gather(value, tf.minimum(t, last), axis=1)

        return tfd.LinearGaussianStateSpaceModel(
            num_timesteps=num_timesteps,
            transition_matrix=lambda t: linalg.LinearOperatorFullMatrix(at(model.transition, 2, t)),
            transition_noise=lambda t: tfd.MultivariateNormalDiag(
                loc=at(offset, 1, t), scale_diag=tf.sqrt(at(model.transition_noise, 1, t))
            ),
            observation_matrix=lambda t: linalg.LinearOperatorFullMatrix(at(model.emission, 2, t)),
            observation_noise=lambda t: tfd.MultivariateNormalDiag(
                scale_diag=tf.sqrt(at(model.emission_noise, 1, t))
            ),
            initial_state_prior=tfd.MultivariateNormalTriL(
                loc=model.initial_mean, scale_tril=psd_factor(model.initial_covariance)
            ),
        )


def as_tensor(name: str, value, dtype_hint: tf.DType | None = None) -> tf.Tensor:
    """A tensor of what a user gave.

    Args:
      name: name of the argument, for the message.
      value: a tensor, an array, a number or nested lists of them.
      dtype_hint: dtype of Python's numbers; None (default): int32 or float32.

    Raises:
      UserError: ``value`` is nothing of these.
    """
    try:
        return tf.convert_to_tensor(value, dtype_hint=dtype_hint)
    except (TypeError, ValueError):
        raise UserError(
            f"{name} is a {type(value).__name__} that is no tensor, expected one rectangular array"
        ) from None


def _checked_field(name, value, sizes, dtype):
    """One field as a tensor of the model's dtype, its rank and last axes checked."""
    if value is None:
        if name == "transition_offset":
            return None
        raise UserError(f"{name} is None, expected a tensor")
    value = as_tensor(name, value, dtype)
    if value.dtype != dtype:
        raise UserError(f"{name} has dtype {value.dtype.name}, expected {dtype.name} as transition")
    axes = _STEP_AXES[name]
    step = [sizes[axis] for axis in axes]
    lead = ("B",) if name in _INITIAL else ("B", "T")
    full = "[" + ", ".join([*lead, *axes]) + "]"
    short = "[" + ", ".join(axes) + "]"
    rank = value.shape.rank
    fits = rank in (len(axes), len(axes) + len(lead)) and value.shape[
        rank - len(axes) :
    ].is_compatible_with(step)
    if not fits:
        known = ", ".join(f"{letter} = {size}" for letter, size in sizes.items())
        raise UserError(f"{name} has shape {value.shape}, expected {short} or {full} with {known}")
    return value
