"""The models by name: those of this package, and those that others add.

A model of your own is added by ``register``; by an entry point of the group ``kvae_tf.models`` in
an installed package, which names a ``ModelSpec``; or from the command line by ``--plugin``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import zlib
from pathlib import Path

from kvae_tf.errors import UserError
from kvae_tf.models.cannonball.spec import SPEC as _CANNONBALL
from kvae_tf.models.dkf.spec import SPEC as _DKF
from kvae_tf.models.dvbf.spec import SPEC as _DVBF
from kvae_tf.models.ed_lstm.spec import SPEC as _ED_LSTM
from kvae_tf.models.frame_rnn.spec import AE_RNN, VAE_RNN
from kvae_tf.models.kvae.spec import SPEC as _KVAE
from kvae_tf.models.spec import ModelSpec

_SPECS: dict[str, ModelSpec] = {
    spec.name: spec for spec in (_KVAE, _DVBF, _DKF, AE_RNN, VAE_RNN, _CANNONBALL, _ED_LSTM)
}
DEFAULT = _KVAE.name


def register(spec: ModelSpec) -> None:
    """Adds a model.

    Args:
      spec: description of the model; its name is new, or the model is registered again.

    Raises:
      UserError: another model has this name.
    """
    known = _SPECS.get(spec.name)
    if known is not None and known.settings is not spec.settings:
        raise UserError(f"model {spec.name!r} is registered already, expected a new name")
    _SPECS[spec.name] = spec


def names() -> list[str]:
    """The names of all models."""
    return list(_known())


def specs() -> list[ModelSpec]:
    """The specs of all models."""
    return list(_known().values())


def get(name: str) -> ModelSpec:
    """The spec of a model.

    Args:
      name: what ``--model`` calls the model.

    Raises:
      UserError: there is no such model.
    """
    if name not in _known():
        raise UserError(
            f"--model is {name!r}, expected one of {', '.join(names())}; a model of your own comes "
            "with --plugin"
        )
    return _SPECS[name]


def load_plugin(place: str) -> None:
    """Imports a file or module, which is to register a model.

    Args:
      place: ``PATH.py``, or a module's dotted name.

    Raises:
      UserError: there is no such file or module.
    """
    if not place.endswith(".py"):
        try:
            importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise UserError(
                f"--plugin={place}: {error}, expected PATH.py or an installed module"
            ) from None
        return
    path = Path(place).resolve()
    if not path.exists():
        raise UserError(f"--plugin={place} does not exist, expected a Python file")
    # A name of its own, so that it hides no other module, nor is hidden by one.
    name = f"kvae_tf_plugin_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return
    module_spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    module_spec.loader.exec_module(module)


def _known():
    _load_entry_points()
    return _SPECS


@functools.cache
def _load_entry_points():
    for point in importlib.metadata.entry_points(group="kvae_tf.models"):
        register(point.load())
