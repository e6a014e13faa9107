"""The comparison on frames at irregular times, and what its command refuses."""

import numpy as np
import pytest
from commands import run

from kvae_tf.apps import irregular
from kvae_tf.data.worlds import bouncing_ball


def test_a_grid_sees_the_drawn_frames_alone():
    drawn = bouncing_ball.simulate("box", 3, 4, 0, path_frames=9)
    whole = bouncing_ball.simulate("box", 3, 9, 0)
    steps = np.rint(drawn.times / bouncing_ball.INTERVAL).astype(int)
    grid = irregular._on_the_grid(whole, steps)
    assert grid.observed.sum() == 12
    seen = grid.frames[grid.observed > 0].reshape(drawn.frames.shape)
    np.testing.assert_array_equal(seen, drawn.frames)


def test_standard_errors_are_those_of_sequences():
    values = np.random.default_rng(0).normal(size=(400, 10)) + 5.0
    (_, mean), (_, error) = irregular._summary("x", [irregular._mean(values, values > -np.inf)])
    np.testing.assert_allclose(mean, values.mean(), rtol=1e-5)
    np.testing.assert_allclose(error, values.mean(1).std(ddof=1) / 20, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("model", irregular.MODELS)
def test_each_model_is_trained_and_measured(model, tmp_path):
    found = irregular.compare(
        model, "box_irregular", 24, 0, str(tmp_path / "run"), 40, 5, epochs=4,
        pretraining_epochs=1, settling_epochs=1, finishing_epochs=1, steps_per_epoch=2,
        dynamics_updates=1, batch_size=8,
    )  # fmt: skip
    assert found["updates"] == 8
    assert 0.0 < found["hidden"] < 0.5
    assert ("between" in found) == (model != "order")


def test_what_does_not_fit_is_one_line(tmp_path):
    result = run("irregular", "--models=regular", f"--output={tmp_path / 'x.json'}")
    assert result.returncode == 1
    assert result.stderr.startswith("error: --models has 'regular', expected some of")
