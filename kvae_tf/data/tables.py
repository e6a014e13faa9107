"""Tables as CSV files: a row is a step, a column an entry of the vectors; an empty cell is missing.

The first line has the names of the columns. Four kinds of columns are special:

- ``series`` says to which series a row belongs; without it all rows are one series. Rows are in the
  order of time, and each series' rows are taken in the order in which they stand.
- A first column that holds no numbers (dates, for instance), or is named ``time`` or ``date``,
  labels the rows.
- ``times`` says when each row was taken: seconds, strictly increasing in each series, no empty
  cells.
- ``control_NAME`` is a control, which acts from a row to the next; it has no empty cells.

Series of different lengths are padded with missing rows.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kvae_tf.data import memory, number_checks
from kvae_tf.data.sequence_data import (
    FRACTIONS,
    SequenceData,
    Splits,
    continued,
    from_vectors,
    partition,
)
from kvae_tf.errors import UserError

_MISSING = {"", "nan", "na", "n/a", "null", "none"}
_LABELS = {"time", "date"}
_SERIES, _TIMES, _CONTROL = "series", "times", "control_"
_MOST = float(np.finfo(np.float32).max)


class Table(NamedTuple):
    """A table.

    Attributes:
      columns: names of all columns, in the order of the file.
      cells: the file's rows, lists of texts.
      names: names of the D columns that are entries of vectors.
      rows: for each series, the numbers of its rows in ``cells``.
      data: the N series, ``[N, T, 1, D, 1]``, padded where T is larger than their length.
    """

    columns: list[str]
    cells: list[list[str]]
    names: list[str]
    rows: list[np.ndarray]
    data: SequenceData


def load_table(
    path: str | os.PathLike,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    max_memory: float = memory.DEFAULT,
) -> Splits:
    """Train, validation and test part of a table.

    Three series or more are shuffled and shared out; fewer are cut in time, the first rows for
    training, the last for testing.

    Args:
      path: the CSV file.
      seed: seed of the shuffle, a non-negative int; 0 by default.
      fractions: shares of train, validation and test; 0.8, 0.1 and 0.1 by default.
      max_memory: largest size of the file and of the series, GiB, 8 by default.

    Raises:
      UserError: the file is refused (see ``read``), or a part would be empty or without a seen row.
    """
    shares = dict(zip(Splits._fields, number_checks.fractions(fractions), strict=True))
    data = read(path, max_memory).data
    try:
        return Splits(**partition(data, shares, seed))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read(path: str | os.PathLike, max_memory: float = memory.DEFAULT) -> Table:
    """A table from a CSV file.

    Args:
      path: the file.
      max_memory: largest size of the file and of the series, GiB, 8 by default.

    Raises:
      UserError: the file is missing, no CSV file, or too large; a name is missing or stands twice;
        a row is of another length; a cell is no number that float32 holds; times do not increase;
        or no cell is filled.
    """
    columns, cells = _cells(path, max_memory)
    labels = 0 if _is_label(columns[0], cells) else None
    roles = {
        i: "label" if i == labels else name if name in (_SERIES, _TIMES)
        else "control" if name.startswith(_CONTROL) else "entry"
        for i, name in enumerate(columns)
    }  # fmt: skip
    entries, controls = ([i for i in roles if roles[i] == role] for role in ("entry", "control"))
    if not entries:
        raise UserError(f"{path} has the columns {', '.join(columns)}, expected one with numbers")
    ids = [row[columns.index(_SERIES)] if _SERIES in columns else "" for row in cells]
    rows = {}
    for number, name in enumerate(ids):
        rows.setdefault(name, []).append(number)
    length = max(map(len, rows.values()))
    clock = columns.index(_TIMES) if _TIMES in columns else None
    size = 4 * len(rows) * length * (len(entries) + len(controls) + 2 * (clock is not None))
    memory.check(f"{path} as {len(rows)} series of {length} rows", size, max_memory)
    vectors = np.full((len(rows), length, len(entries)), np.nan, np.float32)
    given = np.zeros((len(rows), length, len(controls)), np.float32)
    times = None if clock is None else np.zeros((len(rows), length))
    for series, numbers in enumerate(rows.values()):
        for t, number in enumerate(numbers):
            where = f"{path}, line {number + 2}"
            row = cells[number]
            vectors[series, t] = [_number(row[i], columns[i], where) for i in entries]
            given[series, t] = [_number(row[i], columns[i], where, True) for i in controls]
            if times is not None:
                times[series, t] = _number(row[clock], _TIMES, where, True)
                if t and times[series, t] <= times[series, t - 1]:
                    raise UserError(
                        f"{where}: times is {row[clock]} after {cells[numbers[t - 1]][clock]}, "
                        "expected seconds that strictly increase in each series"
                    )
    inside = np.arange(length) < np.array([[len(numbers)] for numbers in rows.values()])
    times = continued(times, inside)
    data = from_vectors(vectors, source=str(path), controls=given, times=times)
    names = [columns[i] for i in entries]
    return Table(columns, cells, names, [np.array(numbers) for numbers in rows.values()], data)


def filled_in(table: Table, vectors: np.ndarray) -> list[list[str]]:
    """The table's rows with the numbers of ``vectors`` where a cell is missing.

    Args:
      table: the table.
      vectors: ``[N, T, D]``.
    """
    return _with(table, vectors, lambda cell: _is_missing(cell))


def replaced(table: Table, vectors: np.ndarray) -> list[list[str]]:
    """The table's rows with the numbers of ``vectors`` in all entries.

    Args:
      table: the table.
      vectors: ``[N, T, D]``.
    """
    return _with(table, vectors, lambda cell: True)


def _with(table, vectors, takes):
    cells = [list(row) for row in table.cells]
    places = [table.columns.index(name) for name in table.names]
    for series, numbers in zip(vectors, table.rows, strict=True):
        for vector, number in zip(series, numbers, strict=False):  # without the padding
            for value, i in zip(vector, places, strict=True):
                if takes(cells[number][i]):
                    cells[number][i] = f"{value:.7g}"
    return cells


def _cells(path, max_memory):
    """Names of the columns, and rows of as many texts."""
    try:
        memory.check(path, Path(path).stat().st_size, max_memory)
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path} is no CSV file, expected text with commas") from None
    columns, cells = (lines[0], lines[1:]) if lines else ([], [])
    # A line without any text: the end of the file, as some programs write it.
    while cells and not any(cells[-1]) and len(cells[-1]) <= 1:
        cells.pop()
    if not cells:
        raise UserError(f"{path} has {len(lines)} lines, expected names of columns and rows")
    if "" in columns[1:] or len(set(columns)) < len(columns):
        raise UserError(
            f"{path} has the columns {', '.join(columns)}, expected a name for each, none twice"
        )
    if all(_as_number(name) is not None for name in columns):
        raise UserError(f"{path} begins with numbers, expected the names of the columns first")
    for number, row in enumerate(cells, 2):
        if len(row) != len(columns):
            raise UserError(
                f"{path}, line {number} has {len(row)} cells, expected {len(columns)}, as the "
                "header"
            )
    return columns, cells


def _is_label(name, cells):
    """Whether the first column labels the rows."""
    if name in (_SERIES, _TIMES) or name.startswith(_CONTROL):
        return False
    filled = [row[0] for row in cells if not _is_missing(row[0])]
    return name.lower() in _LABELS or bool(
        filled and all(_as_number(cell) is None for cell in filled)
    )


def _is_missing(cell):
    return cell.lower() in _MISSING


def _as_number(cell):
    """A finite float that float32 holds, or None; Python alone reads ``1_0`` as a number."""
    try:
        number = np.nan if "_" in cell else float(cell)
    except ValueError:
        return None
    return number if abs(number) <= _MOST else None


def _number(cell, name, where, is_needed=False):
    if _is_missing(cell) and not is_needed:
        return np.nan
    number = _as_number(cell)
    if number is None:
        expected = "a finite number (float32)" + ("" if is_needed else ", or nothing if missing")
        raise UserError(f"{where}: {name} is {cell!r}, expected {expected}")
    return number
