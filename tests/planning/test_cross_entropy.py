"""The search: against exact optima, its limits, and what it promises about the guess."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import as_sampler
from kvae_tf.planning import Box, OneOf, Plan, Search, minimise, next_guess

B, K = 3, 6
TARGETS = np.array([-1.0, 0.5, 2.0], np.float32)


def to_targets(controls):
    """A point mass has to reach the targets, and pays for force; ``[B, N, K, 1] -> [B, N]``."""
    position, speed, total = 0.0, 0.0, 0.0
    for force in tf.unstack(controls[..., 0], axis=2):
        position, speed = position + speed, speed + force
        total += 0.1 * force**2
    return total + (position - TARGETS[:, None]) ** 2


def exact():
    """The least cost of ``to_targets``: position = weights · forces, in closed form."""
    weights = np.arange(K - 1, -1, -1.0)
    return 0.1 * TARGETS**2 / (0.1 + weights @ weights)


def guess(actions):
    return tf.zeros([B, K, actions.size])


def test_a_quadratic_cost_is_minimised():
    actions, search = Box([-1.0], [1.0]), Search(horizon=K, iterations=10)
    plan = minimise(to_targets, guess(actions), actions, search, as_sampler(0))
    np.testing.assert_allclose(plan.cost, exact(), atol=0.005)
    np.testing.assert_allclose(to_targets(plan.controls[:, None])[:, 0], plan.cost, rtol=1e-6)
    again = minimise(to_targets, guess(actions), actions, search, as_sampler(0))
    other = minimise(to_targets, guess(actions), actions, search, as_sampler(1))
    np.testing.assert_array_equal(plan.controls, again.controls)
    assert np.abs(plan.controls - other.controls).max() > 0


def test_controls_stay_within_their_box():
    actions, search = Box([-0.05], [0.02]), Search(horizon=K)
    seen = []

    def cost(controls):
        seen.append(controls.numpy())
        return to_targets(controls)

    plan = minimise(cost, guess(actions), actions, search, as_sampler(0))
    assert min(x.min() for x in seen) == np.float32(-0.05)
    assert max(x.max() for x in seen) == np.float32(0.02)
    np.testing.assert_allclose(plan.controls[0, 0], [-0.05])  # full force, as it moves for longest
    np.testing.assert_allclose(plan.controls[2, 0], [0.02])


def test_the_best_of_all_sequences_of_actions_is_found():
    actions = OneOf(2)
    rng = np.random.default_rng(0)
    weights = tf.constant(rng.normal(size=(B, 1, K)), tf.float32)

    def cost(controls):
        """Sums of weighted signs have to come to 0; steps depend on each other."""
        signs = controls[..., 1] - controls[..., 0]
        return tf.square(tf.reduce_sum(weights * signs, axis=2) - 0.3)

    every = np.array(list(itertools.product([0, 1], repeat=K)))
    costs = cost(tf.constant(np.broadcast_to(np.eye(2)[every], (B, 2**K, K, 2)), tf.float32))
    plan = minimise(cost, guess(actions), actions, Search(horizon=K), as_sampler(0))
    np.testing.assert_allclose(plan.cost, costs.numpy().min(1), atol=1e-6)
    np.testing.assert_array_equal(plan.controls.numpy().sum(-1), 1.0)
    assert set(np.unique(plan.controls)) == {0.0, 1.0}


def test_no_plan_is_worse_than_the_guess():
    """Even of a search that cannot find anything."""
    actions, search = Box([-1.0], [1.0]), Search(K, candidates=2, elites=1, iterations=1, kept=1)
    good = minimise(to_targets, guess(actions), actions, Search(K, iterations=8), as_sampler(0))
    later = minimise(to_targets, good.values, actions, search, as_sampler(3))
    assert (later.cost.numpy() <= good.cost.numpy() + 1e-7).all()


def test_candidates_without_a_finite_cost_are_left_out():
    def cost(controls):
        costs = to_targets(controls)
        return tf.where(controls[:, :, 0, 0] > 0.1, np.nan, costs)

    actions = Box([-1.0], [1.0])
    plan = minimise(cost, guess(actions), actions, Search(horizon=K), as_sampler(0))
    assert np.isfinite(plan.cost).all()
    assert (plan.controls.numpy()[:, 0] <= 0.1).all()


def test_the_next_guess_is_a_step_later():
    values = tf.reshape(tf.range(2.0 * K), [2, K, 1])
    found = next_guess(Plan(values, values, None), Box([0.0], [4.0]))
    np.testing.assert_array_equal(found[:, :-1], values[:, 1:])
    np.testing.assert_array_equal(found[:, -1], [[2.0], [2.0]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"horizon": 0}, "horizon is 0, expected at least 1"),
        ({"candidates": 0}, "candidates is 0"),
        ({"elites": 300}, "elites is 300, expected at most 200"),
        ({"kept": 30}, "kept is 30, expected at most 20"),
        ({"correlation": 1.0}, "correlation is 1.0, expected at least 0 and below 1"),
        ({"smoothing": float("nan")}, "smoothing is nan"),
        ({"finest": 0.0}, "finest is 0.0, expected above 0"),
    ],
)
def test_settings_are_checked(wrong, message):
    with pytest.raises(UserError, match=message):
        Search(**wrong).check()
