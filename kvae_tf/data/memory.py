"""The limit on what is read into memory, checked before it is read."""

from __future__ import annotations

from kvae_tf.errors import UserError

DEFAULT = 8.0  # GiB
_GIB = 2**30


def check(
    source: str, size: int, max_memory: float, advice: str = "expected less, or TFRecord shards"
) -> None:
    """Raises a ``UserError`` where a source holds more than may be read.

    Args:
      source: name of the file or folder, for the message.
      size: bytes that it takes in memory.
      max_memory: the limit, GiB.
      advice: what was expected, in words, for the message.
    """
    if size > max_memory * _GIB:
        raise UserError(
            f"{source} takes {size / _GIB:.3g} GiB of memory, but --max_memory is {max_memory:g}: "
            f"{advice}"
        )
