"""The committed least errors: below the paper's and the exports', smoothing's below filtering's."""

import numpy as np
import pytest
from conftest import SAVED_MODELS

from kvae_tf.data import storage
from kvae_tf.data.worlds import box_motion
from kvae_tf.evaluation import GAPS, RATES
from kvae_tf.studies import bayes_floor, paper_values

POINTS = (
    ("missing_at_random", RATES, paper_values.MISSING_AT_RANDOM),
    ("gap", GAPS, paper_values.GAP),
)


@pytest.mark.parametrize("world", box_motion.WORLDS)
def test_nothing_is_below_the_floor(world):
    metrics = storage.read_json(SAVED_MODELS / world / "metrics.json", "metrics")
    for group, x, paper in POINTS:
        floor, errors = (f(world, group, x) for f in (bayes_floor.floor, bayes_floor.floor_errors))
        for method, values in floor.items():
            assert np.all(np.array(values) < metrics[f"{group}/{method}"])
            if world == "box":
                assert np.all(np.array(values) < paper[method])
            assert np.all(np.diff(values) > -2 * np.array(errors[method][1:]))  # more is hidden
            assert np.all(np.array(errors[method]) < 0.2 * np.array(values))
        assert np.all(np.array(floor["smooth"]) <= np.array(floor["filter"]) + 1e-6)


@pytest.mark.parametrize("world", box_motion.WORLDS)
def test_knowing_the_modes_is_not_knowing_the_pixels(world):
    """Except where so little is seen that modes tell more than frames."""
    for group, x in (("missing_at_random", RATES[:-2]), ("gap", GAPS)):
        floor = bayes_floor.floor(world, group, x)["smooth"]
        assert np.all(np.array(bayes_floor.known_modes(world, group, x)["smooth"]) > floor)


def test_it_is_measured_on_the_whole_test_part():
    for world in box_motion.WORLDS:
        assert bayes_floor.sequences(world) == 1000
    assert bayes_floor.sequences("pong") == 0


def test_what_is_unknown():
    assert bayes_floor.floor("pong", "gap", [1]) == {}
    assert bayes_floor.floor("box", "generation", [1]) == {}
    values = bayes_floor.floor("box", "gap", [1, 2])["smooth"]
    assert 0.0 < values[0] < 0.002
    assert np.isnan(values[1])
