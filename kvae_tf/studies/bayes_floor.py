"""The least error possible on hidden frames, for one who knows the simulator exactly.

Fraction of incorrect pixels of hidden frames, at the threshold 0.5, as in figures 3a and 3b of
Fraccaro et al. (2017): of a Bayesian who knows how the world ``box`` moves and draws the ball, and
takes a pixel as lit where its posterior probability is above one half. Balls are drawn at whole
pixels, so that frames say where a ball is to half a pixel only, and nobody can do better.

Estimated on 300 test sequences, for each by 3,000 steps of MCMC over the start's position and
velocity given the pixels of all frames that are seen, from the true start, which is an exact draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SEQUENCES = 300

# World -> group of metrics -> method -> how much is hidden -> fraction.
FLOORS = {
    "box": {
        "missing_at_random": {
            "smooth": {
                0.1: 0.0013, 0.2: 0.0012, 0.3: 0.0013, 0.4: 0.0014, 0.5: 0.0017,
                0.6: 0.0019, 0.7: 0.0024, 0.8: 0.0037, 0.9: 0.0071, 1.0: 0.0160,
            },
            "filter": {0.1: 0.0028, 0.3: 0.0033, 0.5: 0.0041, 0.7: 0.0056, 0.9: 0.0106},
        },
        "gap": {
            "smooth": {
                1: 0.0011, 3: 0.0012, 5: 0.0012, 7: 0.0014,
                9: 0.0015, 11: 0.0019, 13: 0.0025, 15: 0.0046,
            },
            "filter": {
                1: 0.0062, 3: 0.0074, 5: 0.0090, 7: 0.0106,
                9: 0.0120, 11: 0.0133, 13: 0.0145, 15: 0.0155,
            },
        },
    }
}  # fmt: skip


def floor(world: str, group: str, x: Sequence[float]) -> dict[str, list[float]]:
    """Method -> the least error for each ``x``, NaN where unknown; empty where none is known.

    Args:
      world: name of the data set.
      group: "missing_at_random" or "gap".
      x: rates of hidden frames, or lengths of gaps.
    """
    known = FLOORS.get(world, {}).get(group, {})
    return {
        method: [values.get(round(float(at), 6), math.nan) for at in x]
        for method, values in known.items()
    }
