"""The weights of a model beside its export, and what is needed to make the same model again.

``weights.weights.h5`` is a file of Keras, without the optimiser's state. ``model.json`` holds the
arguments of the model's constructor and a few facts: see ``Description``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.models.base import SequenceModel

ENDING = ".weights.h5"
WEIGHTS = f"weights{ENDING}"
MODEL = "model.json"
_OPTIMIZER = "optimizer"  # a group of files that ``model.save_weights`` of Keras wrote


class Description(NamedTuple):
    """What ``model.json`` says of a model.

    Attributes:
      model: name of the model, as of ``--model``.
      frame_shape: ``(H, W, C)`` of a frame.
      control_size: number U of controls; 0: none.
      is_vector: whether frames are vectors ``(1, D, 1)``.
      max_objects: largest number of objects in a sequence; 0: a model without objects.
      steps_per_epoch: number of updates in an epoch of the training.
      arguments: the constructor's arguments by name.
    """

    model: str
    frame_shape: tuple[int, int, int]
    control_size: int
    is_vector: bool
    max_objects: int
    steps_per_epoch: int
    arguments: dict[str, object]


def describe(model: SequenceModel, name: str, steps_per_epoch: int) -> Description:
    """The description of a live model.

    Args:
      model: the model.
      name: name of the model, as of ``--model``.
      steps_per_epoch: number of updates in an epoch of its training.
    """
    return Description(
        name,
        tuple(model.frame_shape),
        model.control_size,
        bool(model.is_vector),
        model.max_objects,
        steps_per_epoch,
        model.get_config(),
    )


def write_description(path: Path, description: Description) -> None:
    """Writes ``model.json`` atomically."""
    storage.write_json(path, description._asdict())


def read_description(path: Path) -> Description:
    """The contents of a ``model.json``.

    Args:
      path: the file.

    Raises:
      UserError: the file is missing or of another form.
    """
    values = storage.read_json(path, "the description of a model")
    kinds = {"model": str, "frame_shape": list, "control_size": int, "is_vector": bool,
             "max_objects": int, "steps_per_epoch": int, "arguments": dict}  # fmt: skip
    for name, kind in kinds.items():
        if not isinstance(values.get(name), kind):
            raise UserError(f"{path} does not describe a model: {name} is {values.get(name)!r}")
    shape = values["frame_shape"]
    if len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise UserError(f"{path} does not describe a model: frame_shape is {shape}")
    return Description(**{name: values[name] for name in kinds} | {"frame_shape": tuple(shape)})


def write(path: Path, model: SequenceModel) -> None:
    """Writes a model's weights atomically, as ``load_weights`` of Keras reads them.

    Args:
      path: the file, whose name ends in ``.weights.h5``.
      model: a built model.

    Raises:
      UserError: the file cannot be written.
    """
    storage.write_bytes(path, _bytes(_twin(model)))


def read(path: Path, model: SequenceModel) -> None:
    """Sets a model's weights to those of a file; the optimiser's state in it is not read.

    Args:
      path: a file of ``write``, or of ``save_weights`` of Keras.
      model: a built model.

    Raises:
      UserError: the file is missing or damaged, refers to other files, holds NaN, or is of a model
        of other sizes.
    """
    twin = _twin(model)
    with tempfile.TemporaryDirectory() as folder:
        like = Path(folder) / WEIGHTS
        like.write_bytes(_bytes(twin))
        wanted = _shapes(like)
    found = _shapes(path)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise UserError(
                f"{path} has {_shown(found, name)} as {name}, expected {_shown(wanted, name)}, as "
                "the model has: pass the settings of the model that wrote the file"
            )
    twin.load_weights(path)
    values = twin.get_weights()
    if not all(np.isfinite(value).all() for value in values):
        raise UserError(f"{path} holds NaN or infinities, expected the weights of a trained model")
    model.set_weights(values)


def _twin(model):
    """The same model without an optimiser, whose state would be part of the file."""
    twin = type(model).from_config(model.get_config())
    twin.build()
    twin.set_weights(model.get_weights())
    return twin


def _bytes(model):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS
        model.save_weights(path)
        return path.read_bytes()


def _shapes(path):
    """Name of an array -> shape, of all arrays in a file but those of an optimiser."""
    found = {}
    try:
        with h5py.File(path, "r") as file:
            _collect(file, "", found, path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist, expected a file of weights") from None
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged or no file of weights ({type(error).__name__})"
        ) from None
    return found


def _collect(group, prefix, found, path):
    for key in group:
        name = f"{prefix}{key}"
        if name == _OPTIMIZER:
            continue
        # A link is not followed to see where it leads.
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise UserError(f"{path}: {name} is a link; expected an array in the file itself")
        value = group[key]
        if isinstance(value, h5py.Group):
            _collect(value, f"{name}/", found, path)
        elif value.external or value.is_virtual:
            raise UserError(f"{path}: {name} is kept in other files; expected it in the file")
        else:
            found[name] = value.shape


def _shown(shapes, name):
    return f"shape {shapes[name]}" if name in shapes else "nothing"
