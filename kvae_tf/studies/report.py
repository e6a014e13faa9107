"""What a study looks at and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kvae_tf import data
from kvae_tf.errors import UserError
from kvae_tf.models.contract import VideoModel


class EvaluationTarget(NamedTuple):
    """A model and the data to evaluate it on.

    Attributes:
      model: any model, or a loaded export.
      splits: the data; ``test`` is evaluated, ``train`` only serves to fit maps to true states.
      long_test: number of frames -> test sequences of that length, or None where there are none.
      dataset: the world's name, or the file's path.
      studies: names of the studies that make sense for the model; empty: all.
    """

    model: VideoModel
    splits: data.Splits
    long_test: Callable[[int], data.SequenceData | None]
    dataset: str
    studies: tuple[str, ...] = ()


class Report(NamedTuple):
    """The results of a study.

    Attributes:
      numbers: what the JSON file says.
      header: names of the CSV file's columns.
      rows: rows of the CSV file, one value for each column.
      picture: uint8 ``[height, width, 3]``.
      animation: GIF bytes, or None.
    """

    numbers: dict[str, object]
    header: list[str]
    rows: list[list[object]]
    picture: np.ndarray
    animation: bytes | None = None


def need(target, num_steps, *queries):
    """Refuses a study that the model or the data do not allow."""
    lacking = set(queries) - set(target.model.supports)
    if lacking:
        raise UserError(
            f"the model cannot {', '.join(sorted(lacking))}, which the experiment needs; it can "
            f"{', '.join(sorted(target.model.supports))}"
        )
    if target.splits.test.num_steps < num_steps:
        raise UserError(
            f"{target.dataset} has sequences of {target.splits.test.num_steps} frames, expected "
            f"at least {num_steps} for the experiment"
        )
