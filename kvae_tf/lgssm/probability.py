"""TensorFlow Probability, which is imported where it is used and needed by nothing else."""

from __future__ import annotations

from types import ModuleType

from kvae_tf.errors import UserError


def require(what: str) -> ModuleType:
    """The module ``tensorflow_probability``.

    Args:
      what: what was asked for, for the message.

    Raises:
      UserError: the module, or ``tf_keras`` that it needs, is not installed or does not fit this
        TensorFlow.
    """
    try:
        import tensorflow_probability
    except ImportError as error:
        words = " ".join(str(error).split())
        raise UserError(
            f"{what} needs TensorFlow Probability: pip install tensorflow-probability tf_keras "
            f"({words})"
        ) from None
    return tensorflow_probability
