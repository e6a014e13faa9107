"""Imputation of a CSV table by an export, and files with the results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kvae_tf.data import memory, storage, tables
from kvae_tf.data.tables import Table
from kvae_tf.errors import UserError
from kvae_tf.evaluation.masked_batches import timed, warn_of_times
from kvae_tf.experiments.fill_in import fill_in
from kvae_tf.export.loading import LoadedModel

VIDEO_ONLY = ("video", "sequence", "crop", "annotations", "hide")


class Filled(NamedTuple):
    """A table without gaps.

    Attributes:
      vectors: ``[N, T, D]``, entries as they are in the table, missing ones filled in.
      stds: ``[N, T, D]``, standard deviations of the missing entries; 0 for the others.
    """

    vectors: np.ndarray
    stds: np.ndarray


def check_flags(given: Mapping[str, object]) -> None:
    """Raises a ``UserError`` where a flag of videos is given beside a table.

    Args:
      given: name of a flag out of ``VIDEO_ONLY`` -> value.
    """
    for name, value in given.items():
        if value:
            raise UserError(f"--{name} is {value}, but --table is set: expected no --{name}")


def train_and_impute(
    path: str | os.PathLike, max_memory: float = memory.DEFAULT
) -> tuple[Table, Filled]:
    """A table and what a model fills in that is trained on all of it, which takes a minute or two.

    Args:
      path: the CSV file.
      max_memory: largest size of the table, GiB, 8 by default.

    Raises:
      UserError: the file is refused.
    """
    table = tables.read(path, max_memory)
    return table, Filled(*fill_in(table.data))


def impute(
    model: LoadedModel,
    path: str | os.PathLike,
    method: str = "",
    max_memory: float = memory.DEFAULT,
) -> tuple[Table, Filled]:
    """A table and what a model fills in.

    Args:
      model: an export of a model of vectors.
      path: the CSV file, of the columns that the model was trained with.
      method: ``"smooth"`` or ``"filter"``; empty: the model's best one (default).
      max_memory: largest size of the table, GiB, 8 by default.

    Raises:
      UserError: the file is refused, or does not fit the model; or the model gives no standard
        deviations of entries, since it is of images or an export of an earlier version.
    """
    table = tables.read(path, max_memory)
    if not model.is_vector:
        raise UserError(f"{model.path} is a model of images, expected one of vectors for --table")
    if table.data.frame_shape != model.frame_shape:
        raise UserError(
            f"{path} has {len(table.names)} columns of entries, expected {model.frame_shape[1]}, "
            "as the model was trained with"
        )
    if table.data.control_size != model.control_size:
        raise UserError(
            f"{path} has {table.data.control_size} columns control_…, expected "
            f"{model.control_size}, as the model was trained with"
        )
    series = table.data
    warn_of_times(model, series.times)
    known = series.frames, series.observed, series.controls
    answer = model.impute(*known, method or None, **timed(model, series.times))
    if answer.stds is None:
        raise UserError(
            f"{model.path} gives no standard deviations of entries, expected an export of this "
            "version"
        )
    return table, Filled(*(x.numpy()[:, :, 0, :, 0] for x in (answer.frames, answer.stds)))


def write(folder: Path, table: Table, filled: Filled) -> list[Path]:
    """Writes ``filled.csv``, the table without gaps, and ``stds.csv`` with standard deviations.

    Args:
      folder: folder for the files.
      table: the table.
      filled: what a model filled in.

    Returns:
      Paths of the files.
    """
    paths = [folder / "filled.csv", folder / "stds.csv"]
    storage.write_csv(paths[0], table.columns, tables.filled_in(table, filled.vectors))
    storage.write_csv(paths[1], table.columns, tables.replaced(table, filled.stds))
    return paths
