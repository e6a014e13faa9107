"""Controls and a mask for the frames of videos, from a CSV file.

The file has one row for each frame and named columns: ``frame`` (from 0), ``video`` (name of the
file or folder; not needed for a single video) and ``observed`` (1 = seen, 0 = missing; without this
column all frames are seen). All other columns are controls, which act from a frame to the next. The
last frame of a video may lack its row: its controls act on no frame, and it counts as seen.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kvae_tf.errors import UserError

_OWN = ("video", "frame", "observed")
_MOST = float(np.finfo(np.float32).max)


class Annotation(NamedTuple):
    """Controls and mask of one video.

    Attributes:
      controls: ``[T, U]`` float32; T includes the frames ``ahead`` of ``read``.
      observed: ``[T]`` float32, 1 = seen.
    """

    controls: np.ndarray
    observed: np.ndarray


def read(
    path: str | os.PathLike, lengths: Mapping[str, int], ahead: int = 0
) -> dict[str, Annotation]:
    """Annotations of videos, by their names.

    Args:
      path: the CSV file; empty: there are no controls, and all frames are seen.
      lengths: name -> number of frames of each video. Every frame needs a row, except the last one.
        For a single video, rows of other videos are ignored.
      ahead: number of frames after the last one that may have rows too, for the controls of a
        forecast; 0 by default.

    Raises:
      UserError: the file, a column or a row is missing, a frame has two rows, or an entry is no
        number that float32 holds.
    """
    if not path:
        return {
            name: Annotation(
                np.zeros((length + ahead, 0), np.float32), np.ones(length + ahead, np.float32)
            )
            for name, length in lengths.items()
        }
    names, rows = _table(path)
    _check_columns(path, names, lengths)
    controls = [name for name in names if name not in _OWN]
    (only,) = lengths if len(lengths) == 1 else (None,)
    if only is not None and any(row.get("video") == only for _, row in rows):
        rows = [(number, row) for number, row in rows if row["video"] == only]
    annotations = {
        name: Annotation(
            np.zeros((length + ahead, len(controls)), np.float32),
            np.ones(length + ahead, np.float32),
        )
        for name, length in lengths.items()
    }
    has_row = {name: np.zeros(length + ahead, bool) for name, length in lengths.items()}
    for number, row in rows:
        where = f"{path}, line {number}"
        video = row.get("video", only)
        if video not in annotations:
            raise UserError(f"{where}: there is no video {video!r} in the data set")
        t = _number(row, "frame", where)
        last = lengths[video] + ahead - 1
        if t != int(t) or not 0 <= t <= last:
            raise UserError(
                f"{where}: frame is {row['frame']}, expected 0 to {last}, since {video} has "
                f"{lengths[video]} frames"
            )
        t = int(t)
        if has_row[video][t]:
            raise UserError(f"{where}: frame {t} of {video} has two rows, expected one")
        has_row[video][t] = True
        if "observed" in row:
            seen = _number(row, "observed", where)
            if seen not in (0, 1):
                raise UserError(f"{where}: observed is {row['observed']}, expected 0 or 1")
            annotations[video].observed[t] = seen
        annotations[video].controls[t] = [_number(row, name, where) for name in controls]
    for video, length in lengths.items():
        lacking = np.flatnonzero(~has_row[video][: length - 1])
        if len(lacking):
            raise UserError(
                f"{path} has no row for frame {lacking[0]} of {video}, expected one for each of "
                f"its {length} frames"
            )
    return annotations


def _table(path):
    """Names of the columns, and rows (line number, column name -> text)."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
            names = [name.strip() for name in reader.fieldnames or ()]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path} is no CSV file, expected text with commas") from None
    for number, row in rows:
        if None in row or None in row.values():
            raise UserError(f"{path}, line {number}: expected {len(names)} entries, as the header")
    return names, [
        (n, {k.strip(): v for k, v in row.items()}) for n, row in rows
    ]  # fmt: skip


def _check_columns(path, names, lengths):
    needed = ["frame"] if len(lengths) == 1 else ["video", "frame"]
    missing = [name for name in needed if name not in names]
    if missing:
        raise UserError(
            f"{path} has the columns {', '.join(names) or 'none'}, expected also "
            f"{', '.join(missing)}"
        )
    if set(names) <= {"video", "frame"}:
        raise UserError(f"{path} has the columns {', '.join(names)}, expected observed or controls")
    if len(set(names)) < len(names):
        raise UserError(f"{path} has a column twice: {', '.join(names)}")


def _number(row, name, where):
    """An entry as a float that float32 holds; Python alone reads ``1_0`` as a number."""
    try:
        number = np.nan if "_" in row[name] else float(row[name])
    except ValueError:
        number = np.nan
    if not abs(number) <= _MOST:
        raise UserError(f"{where}: {name} is {row[name]!r}, expected a finite number (float32)")
    return number
