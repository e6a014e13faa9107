"""Data sets as NumPy archives, or as HDF5 files with the same arrays.

A user's file holds ``images``, or ``vectors [N, T, D]`` (NaN where an entry is missing), and
optionally ``controls``, ``states``, ``observed``, ``state_names``, ``num_objects`` and ``times``
(shapes as in ``SequenceData.from_arrays``). It may have its own parts: then the names start with
``train_``, ``validation_`` and ``test_`` (``images`` counts as ``train_images``). Missing parts are
split off the training part.

The headers say how large the arrays are, and are read first: what is larger than the limit is
refused unread. An HDF5 file may hold its arrays itself only, since links and external storage could
name any file of the user's.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from kvae_tf.data import memory, number_checks, storage
from kvae_tf.data.sequence_data import (
    FRACTIONS,
    SequenceData,
    Splits,
    check_alike,
    from_vectors,
    partition,
)
from kvae_tf.errors import UserError

# What NumPy and zipfile raise on damaged bytes; OSError is separate, it has a reason to show.
_DAMAGE = (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
# Pickled arrays are never opened. Without these three the sequences still mean the same; the
# KVAE authors' files carry an unused pickled array of controls.
_IGNORABLE = ("controls", "states", "state_names")
_ARRAYS = ("images", "vectors", "observed", "num_objects", "times", *_IGNORABLE)
HDF5 = (".h5", ".hdf5")
_PREFIXES = tuple(f"{name}_" for name in Splits._fields)
_ORIGIN = "origin"
_SINGLE = np.lib.format.MAGIC_PREFIX
_KNOWN = {f"{part}{name}" for part in ("", *_PREFIXES) for name in _ARRAYS}


def load_arrays(
    path: str | os.PathLike,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    max_memory: float = memory.DEFAULT,
) -> Splits:
    """Train, validation and test part of an archive.

    Args:
      path: the ``.npz``, ``.h5`` or ``.hdf5`` file.
      seed: seed of the shuffle before missing parts are split off, a non-negative int; 0 by
        default.
      fractions: shares of train, validation and test; shares of parts in the file are ignored. 0.8,
        0.1 and 0.1 by default.
      max_memory: largest size of the file's arrays, GiB, 8 by default.

    Raises:
      UserError: the file is missing, unreadable, no archive, without images, larger than
        ``max_memory``, or holds arrays that ``SequenceData.from_arrays`` refuses; or a part would
        be empty or without a seen frame.
    """
    number_checks.fractions(fractions)
    arrays, names = _read(path, max_memory)
    return _splits(arrays, names, path, seed, fractions)


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    source: str = "data",
) -> Splits:
    """Train, validation and test part of arrays in memory, as of those in a file.

    >>> splits = from_arrays({"images": np.zeros((20, 5, 8, 8), np.uint8)})
    >>> [len(part) for part in splits]
    [16, 2, 2]

    Args:
      arrays: ``images`` or ``vectors``, and optionally ``controls``, ``observed``, ``states``,
        ``state_names``, ``num_objects`` and ``times``, by name; or parts, as ``train_images``.
      seed: seed of the shuffle before missing parts are split off, a non-negative int; 0 by
        default.
      fractions: shares of train, validation and test; shares of parts that are given are ignored.
        0.8, 0.1 and 0.1 by default.
      source: name of the arrays' source in error messages.

    Raises:
      UserError: a name is unknown, an array is refused, or a part would be empty or without a seen
        frame; the message names it.
    """
    unknown = sorted(set(arrays) - _KNOWN, key=str)
    if unknown:
        nearest = difflib.get_close_matches(str(unknown[0]), _KNOWN, n=1)
        more = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise UserError(
            f"{source}: {unknown[0]} is no known array{more}; expected images or vectors, and "
            f"{', '.join(name for name in _ARRAYS if name not in ('images', 'vectors'))}"
        )
    given = {name: array for name, array in arrays.items() if array is not None}
    return _splits(given, sorted(given), source, seed, fractions)


def _splits(arrays, names, path, seed, fractions):
    """The three parts of named arrays; ``path`` is what messages call their source."""
    shares = dict(zip(Splits._fields, number_checks.fractions(fractions), strict=True))
    train, kind = _training_prefix(names, path)
    parts = {"train": _part(arrays, train, f"{path}, train part" if train else str(path))}
    for name in ("validation", "test"):
        if f"{name}_{kind}" in arrays:
            parts[name] = _part(arrays, f"{name}_", f"{path}, {name} part")
            check_alike(parts["train"], parts[name], name, path)
    wanted = {name: share for name, share in shares.items() if name == "train" or name not in parts}
    if len(wanted) > 1:
        try:
            parts |= partition(parts["train"], wanted, seed)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return Splits(**parts)


def load_sequences(path: str | os.PathLike, max_memory: float = memory.DEFAULT) -> SequenceData:
    """All sequences of an archive with one array ``images``; of one in parts, its test part.

    Args:
      path: the ``.npz``, ``.h5`` or ``.hdf5`` file.
      max_memory: largest size of the file's arrays, GiB, 8 by default.

    Raises:
      UserError: the file is missing, unreadable, no archive, without images, larger than
        ``max_memory``, or holds arrays that ``SequenceData.from_arrays`` refuses.
    """
    arrays, names = _read(path, max_memory)
    if "test_images" in arrays or "test_vectors" in arrays:
        return _part(arrays, "test_", f"{path}, test part")
    prefix, _ = _training_prefix(names, path)
    return _part(arrays, prefix, str(path))


def save_npz(path: str | os.PathLike, splits: Splits, origin: str = "") -> None:
    """Writes three parts to an archive from which ``load_arrays`` reads equal parts.

    The file is written under a temporary name, then renamed, so that it is never incomplete.

    Args:
      path: the ``.npz`` file; its folder is created.
      splits: the three parts.
      origin: what the data are, for ``origin_of``; empty: nothing is noted (default).

    Raises:
      UserError: the folder cannot be made or written.
    """
    path = Path(path)
    arrays = {_ORIGIN: np.array(origin)} if origin else {}
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
        if data.times is not None:
            arrays[f"{name}_times"] = data.times
    with storage.atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def origin_of(path: str | os.PathLike) -> str:
    """What ``save_npz`` noted as the origin of the data; empty where it noted nothing.

    Args:
      path: the ``.npz`` file.

    Raises:
      UserError: the file is missing, unreadable or no archive.
    """
    with _npz(path) as archive:
        return str(archive[_ORIGIN]) if _ORIGIN in archive.files else ""


def _read(path, max_memory):
    """The known arrays by name, and the names of all arrays; warns of unknown arrays."""
    if str(path).endswith(HDF5):
        return _read_hdf5(path, max_memory)
    with _npz(path) as archive:
        unknown = sorted(set(archive.files) - _KNOWN - {_ORIGIN})
        if unknown and _KNOWN & set(archive.files):
            warnings.warn(f"{path}: ignored the arrays {', '.join(unknown)}", stacklevel=3)
        known = [name for name in archive.files if name in _KNOWN]
        memory.check(path, sum(_size(archive, name, path) for name in known), max_memory)
        arrays = {name: _member(archive, name, path) for name in known}
        names = sorted(archive.files)
    return {name: array for name, array in arrays.items() if array is not None}, names


@contextlib.contextmanager
def _npz(path):
    """An opened archive, whose arrays are not read yet."""
    try:
        # Opened here, since NumPy leaves the file open where it fails.
        with open(path, "rb") as file:
            if file.read(len(_SINGLE)) == _SINGLE:
                raise UserError(
                    f"{path} is a single array; expected an .npz archive with an array images"
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected an .npz file") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except _DAMAGE:
        raise UserError(f"{path} is damaged or no .npz archive") from None


def _size(archive, name, path):
    """Bytes of an array as its header says; what is pickled counts as nothing, and is not read."""
    try:
        with archive.zip.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(file)
    except (OSError, *_DAMAGE):
        raise UserError(f"{path} is damaged: its array {name} cannot be read") from None
    return 0 if dtype.hasobject else abs(math.prod(shape)) * dtype.itemsize


def _read_hdf5(path, max_memory):
    try:
        with h5py.File(path, "r") as file:
            names = sorted(file)
            known = [name for name in names if name in _KNOWN]
            sizes = [_size_hdf5(file, name, path) for name in known]
            memory.check(path, sum(sizes), max_memory)
            arrays = {name: _member_hdf5(file[name]) for name in known}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected an HDF5 file") from None
    except (OSError, RuntimeError, KeyError):
        raise UserError(f"{path} is damaged or no HDF5 file") from None
    return arrays, names


def _size_hdf5(file, name, path):
    """Bytes of an array as its header says."""
    # A link is not followed to see where it leads.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise UserError(f"{path}: {name} is a link; expected an array in the file itself")
    array = file[name]
    if not isinstance(array, h5py.Dataset):
        raise UserError(f"{path}: {name} is a group, expected an array")
    if array.external or array.is_virtual:
        raise UserError(f"{path}: {name} is kept in other files; expected it in the file itself")
    return array.size * array.dtype.itemsize if array.shape is not None else 0


def _member_hdf5(array):
    is_text = h5py.check_string_dtype(array.dtype) is not None
    return array.asstr()[()] if is_text else array[()]


def _member(archive, name, path):
    """One array of the archive; None, with a warning, where it is pickled and not needed."""
    try:
        return archive[name]
    except (OSError, *_DAMAGE) as error:
        if "allow_pickle" not in str(error):
            raise UserError(f"{path} is damaged: its array {name} cannot be read") from None
    if not name.endswith(_IGNORABLE):
        raise UserError(f"{path}: {name} is a pickled object array; expected plain numbers")
    warnings.warn(f"{path}: ignored {name}, a pickled object array", stacklevel=5)
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
        for name in ("controls", "states", "observed", "num_objects", "times")
    }
    known["state_names"] = arrays.get(f"{prefix}state_names", arrays.get("state_names", ()))
    if f"{prefix}vectors" in arrays:
        return from_vectors(arrays[f"{prefix}vectors"], source=source, **known)
    return SequenceData.from_arrays(arrays[f"{prefix}images"], source=source, **known)
