"""The least possible errors: below the paper's, and smoothing's below filtering's."""

import numpy as np

from kvae_tf.evaluation import GAPS, RATES
from kvae_tf.studies import bayes_floor, paper_values


def test_nothing_is_below_the_floor():
    for group, x, paper in (
        ("missing_at_random", RATES, paper_values.MISSING_AT_RANDOM),
        ("gap", GAPS, paper_values.GAP),
    ):
        floor = bayes_floor.floor("box", group, x)
        for method, values in floor.items():
            known = np.isfinite(values)
            assert known.any()
            assert np.all(np.array(values)[known] < np.array(paper[method])[known])
        smooth, filtered = np.array(floor["smooth"]), np.array(floor["filter"])
        assert np.isfinite(smooth).all()
        assert not np.any(smooth > filtered)
        assert np.all(np.diff(smooth) > -2e-4)  # more hidden is not easier, but for the noise


def test_what_is_unknown():
    assert bayes_floor.floor("gravity", "gap", [1]) == {}
    assert bayes_floor.floor("box", "generation", [1]) == {}
    values = bayes_floor.floor("box", "gap", [1, 2])["smooth"]
    assert values[0] == 0.0011
    assert np.isnan(values[1])
