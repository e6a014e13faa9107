"""Costs of goals and the controller, on a small model that has learned nothing."""

import numpy as np
import pytest

from kvae_tf.errors import UserError
from kvae_tf.models.contract import Rollout
from kvae_tf.planning import Box, Controller, OneOf, Search, to_goals

B, STEPS = 3, 4
SMALL = Search(horizon=3, candidates=12, elites=4, iterations=2, kept=2)


@pytest.fixture
def model(live):
    return live("kvae")


def pictures(model, number, seed=0):
    return np.random.default_rng(seed).random((number, *model.frame_shape), np.float32)


def as_rollout(model, encodings):
    return Rollout(encodings[None, None], None)


def test_a_goal_costs_nothing(model):
    goals = pictures(model, 2)
    at_goals = as_rollout(model, model.encode(goals).mean)
    for measure in ("encodings", "frames"):
        np.testing.assert_allclose(to_goals(model, goals, measure)(at_goals), [[0.0]], atol=1e-9)
        one = to_goals(model, goals[:1], measure)(at_goals)  # the second step is elsewhere
        assert one[0, 0] > 0
        weighted = to_goals(model, goals[:1], measure, last_weight=3.0)(at_goals)
        np.testing.assert_allclose(weighted, 3.0 * one, rtol=1e-5)
    a, b = model.encode(goals).mean.numpy()
    expected = np.mean((a - b) ** 2)
    np.testing.assert_allclose(to_goals(model, goals[:1])(at_goals), [[expected]], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {"frames": x[0]}, r"goals has shape \(16, 16, 1\), expected \[G, 16, 16, 1\]"),
        (lambda x: {"frames": x[:0]}, r"goals has shape \(0, 16, 16, 1\)"),
        (lambda x: {"frames": x[:, :-1]}, "frames has shape"),
        (lambda x: {"frames": x + 2}, "frames lies in"),
        (lambda x: {"frames": x, "measure": "pixels"}, "measure is 'pixels', expected one of enc"),
    ],
)
def test_goals_are_checked(model, change, message):
    with pytest.raises(UserError, match=message):
        to_goals(model, **change(pictures(model, 2)))


def test_each_step_is_a_plan_from_the_filter(model):
    """State, cost and answer are those of the model's own queries."""
    cost, actions = to_goals(model, pictures(model, 1)), Box([-2.0], [2.0])
    controller = Controller(model, cost, actions, SMALL, seed=3)
    controller.start(B)
    state, answers = model.filter_start(B), []
    for t in range(STEPS):
        frames = pictures(model, B, seed=1 + t)
        controls, plan = controller.act(frames)
        assert controls.shape == (B, 1)
        assert np.abs(controls).max() <= 2.0
        np.testing.assert_array_equal(controls, plan.controls[:, 0])
        expected = cost(model.rollout(state, frames, plan.controls[:, None]))[:, 0]
        np.testing.assert_allclose(plan.cost, expected, rtol=1e-3)
        still = cost(model.rollout(state, frames, 0.0 * plan.controls[:, None]))[:, 0]
        assert t or (plan.cost.numpy() <= still.numpy() + 1e-6).all()  # the first guess
        state, _ = model.filter_step(state, frames, controls=controls)
        answers.append(controls)
    controller.start(B)
    again = [controller.act(pictures(model, B, seed=1 + t))[0] for t in range(STEPS)]
    np.testing.assert_allclose(again, answers, atol=1e-6)


def test_what_does_not_fit_is_refused(model, live):
    cost = to_goals(model, pictures(model, 1))
    with pytest.raises(UserError, match="actions has 2 entries, expected 1"):
        Controller(model, cost, OneOf(2))
    with pytest.raises(UserError, match="horizon is 0"):
        Controller(model, cost, Box([-1.0], [1.0]), Search(horizon=0))
    with pytest.raises(UserError, match="DVBF does not rollout"):
        Controller(live("dvbf"), cost, Box([-1.0], [1.0]))
    controller = Controller(model, cost, Box([-1.0], [1.0]), SMALL)
    with pytest.raises(UserError, match="no episodes have begun"):
        controller.act(pictures(model, B))
    controller.start(B)
    with pytest.raises(UserError, match="as frames have"):
        controller.act(pictures(model, B + 1))
    with pytest.raises(UserError, match="frames lies in"):
        controller.act(pictures(model, B) + 2)
