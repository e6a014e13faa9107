"""What a study looks at and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kvae_tf import data
from kvae_tf.errors import UserError
from kvae_tf.models.base import SequenceModel


class EvaluationTarget(NamedTuple):
    """What is looked at.

    Attributes:
      model: any system, or a loaded export.
      splits: the data; ``test`` is evaluated, ``train`` only serves to fit the map to positions.
      long_test: gives test sequences of so many frames, or None where there are none.
      dataset: the world's name, or the file's path.
    """

    model: SequenceModel
    splits: data.Splits
    long_test: Callable[[int], data.SequenceData | None]
    dataset: str


class Report(NamedTuple):
    """What a study found.

    Attributes:
      numbers: for the JSON file.
      header: the CSV file's columns.
      rows: its rows.
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
