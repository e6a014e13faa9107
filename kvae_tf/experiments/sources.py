"""Trained models by name or path: exports, runs, and files of weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from kvae_tf.errors import UserError
from kvae_tf.experiments import package_data
from kvae_tf.export import weights

_GRAPH = "saved_model.pb"
_EXPECTED = "expected a run, an export's folder, a file of weights (*.weights.h5)"


class Source(NamedTuple):
    """A trained model on disk.

    Attributes:
      kind: ``"export"``, ``"run"`` or ``"weights"``.
      path: the export's version folder, the run's folder, or the file.
    """

    kind: str
    path: Path

    @property
    def folder(self) -> Path:
        """The folder of ``settings.json`` and ``model.json``."""
        return self.path if self.kind == "run" else self.path.parent

    @property
    def weights(self) -> Path:
        """The file of weights of an export, or the file itself."""
        return self.path if self.kind == "weights" else self.folder / weights.WEIGHTS


def names() -> list[str]:
    """The models that come with the package, in a clone or a wheel with models; maybe none."""
    folder = package_data.folder("saved_models")
    found = folder.iterdir() if folder else ()
    return sorted(path.name for path in found if _version(path))


def find(what: str | os.PathLike) -> Source:
    """The model that a name or a path means; a path that is there goes before a name.

    Args:
      what: a name out of ``names()``; the folder of a run, of an export, or of its version, as
        ``saved_models/box/1``; or a file ``*.weights.h5``.

    Raises:
      UserError: it is none of them.
    """
    path = Path(what).expanduser()
    if path.is_file() and path.name.endswith(weights.ENDING):
        return Source("weights", path)
    if (path / _GRAPH).exists():
        return Source("export", path)
    if (path / "settings.json").exists() and (path / "checkpoints").is_dir():
        return Source("run", path)
    if version := _version(path):
        return Source("export", version)
    if path.exists():
        raise UserError(f"{what} is no model, {_EXPECTED}")
    known = names()
    if str(what) in known:
        return Source("export", _version(package_data.folder("saved_models") / str(what)))
    named = f"one of {', '.join(known)}" if known else "a name where the package has its models"
    raise UserError(f"{what} does not exist, {_EXPECTED}, or {named}")


def _version(folder):
    """The newest version of an export; None where the folder holds none."""
    found = [path.parent for path in folder.glob(f"*/{_GRAPH}") if path.parent.name.isdecimal()]
    return max(found, key=lambda path: int(path.name), default=None)
