"""The least error possible on hidden frames, for one who knows the simulator exactly.

Fraction of incorrect pixels of hidden frames, at the threshold 0.5, as in figures 3a and 3b of
Fraccaro et al. (2017). Balls are drawn at whole pixels, so that frames say where a ball is to half
a pixel only, and nobody can do better than a Bayesian who knows how the world moves and draws the
ball, and takes a pixel as lit where its posterior probability is above one half.

The numbers are in ``bayes_floor.json`` beside this module, written by

    python scripts/floor.py --worlds=WORLDS --output=kvae_tf/studies/bayes_floor.json

with the sequences and masks that models are evaluated with; how: ``kvae_tf.studies.least_error``.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path

PATH = Path(__file__).with_suffix(".json")


def floor(world: str, group: str, x: Sequence[float]) -> dict[str, list[float]]:
    """Method -> the least error for each ``x``, NaN where unknown; empty where none is known.

    Args:
      world: name of the data set.
      group: "missing_at_random" or "gap".
      x: rates of hidden frames, or lengths of gaps.
    """
    return _methods(world, group, x, "least", "")


def floor_errors(world: str, group: str, x: Sequence[float]) -> dict[str, list[float]]:
    """Standard errors of what ``floor`` gives, of the same form."""
    return _methods(world, group, x, "least", "_se")


def known_modes(world: str, group: str, x: Sequence[float]) -> dict[str, list[float]]:
    """Errors of a linear Gaussian model that knows which affine map holds at each step.

    Of the form of ``floor``. They may be below the floor where little is seen: the modes tell of
    bounces in frames that are hidden.

    Args:
      world: name of the data set.
      group: "missing_at_random" or "gap".
      x: rates of hidden frames, or lengths of gaps.
    """
    return _methods(world, group, x, "known_modes", "")


def sequences(world: str) -> int:
    """Number of test sequences on which the errors of a world are measured; 0: it is unknown."""
    return _table().get(world, {}).get("sequences", 0)


def numbers(world: str) -> dict[str, object]:
    """All numbers of a world, as its measurement gives them; empty where none are known.

    Args:
      world: name of the data set.
    """
    return dict(_table().get(world, {}))


def _methods(world, group, x, reference, ending):
    known = _table().get(world, {}).get(group)
    if known is None:
        return {}
    places = {round(float(at), 6): i for i, at in enumerate(known["x"])}
    places = [places.get(round(float(at), 6)) for at in x]
    return {
        method: [
            math.nan if place is None else known[reference][method + ending][place]
            for place in places
        ]
        for method in ("smooth", "filter")
    }


@functools.cache
def _table():
    return json.loads(PATH.read_text(encoding="utf-8"))
