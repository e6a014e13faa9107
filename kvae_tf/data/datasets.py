"""A data set by its name: a simulated world, kept in a cache on disk, or a user's own file."""

from __future__ import annotations

import inspect
import os
import re
import warnings
from pathlib import Path

from kvae_tf.data import checks
from kvae_tf.data.files import load_npz, save_npz
from kvae_tf.data.sequence_data import Splits
from kvae_tf.data.worlds import WORLDS
from kvae_tf.errors import UserError


def load(
    dataset: str | os.PathLike, seed: int, cache_dir: str | os.PathLike | None = None, **options
) -> Splits:
    """Train, validation and test sequences of a world or a file.

    Example::

        splits = load("pendulum", seed=0, num_sequences=(500, 500, 500))

    Args:
      dataset: a name out of ``WORLDS``, or a path that ends in ``.npz``.
      seed: of the simulation, or of the shuffle that splits a file; a non-negative int.
      cache_dir: where worlds are kept; ``$KVAE_TF_CACHE`` or ``~/.cache/kvae_tf`` if None.
      **options: of the world's ``splits``, or of ``load_npz``.

    Raises:
      UserError: nothing is called so, an option is unknown or wrong, or the file is refused.
    """
    seed = checks.integer("seed", seed, minimum=0)
    dataset = os.fspath(dataset)
    if dataset.endswith(".npz"):
        _bind(dataset, load_npz, path=dataset, seed=seed, **options)
        return load_npz(Path(dataset).expanduser(), seed, **options)
    if dataset not in WORLDS:
        raise UserError(
            f"dataset {dataset!r} is unknown; expected one of: {', '.join(sorted(WORLDS))}, "
            "or a path that ends in .npz"
        )
    world = WORLDS[dataset]
    options = _bind(dataset, world.splits, seed=seed, **options)
    path = _cache_dir(cache_dir) / _cache_name(dataset, world.version, options)
    cached = _read_cache(path)
    if cached is not None:
        return cached
    splits = world.splits(**options)
    try:
        save_npz(path, splits)
    except UserError as error:
        warnings.warn(f"the data set is not cached: {error}", stacklevel=2)
    return splits


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
    """For example ``pendulum-v1-seed=0-num_sequences=500x500x500-num_steps=15.npz``."""
    words = [dataset, f"v{version}"]
    for name, value in options.items():
        text = "x".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
        words.append(f"{name}={text}")
    return re.sub(r"[^\w.=-]", "_", "-".join(words)) + ".npz"


def _read_cache(path):
    """What the cache holds under this name; None where it holds nothing that can be read."""
    if not os.path.exists(path):
        return None
    try:
        return load_npz(path)
    except UserError as error:
        warnings.warn(f"the data set is simulated again: {error}", stacklevel=3)
        return None
