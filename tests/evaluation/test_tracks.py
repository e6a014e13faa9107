"""Position errors of discs in drawn films: discs that exchange their places are wrong."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import evaluation
from kvae_tf.data import SequenceData
from kvae_tf.data.worlds import cannonballs
from kvae_tf.evaluation.continuations import FIRST, RADIUS
from kvae_tf.evaluation.tracks import link, track_errors
from kvae_tf.models import Frames

SIZE, STEPS = 32, 30
TIME = np.arange(STEPS, dtype=float)
UP, DOWN = 24.0, 7.0


def film(tracks):
    """Float frames ``[N, T, H, W]`` of positions ``[N, T, 2, 2]``."""
    present = np.ones((len(tracks), 1, 2), bool)
    return cannonballs.draw(tracks, present, SIZE).astype(float)


def parallel():
    """Two balls side by side to the right, ``[1, T, 2, 2]``."""
    x = 4.0 + 0.8 * TIME
    return np.stack([np.stack([x, np.full(STEPS, y)], -1) for y in (UP, DOWN)], axis=1)[None]


def exchanging():
    """The same, but in the middle third the balls move to each other's place."""
    tracks = parallel()
    share = np.clip((TIME - 10.0) / 10.0, 0.0, 1.0)
    tracks[0, :, 0, 1] = UP + share * (DOWN - UP)
    tracks[0, :, 1, 1] = DOWN + share * (UP - DOWN)
    tracks[0, :, 1, 0] += 4.0 * np.sin(np.pi * share)  # past each other, not through
    return tracks


def crossing():
    """Two balls on the diagonals, which meet in the middle."""
    x = 4.0 + 0.8 * TIME
    return np.stack([np.stack([x, y], -1) for y in (x, SIZE - 1.0 - x)], axis=1)[None]


def errors(drawn, truth):
    counts = np.array([2])
    frames, before = film(drawn)[:, FIRST:], truth[:, FIRST - 2 : FIRST]
    return track_errors(frames, truth[:, FIRST:], before, counts, RADIUS)[0]


def test_balls_that_swap_cost_even_where_the_set_of_places_is_right():
    found = errors(exchanging(), parallel())
    assert found[:4].max() < 1.0  # frames 5 to 8, before
    assert found[-8:].min() > 0.9 * (UP - DOWN)  # all ten frames after the exchange


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_balls_that_cross_without_swapping_cost_nothing(shift):
    """Where one covers the other (no shift), the covered one's place is a guess for a frame."""
    tracks = crossing()
    tracks[0, :, 1, 0] += shift
    found = errors(tracks, tracks)
    assert np.median(found) < 0.5
    assert found[-8:].max() < 0.6
    assert np.sum(found > RADIUS) == (shift == 0.0)


def test_links_of_exact_places_are_exact():
    """Whatever their order in each frame; also of three objects, and beside an absent one."""
    rng = np.random.default_rng(0)
    start, velocity = rng.uniform(0, 30, (40, 1, 3, 2)), rng.uniform(-1, 1, (40, 1, 3, 2))
    truth = start + velocity * TIME[:, None, None]
    counts = rng.integers(1, 4, 40)
    shuffled = truth.copy()
    for n, count in enumerate(counts):
        for t in range(STEPS):
            shuffled[n, t, :count] = truth[n, t, rng.permutation(count)]
    np.testing.assert_array_equal(link(shuffled[:, 2:], truth[:, :2], counts), truth[:, 2:])


class Film:
    """Draws one film, whatever it is shown."""

    max_objects = 0
    imputation_methods = ("filter",)
    supports = frozenset({"impute"})

    def __init__(self, frames):
        self.frames = frames.astype(np.float32)[..., None]

    def impute(self, frames, observed=None, controls=None, method="filter", num_objects=None):
        nothing = np.zeros((len(self.frames), STEPS, 1), np.float32)
        return Frames(tf.constant(self.frames), *[nothing] * 4)


@pytest.mark.parametrize(("drawn", "is_right"), [(parallel(), True), (exchanging(), False)])
def test_generation_of_a_system_that_only_draws_frames(drawn, is_right):
    states = parallel().reshape(1, STEPS, 4)
    data = SequenceData.from_arrays(
        film(parallel()), states=states, state_names=("x_1", "y_1", "x_2", "y_2"), num_objects=[2]
    )
    found = evaluation.generation(Film(film(drawn)), data).position_error
    assert len(found) == STEPS - FIRST
    assert (found[-1] < 1.0) is is_right
