"""What exports answer on the default device, and on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kvae_tf.apps.device_check.rows import CPU, Row, compare, default_device, rounded_products
from kvae_tf.errors import UserError
from kvae_tf.export.loading import LoadedModel

_B, _T = 4, 12
_LIT = 0.1  # share of the pixels
_QUERIES = ("impute", "filter", "generate")
_TOLERANCE, _ROUNDED_TOLERANCE = 1e-3, 5e-2


def find(folder: Path, names: Sequence[str]) -> list[Path]:
    """Folders of the versions of exports.

    Args:
      folder: holds exports, as ``saved_models`` does.
      names: of exports; empty: all of them.

    Raises:
      UserError: there is no export, or none of some name.
    """
    known = {path.parent.parent.name: path.parent for path in folder.glob("*/*/saved_model.pb")}
    if not known:
        raise UserError(f"--saved_models={folder} holds no exports, expected NAME/1/saved_model.pb")
    for name in names:
        if name not in known:
            raise UserError(f"--exports has {name!r}, expected some of {', '.join(sorted(known))}")
    return [known[name] for name in sorted(names or known)]


def rows(paths: Sequence[Path], repeats: int) -> Iterator[Row]:
    """The rows of exports: each one imputes, filters and generates, as far as it can.

    Args:
      paths: what ``find`` returned.
      repeats: the most calls to time.
    """
    rounded = rounded_products(default_device())
    for path in paths:
        here = functools.cache(functools.partial(_load, path, default_device()))
        there = functools.cache(functools.partial(_load, path, CPU))
        for query in _QUERIES:
            if _lacks(here, query):
                continue
            yield compare(
                f"{path.parent.name}: {query}",
                lambda here=here, query=query: _call(here(), query),
                lambda there=there, query=query: _on_cpu(there(), query),
                _ROUNDED_TOLERANCE if rounded else _TOLERANCE,
                repeats,
            )


def _load(path, device):
    with tf.device(device):
        return LoadedModel(path)


def _lacks(load, query):
    """Whether an export cannot be asked; one that cannot be loaded fails in its rows."""
    try:
        return query not in load().supports
    except Exception:
        return False


def _on_cpu(model, query):
    with tf.device(CPU):
        return _call(model, query)()


def _call(model, query):
    """A function without arguments that asks the export."""
    rng = np.random.default_rng(0)
    frames = (rng.random((_B, _T, *model.frame_shape)) < _LIT).astype(np.float32)
    observed = (rng.random((_B, _T)) < 0.7).astype(np.float32)
    controls = rng.normal(size=(_B, _T, model.control_size)).astype(np.float32)
    frames, observed, controls = map(tf.constant, (frames, observed, controls))

    def call():
        if query == "generate":
            answer = model.generate(_B, _T, controls)
        else:
            answer = getattr(model, query)(frames, observed, controls)
        return {name: x for name, x in answer._asdict().items() if x is not None}

    return call
