"""The comparison on frames at irregular times, and what its command refuses."""

import numpy as np
import pytest
from commands import run

from kvae_tf.apps import irregular
from kvae_tf.data.worlds import bouncing_ball


def test_a_grid_sees_the_drawn_frames_alone():
    drawn = bouncing_ball.simulate("box", 3, 4, 0, path_frames=9)
    whole = bouncing_ball.simulate("box", 3, 9, 0)
    grid = irregular._on_the_grid(drawn, drawn.observed, 9)
    assert grid.observed.sum() == 12
    shown = grid.observed > 0
    np.testing.assert_array_equal(grid.frames[shown], whole.frames[shown])


def test_times_off_the_grid_are_rounded_and_hidden_frames_do_not_show():
    drawn = bouncing_ball.simulate("box", 50, 6, 0, path_frames=7, path_parts=5)
    assert np.unique(np.rint(drawn.times / 0.04)).size > 5
    np.testing.assert_allclose(drawn.times / 0.04, np.rint(drawn.times / 0.04), atol=1e-6)
    seen = np.ones((50, 6), np.float32)
    seen[:, 3] = 0.0
    grid = irregular._on_the_grid(drawn, seen, 7)
    for i in range(50):
        nearest = {int(np.rint(drawn.times[i, t] / 0.2)): t for t in (0, 1, 2, 4, 5)}  # the later
        assert set(np.flatnonzero(grid.observed[i])) == set(nearest)
        for step, t in nearest.items():
            np.testing.assert_array_equal(grid.frames[i, step], drawn.frames[i, t])


def test_standard_errors_are_those_of_sequences():
    values = np.random.default_rng(0).normal(size=(400, 10)) + 5.0
    (_, mean), (_, error) = irregular._summary("x", [irregular._mean(values, values > -np.inf)])
    np.testing.assert_allclose(mean, values.mean(), rtol=1e-5)
    np.testing.assert_allclose(error, values.mean(1).std(ddof=1) / 20, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("model", irregular.MODELS)
def test_each_model_is_trained_and_measured(model, parts, tmp_path):
    found = irregular.compare(
        model, "box_irregular", 24, 0, str(tmp_path / "run"), 40, 5, parts, epochs=4,
        pretraining_epochs=1, settling_epochs=1, finishing_epochs=1, steps_per_epoch=2,
        dynamics_updates=1, batch_size=8,
    )  # fmt: skip
    assert found["updates"] == 8
    assert 0.0 < found["hidden"] < 0.5
    assert ("between" in found) == (model != "order")


def test_a_fifth_of_the_first_frames_is_missing():
    whole = bouncing_ball.simulate("box", 200, 9, 0)
    part = irregular._some_missing(whole, 6, 0)
    assert part.observed[:, :4].all()
    assert part.observed[:, 6:].all()
    assert 0.7 < part.observed[:, 4:6].mean() < 0.9
    np.testing.assert_allclose(np.diff(part.times), 0.2, rtol=1e-5)
    assert whole.observed.all()


@pytest.mark.slow
@pytest.mark.parametrize("model", irregular.FORECASTERS)
def test_each_model_forecasts(model, tmp_path):
    found = irregular.forecast(
        model, "box_irregular", 0, str(tmp_path / "run"), 40, 5, epochs=4,
        pretraining_epochs=1, settling_epochs=1, finishing_epochs=1, steps_per_epoch=2,
        dynamics_updates=1, batch_size=8,
    )  # fmt: skip
    assert found["updates"] == 8
    assert len(found["wasserstein_by_frame"]) == 40
    assert 0.0 < found["wasserstein"] < 46.0


def test_what_does_not_fit_is_one_line(tmp_path):
    result = run(
        "irregular", "--task=forecast", "--path_frames=60", f"--output={tmp_path / 'x.json'}"
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: --path_frames is set, expected --task=fill_in")
    result = run(
        "irregular", "--task=forecast", "--models=order", f"--output={tmp_path / 'x.json'}"
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: --models has 'order', expected some of")
    result = run("irregular", f"--output={tmp_path / 'x.json'}", "--set=seed=3,epochs=2")
    assert result.stderr.startswith("error: --set has seed, expected settings that this command")
    assert result.returncode != 0
