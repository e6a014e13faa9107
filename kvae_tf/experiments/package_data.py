"""Folders that a clone has beside the package, and an installed wheel inside of it."""

from __future__ import annotations

import importlib.resources
from pathlib import Path


def folder(name: str) -> Path | None:
    """A folder of the package: inside of it, or beside it in a clone; None: there is neither.

    Args:
      name: of the folder, as ``"configs"``.
    """
    package = Path(str(importlib.resources.files("kvae_tf")))
    places = (package / name, package.parent / name)
    return next((path for path in places if path.is_dir()), None)
