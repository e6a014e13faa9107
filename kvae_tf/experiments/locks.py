"""A lock on a folder, so that two processes do not write the same run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kvae_tf.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def held(folder: Path, flag: str) -> Iterator[None]:
    """Holds the lock of a folder, on its file ``.lock``, for the length of the block.

    The system frees the lock when the process ends, however it ends. Where the system has no such
    locks (Windows, some network drives) nothing is locked.

    Args:
      folder: an existing folder.
      flag: name of the flag that sets the folder, for the message.

    Raises:
      UserError: another process holds the lock, or the lock's file cannot be written.
    """
    try:
        file = open(folder / ".lock", "a")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"cannot write {folder / '.lock'}: {error.strerror}") from None
    with file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"--{flag}={folder} is in use by another process, expected a folder of its own "
                "for each"
            ) from None
        except OSError:  # the file system has no locks
            pass
        yield
