"""Studies of small models: what they hide, what they draw, what they say of it."""

import keras
import numpy as np
import pytest
from conftest import SAVED_MODELS

from kvae_tf import evaluation
from kvae_tf.data import Splits, gap, missing_at_random
from kvae_tf.data.worlds import bouncing_ball, pendulum
from kvae_tf.data.worlds.bounces import steps_to_bounce
from kvae_tf.errors import UserError
from kvae_tf.experiments.load import load
from kvae_tf.models import DVBF, KVAE, FrameRNN, Scores
from kvae_tf.studies import EvaluationTarget, anomalies, frames, latents, long_filtering

STEPS = 12


@pytest.fixture(scope="module")
def splits():
    return Splits(*(bouncing_ball.simulate("box", 12, STEPS, seed=seed) for seed in range(3)))


def kvae(splits, **options):
    keras.utils.set_random_seed(0)
    model = KVAE(splits.test.frame_shape, units=(8,), num_modes=3, dynamics_units=6, **options)
    model.build()
    # So that weights depend on encodings.
    model.network.head.kernel.assign(50.0 * model.network.head.kernel)
    return model


def target(model, splits, longer=lambda steps: None):
    return EvaluationTarget(model, splits, longer, "a world")


def test_trajectories_have_a_gap_between_four_and_four(splits):
    model = kvae(splits)
    report = frames.trajectories(target(model, splits))
    assert report.numbers["hidden_frames"] == [4, 8]
    table = {(row[0], row[1], row[3]): row for row in report.rows}
    assert len(table) == 4 * STEPS * 3
    seen = [table[0, t, "encoded"][2] for t in range(STEPS)]
    assert seen == [1] * 4 + [0] * 4 + [1] * 4
    path = {
        name: np.array([[table[n, t, name][4:] for t in range(STEPS)] for n in range(4)])
        for name in ("encoded", "generated", "smoothed")
    }
    for name in ("generated", "smoothed"):
        np.testing.assert_allclose(path[name][:, :4], path["encoded"][:, :4], atol=1e-6)
        error = np.sqrt(np.mean(np.square(path[name] - path["encoded"])[:, 4:8]))
        np.testing.assert_allclose(report.numbers["hidden_encoding_rmse"][name], error, rtol=1e-5)
    np.testing.assert_allclose(path["smoothed"][:, 8:], path["encoded"][:, 8:], atol=1e-6)
    assert np.abs(path["generated"][:, 8:] - path["encoded"][:, 8:]).min() > 1e-6


def test_coverage_near_bounces_and_far_from_them(splits):
    model = kvae(splits)
    found = frames.coverage(target(model, splits)._replace(dataset="box"))
    numbers = found.numbers
    test, mask = splits.test, missing_at_random(12, STEPS, 0.5, 4, seed=0)
    for method, (covered,) in evaluation.coverage(model, test, mask).items():
        assert numbers[f"coverage_0.9/{method}"] == covered
    near = steps_to_bounce("box", test.states) <= 2
    for hidden, seen in (("random", mask), ("gap", gap(12, STEPS, *evaluation.middle_gap(STEPS)))):
        for part, where in (("near_bounce", near), ("far_from_bounce", ~near)):
            prefix = f"{hidden}/{part}"
            assert numbers[f"{prefix}/frames"] == ((seen == 0) & where).sum() > 0
            for method in ("smooth", "filter"):
                column = found.header.index(f"{prefix}/{method}")
                covered = next(row[column] for row in found.rows if row[0] == 0.9)
                assert numbers[f"{prefix}/coverage_0.9/{method}"] == covered
                assert len(numbers[f"{prefix}/crps/{method}"]) == 2
    # Where bounces are not known there are no such parts, and the rest stays as it is.
    other = frames.coverage(target(model, splits))
    assert other.header[:3] == found.header[:3] == ["level", "smooth", "filter"]
    assert not any("bounce" in key for key in (*other.numbers, *other.header))
    assert other.numbers.items() <= numbers.items()


def test_a_model_that_cannot_smooth_generates_only(splits):
    model = FrameRNN(splits.test.frame_shape, units=(8,), dynamics_units=6)
    model.build()
    numbers = frames.trajectories(target(model, splits)).numbers
    assert list(numbers["hidden_encoding_rmse"]) == ["generated"]


@pytest.mark.parametrize(
    ("network", "is_function"),
    [("mlp", True), ("lstm", False), pytest.param("fifo", False, marks=pytest.mark.slow)],
)
def test_modes_say_whether_weights_are_a_function_of_the_last_encoding(
    splits, network, is_function, monkeypatch
):
    drawn = []
    mode_map = frames.charts.mode_map
    monkeypatch.setattr(
        frames.charts,
        "mode_map",
        lambda *given, **how: drawn.append(how) or mode_map(*given, **how),
    )
    report = frames.modes(target(kvae(splits, dynamics_network=network), splits))
    assert report.numbers["weights_are_a_function_of_the_last_encoding"] is is_function
    assert ("path" in drawn[0]) is is_function
    assert ("title" in drawn[0]) is not is_function
    assert report.picture.dtype == np.uint8


def test_anomalies_need_scores_and_a_world_that_has_them(splits):
    model = kvae(splits)
    with pytest.raises(UserError, match="a world has no anomalies, expected one of box, pendulum"):
        anomalies.anomalies(target(model, splits))
    report = anomalies.anomalies(target(model, splits)._replace(dataset="box"))
    assert set(report.numbers["kinds"]) == {row[0] for row in report.rows}
    assert report.numbers["score"] in Scores._fields
    for measures in report.numbers["kinds"].values():
        assert all(0.0 <= value <= 1.0 for value in measures.values())
    blind = DVBF(splits.test.frame_shape, units=(8,), latent_size=3, dynamics_units=6)
    with pytest.raises(UserError, match="the model cannot score, which the experiment needs"):
        anomalies.anomalies(target(blind, splits))


def test_anomalies_are_found_by_a_trained_model():
    parts = Splits(*(pendulum.simulate(60, 15, seed) for seed in range(3)))
    model = load(SAVED_MODELS / "pendulum", trainable=True)
    films = target(model, parts, lambda steps: pendulum.simulate(20, steps, 5))
    numbers = anomalies.anomalies(films._replace(dataset="pendulum")).numbers
    assert len(numbers["false_alarms_of_long_films"]) == 5
    assert max(numbers["false_alarms_of_long_films"]) < 0.3
    for kind, measures in numbers["kinds"].items():
        assert measures["sequence_auroc"] > 0.95, kind
        assert measures["frames_flagged"] > 0.8, kind
    assert numbers["false_alarms"] < 0.05


def test_a_walk_begins_where_states_are_filtered():
    parts = Splits(*(pendulum.simulate(40, 8, seed) for seed in range(3)))
    keras.utils.set_random_seed(0)
    model = DVBF(parts.test.frame_shape, control_size=1, units=(8,), latent_size=3,
                 dynamics_units=6, initial_frames=5)  # fmt: skip
    model.build()
    report = latents.walk(target(model, parts, lambda steps: pendulum.simulate(20, steps, 5)))
    steps = {row[1] for row in report.rows}
    assert steps == set(range(5, 101))
    assert report.numbers["step"] == 45
    at_end = {(row[0], row[2]): row[3] for row in report.rows if row[1] == report.numbers["step"]}
    for walk, values in report.numbers["r_squared"].items():
        for quantity, value in values.items():
            assert at_end[walk, quantity] == value
    assert evaluation.first_step(model) == 4


def test_sequences_that_a_filter_loses_are_counted(monkeypatch):
    parts = Splits(*(pendulum.simulate(20, 8, seed) for seed in range(3)))
    found = pendulum.simulate(6, long_filtering.LENGTH, 5)
    truth = np.stack(list(evaluation.quantities(found).values()), -1)
    latents = 2.0 * truth + 0.02
    latents[1, 100:200] += 50.0  # gone astray, and found again
    latents[2, -20:] += 2.0  # off by more than a standard deviation of sine and cosine
    latents[3, 300:] = np.inf
    fit = evaluation.positions.fit_affine(2.0 * truth.reshape(-1, 3), truth.reshape(-1, 3))
    straight = evaluation.Regression(("sin", "cos", "velocity"), fit, np.ones(3), np.zeros(3))
    monkeypatch.setattr(long_filtering, "filtered", lambda model, data: latents)
    monkeypatch.setattr(long_filtering.evaluation, "regression", lambda *given: straight)
    model = DVBF(parts.test.frame_shape, control_size=1)
    numbers = long_filtering.long_filtering(target(model, parts, lambda steps: found)).numbers
    assert (numbers["sequences"], numbers["lost"], numbers["unbounded"]) == (6, 2, 1)
    np.testing.assert_allclose(list(numbers["rmse"]["15"].values()), 0.01, rtol=1e-3)
    error = np.sqrt((5 * 0.01**2 + 25.01**2) / 6)
    np.testing.assert_allclose(numbers["rmse"]["200"]["sin"], error, rtol=1e-3)
    with pytest.raises(UserError, match="a world has no longer sequences"):
        long_filtering.long_filtering(target(model, parts))
    other = target(model, parts)._replace(studies=("walk", "controls"))
    with pytest.raises(UserError, match="is not for this model, expected some of walk, controls"):
        long_filtering.long_filtering(other)
