"""A data set by its name: a simulated world, cached on disk, or a user's own file."""

from __future__ import annotations

import inspect
import math
import os
import re
import warnings
from pathlib import Path

import numpy as np

from kvae_tf.data import number_checks
from kvae_tf.data.archives import HDF5, load_arrays, origin_of, save_npz
from kvae_tf.data.clips import load_video
from kvae_tf.data.records import is_records, load_records
from kvae_tf.data.sequence_data import Splits
from kvae_tf.data.tables import load_table
from kvae_tf.data.video import VIDEOS
from kvae_tf.data.worlds import WORLDS
from kvae_tf.errors import UserError


def load(
    dataset: str | os.PathLike, seed: int, cache_dir: str | os.PathLike | None = None, **options
) -> Splits:
    """Train, validation and test sequences of a world or a file.

    >>> splits = load("pendulum", seed=0, num_sequences=(40, 10, 10))
    >>> splits.train.frames.shape
    (40, 15, 16, 16, 1)

    Args:
      dataset: a name out of ``WORLDS``; or the path of a ``.npz``, HDF5 or CSV file, of a video, or
        of a folder of pictures, videos or shards.
      seed: seed of the simulation, or of the shuffle that splits a file; a non-negative int.
      cache_dir: folder in which simulated worlds are kept; None: ``$KVAE_TF_CACHE``, or
        ``~/.cache/kvae_tf`` where that is not set (default).
      **options: arguments of the world's ``splits``, of ``load_arrays``, ``load_table`` or
        ``load_video``.

    Raises:
      UserError: the name is no world and no known kind of file, an option is unknown or wrong, or
        the file is refused.
    """
    seed = number_checks.integer("seed", seed, minimum=0)
    dataset = os.fspath(dataset)
    if dataset not in WORLDS:
        return _load_own(dataset, seed, options)
    world = WORLDS[dataset]
    options = _bind(dataset, world.splits, seed=seed, **options)
    name = _cache_name(dataset, world.version, options)
    path = _cache_dir(cache_dir) / f"{name}.npz"
    cached = _read_cache(path, name, options)
    if cached is not None:
        return cached
    splits = world.splits(**options)
    try:
        save_npz(path, splits, origin=name)
    except UserError as error:
        warnings.warn(f"the data set is not cached: {error}", stacklevel=2)
    return splits


def is_video(dataset: str | os.PathLike) -> bool:
    """Whether a data set's name is a video file, or a folder of pictures or videos."""
    path = Path(dataset).expanduser()
    is_world = str(dataset) in WORLDS
    is_folder = path.is_dir() and not is_records(path)
    return not is_world and (path.suffix.lower() in VIDEOS or is_folder)


def _load_own(dataset, seed, options):
    """Train, validation and test part of a user's file or folder."""
    path = Path(dataset).expanduser()
    if dataset.endswith((".npz", *HDF5)):
        read = load_arrays
    elif dataset.endswith(".csv"):
        read = load_table
    elif is_records(path):
        read = load_records
    elif is_video(dataset):
        read = load_video
    else:
        raise UserError(
            f"dataset {dataset!r} is unknown; expected one of: {', '.join(sorted(WORLDS))}, "
            f"or a path that ends in .npz, .csv, {', '.join(HDF5)}, {', '.join(VIDEOS)}; or a "
            "folder of pictures, videos or shards"
        )
    _bind(dataset, read, path=dataset, seed=seed, **options)
    return read(path, seed, **options)


def _bind(dataset, function, **arguments):
    """All of the function's arguments by name, defaults included."""
    try:
        bound = inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise UserError(f"dataset {dataset!r} {error}") from None
    bound.apply_defaults()
    return bound.arguments


def _cache_dir(cache_dir):
    return Path(cache_dir or os.environ.get("KVAE_TF_CACHE") or "~/.cache/kvae_tf").expanduser()


def _cache_name(dataset, version, options):
    """For example ``pendulum-v1-seed=0-num_sequences=500x500x500-num_steps=15``."""
    words = [dataset, f"v{version}"]
    for name, value in options.items():
        if value is None:
            continue
        text = "x".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
        words.append(f"{name}={text}")
    return re.sub(r"[^\w.=-]", "_", "-".join(words))


def _read_cache(path, name, options):
    """The data set in a cache file; None where there is none, or not the one that is asked for."""
    if not os.path.exists(path):
        return None
    try:
        origin = origin_of(path)
        if origin != name:
            raise UserError(f"{path} holds {origin or 'data of unknown origin'}, expected {name}")
        splits = load_arrays(path, max_memory=math.inf)
        for key, found in (
            ("num_sequences", tuple(map(len, splits))),
            ("num_steps", splits.train.num_steps),
        ):
            wanted = options.get(key)
            if wanted is not None and np.any(np.not_equal(wanted, found)):
                raise UserError(f"{path} has {key} {found}, expected {wanted}")
    except UserError as error:
        warnings.warn(f"the data set is simulated again: {error}", stacklevel=3)
        return None
    return splits
