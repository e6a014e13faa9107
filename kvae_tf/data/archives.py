"""Data sets as NumPy archives, or as HDF5 files with the same arrays.

A user's file holds ``images``, or ``vectors [N, T, D]`` (NaN where an entry is missing), and
optionally ``controls``, ``states``, ``observed``, ``state_names`` and ``num_objects`` (shapes as in
``SequenceData.from_arrays``). It may have its own parts: then the names start with ``train_``,
``validation_`` and ``test_`` (``images`` counts as ``train_images``). Missing parts are split off
the training part.
"""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from kvae_tf.data import number_checks, storage
from kvae_tf.data.sequence_data import FRACTIONS, SequenceData, Splits, from_vectors, partition
from kvae_tf.errors import UserError

# What NumPy and zipfile raise on damaged bytes; OSError is separate, it has a reason to show.
_DAMAGE = (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)
# Pickled arrays are never opened. Without these three the sequences still mean the same; the
# KVAE authors' files carry an unused pickled array of controls.
_IGNORABLE = ("controls", "states", "state_names")
_ARRAYS = ("images", "vectors", "observed", "num_objects", *_IGNORABLE)
HDF5 = (".h5", ".hdf5")
_PREFIXES = tuple(f"{name}_" for name in Splits._fields)
_KNOWN = {f"{part}{name}" for part in ("", *_PREFIXES) for name in _ARRAYS}


def load_arrays(
    path: str | os.PathLike, seed: int = 0, fractions: Sequence[float] = FRACTIONS
) -> Splits:
    """Train, validation and test part of an archive.

    Args:
      path: the ``.npz``, ``.h5`` or ``.hdf5`` file.
      seed: seed of the shuffle before missing parts are split off, a non-negative int; 0 by
        default.
      fractions: shares of train, validation and test; shares of parts in the file are ignored. 0.8,
        0.1 and 0.1 by default.

    Raises:
      UserError: the file is missing, unreadable, no archive, without images, or holds arrays that
        ``SequenceData.from_arrays`` refuses; or a part would be empty.
    """
    shares = dict(zip(Splits._fields, number_checks.fractions(fractions), strict=True))
    arrays, names = _read(path)
    train, kind = _training_prefix(names, path)
    parts = {"train": _part(arrays, train, f"{path}, train part" if train else str(path))}
    for name in ("validation", "test"):
        if f"{name}_{kind}" in arrays:
            parts[name] = _part(arrays, f"{name}_", f"{path}, {name} part")
            _check_alike(parts["train"], parts[name], name, path)
    wanted = {name: share for name, share in shares.items() if name == "train" or name not in parts}
    if len(wanted) > 1:
        try:
            parts |= partition(parts["train"], wanted, seed)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return Splits(**parts)


def load_sequences(path: str | os.PathLike) -> SequenceData:
    """All sequences of an archive with one array ``images``; of one in parts, its test part.

    Args:
      path: the ``.npz``, ``.h5`` or ``.hdf5`` file.

    Raises:
      UserError: the file is missing, unreadable, no archive, without images, or holds arrays that
        ``SequenceData.from_arrays`` refuses.
    """
    arrays, names = _read(path)
    if "test_images" in arrays or "test_vectors" in arrays:
        return _part(arrays, "test_", f"{path}, test part")
    prefix, _ = _training_prefix(names, path)
    return _part(arrays, prefix, str(path))


def save_npz(path: str | os.PathLike, splits: Splits) -> None:
    """Writes three parts to an archive from which ``load_arrays`` reads equal parts.

    The file is written under a temporary name, then renamed, so that it is never incomplete.

    Args:
      path: the ``.npz`` file; its folder is created.
      splits: the three parts.

    Raises:
      UserError: the folder cannot be made or written.
    """
    path = Path(path)
    arrays = {}
    for name, data in zip(Splits._fields, splits, strict=True):
        if data.is_vector:
            arrays[f"{name}_vectors"] = data.frames[:, :, 0, :, 0]
        else:
            arrays[f"{name}_images"] = data.frames
        arrays[f"{name}_observed"] = data.observed
        if data.control_size:
            arrays[f"{name}_controls"] = data.controls
        if data.states is not None:
            arrays[f"{name}_states"] = data.states
            arrays[f"{name}_state_names"] = np.array(data.state_names, dtype=str)
        if data.num_objects is not None:
            arrays[f"{name}_num_objects"] = data.num_objects
    try:
        with storage.atomic_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _read(path):
    """The known arrays by name, and the names of all arrays; warns of unknown arrays."""
    if str(path).endswith(HDF5):
        return _read_hdf5(path)
    try:
        # Opened here, since NumPy leaves the file open where it fails.
        with open(path, "rb") as file:
            return _known_arrays(np.load(file, allow_pickle=False), path)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected an .npz file") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except _DAMAGE:
        raise UserError(f"{path} is damaged or no .npz archive") from None


def _known_arrays(archive, path):
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise UserError(f"{path} is a single array; expected an .npz archive with an array images")
    with archive:
        unknown = sorted(set(archive.files) - _KNOWN)
        if unknown and _KNOWN & set(archive.files):
            warnings.warn(f"{path}: ignored the arrays {', '.join(unknown)}", stacklevel=4)
        arrays = {name: _member(archive, name, path) for name in archive.files if name in _KNOWN}
        names = sorted(archive.files)
    return {name: array for name, array in arrays.items() if array is not None}, names


def _read_hdf5(path):
    arrays = {}
    try:
        with h5py.File(path, "r") as file:
            names = sorted(file)
            for name in _KNOWN & set(names):
                if not isinstance(file[name], h5py.Dataset):
                    raise UserError(f"{path}: {name} is a group, expected an array")
                is_text = h5py.check_string_dtype(file[name].dtype) is not None
                arrays[name] = file[name].asstr()[()] if is_text else file[name][()]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected an HDF5 file") from None
    except (OSError, RuntimeError, KeyError):
        raise UserError(f"{path} is damaged or no HDF5 file") from None
    return arrays, names


def _member(archive, name, path):
    """One array of the archive; None, with a warning, where it is pickled and not needed."""
    try:
        return archive[name]
    except (OSError, *_DAMAGE) as error:
        if "allow_pickle" not in str(error):
            raise UserError(f"{path} is damaged: its array {name} cannot be read") from None
    if not name.endswith(_IGNORABLE):
        raise UserError(f"{path}: {name} is a pickled object array; expected plain numbers")
    warnings.warn(f"{path}: ignored {name}, a pickled object array", stacklevel=6)
    return None


def _training_prefix(names, path):
    """Prefix of the training part's names, ``""`` or ``"train_"``; and images or vectors."""
    starts = [
        (prefix, kind)
        for prefix in ("", "train_")
        for kind in ("images", "vectors")
        if f"{prefix}{kind}" in names
    ]
    if len(starts) != 1:
        known = ", ".join(names) or "no arrays"
        raise UserError(
            f"{path} holds {known}; expected one array images (or train_images), or vectors"
        )
    return starts[0]


def _part(arrays, prefix, source):
    """One part of the file, checked; state names may be given once for all parts."""
    known = {
        name: arrays.get(f"{prefix}{name}")
        for name in ("controls", "states", "observed", "num_objects")
    }
    known["state_names"] = arrays.get(f"{prefix}state_names", arrays.get("state_names", ()))
    if f"{prefix}vectors" in arrays:
        return from_vectors(arrays[f"{prefix}vectors"], source=source, **known)
    return SequenceData.from_arrays(arrays[f"{prefix}images"], source=source, **known)


def _check_alike(train, part, name, path):
    """Parts may differ in length, but not in the shapes of a frame and of a control."""
    for what in ("frame_shape", "control_size"):
        expected, value = getattr(train, what), getattr(part, what)
        if expected != value:
            raise UserError(
                f"{path}: the {name} part has {what} {value}; expected {expected}, as in train"
            )
