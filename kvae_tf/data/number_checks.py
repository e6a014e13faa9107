"""Checks of numbers in arguments: the value as a plain number, or one clear ``UserError``."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from kvae_tf.errors import UserError


def integer(name: str, value, minimum: int = 1) -> int:
    """``value`` as an int of at least ``minimum``.

    Raises:
      UserError: ``value`` is no integer, or smaller; the message calls it ``name``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum:
        raise UserError(f"{name} is {value!r}; expected an integer of at least {minimum}")
    return number


def rate(name: str, value) -> float:
    """``value`` as a float in [0, 1].

    Raises:
      UserError: ``value`` is no number, or outside [0, 1]; the message calls it ``name``.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0.0 <= number <= 1.0:
        raise UserError(f"{name} is {value!r}; expected a number in [0, 1]")
    return number


def fractions(values: Sequence[float]) -> tuple[float, float, float]:
    """Shares of train, validation and test as floats.

    Raises:
      UserError: ``values`` are not three numbers in [0, 1] that add up to 1.
    """
    try:
        shares = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        shares = ()
    # A NaN share fails the comparison too.
    if len(shares) != 3 or not (min(shares) >= 0.0 and abs(sum(shares) - 1.0) < 1e-6):
        raise UserError(
            f"fractions is {values!r}; expected three shares (train, validation, test) "
            "that add up to 1"
        )
    return shares
