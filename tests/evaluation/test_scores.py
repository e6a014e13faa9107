"""Scores of data, their quantiles and thresholds, and the area under the ROC curve."""

import numpy as np
import pytest

from kvae_tf import data, evaluation
from kvae_tf.errors import UserError
from kvae_tf.models.contract import Scores


def random_scores(rng, *shape):
    encoding, reconstruction = rng.normal(size=(2, *shape))
    return Scores(encoding + reconstruction, encoding, reconstruction)


def test_scores_of_data_are_those_of_the_model(live, monkeypatch):
    """Also in batches of which the last one is filled up."""
    model = live("kvae")
    test = data.WORLDS["pendulum"].splits(0, num_sequences=(1, 1, 5), num_steps=6).test
    test.observed[1, 3:5] = 0.0
    whole = model.score(test.unit_frames, test.observed, test.controls)
    monkeypatch.setattr(evaluation.masked_batches, "BATCH", 3)
    found = evaluation.frame_scores(model, test)
    for one, other in zip(found, whole, strict=True):
        assert one.shape == (5, 6)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(one[test.observed == 0], 0.0)


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    normal, odd = rng.integers(0, 9, 40), rng.integers(-4, 7, 30)  # with ties
    pairs = odd[:, None] - normal
    expected = np.mean((pairs < 0) + 0.5 * (pairs == 0))
    np.testing.assert_allclose(evaluation.auroc(normal, odd), expected, rtol=1e-12)
    np.testing.assert_allclose(evaluation.auroc(odd, normal), 1 - expected, rtol=1e-12)
    assert evaluation.auroc(np.ones(3), np.zeros(2)) == 1.0
    assert evaluation.auroc(np.ones(3), np.ones(2)) == 0.5


@pytest.mark.parametrize("window", [1, 2, 3])
def test_the_lowest_mean_counts_judged_frames_only(window):
    rng = np.random.default_rng(0)
    scores, observed = rng.normal(size=(6, 9)), rng.binomial(1, 0.6, (6, 9))
    scores[:, :4] = -100.0
    scores[observed == 0] = -100.0
    observed[0] = 0
    found = evaluation.lowest_mean(scores, observed, window)
    for row in range(6):
        kept = [t for t in range(4, 9) if observed[row, t]]
        windows = [[t for t in kept if s <= t < s + window] for s in range(10 - window)]
        means = [scores[row, steps].mean() for steps in windows if steps]
        np.testing.assert_allclose(found[row], min(means, default=np.inf))
    assert found[0] == np.inf


def test_thresholds_are_quantiles_of_judged_frames():
    rng = np.random.default_rng(0)
    scores, observed = random_scores(rng, 300, 9), rng.binomial(1, 0.7, (300, 9))
    table = evaluation.score_quantiles(scores, observed)
    kept = observed[:, 4:] > 0
    assert table["frames"] == kept.sum()
    assert table["levels"][0] == 0.001  # about 1,000 frames
    for name, values in scores._asdict().items():
        for level in (0.001, 0.01, 0.5):
            found = evaluation.score_threshold(table, name, level)
            np.testing.assert_allclose(found, np.quantile(values[:, 4:][kept], level))
        low, between, high = (
            evaluation.score_threshold(table, name, x) for x in (0.01, 0.015, 0.02)
        )
        np.testing.assert_allclose(between, (low + high) / 2)
    for level in (0.0005, 0.0, 0.6, np.nan):
        with pytest.raises(UserError, match=r"--quantile is .*, expected 0.001 to 0.5"):
            evaluation.score_threshold(table, "scores", level)
    empty = evaluation.score_quantiles(random_scores(rng, 3, 4), np.ones((3, 4)))
    with pytest.raises(UserError, match="no frames after the first 4"):
        evaluation.score_threshold(empty, "scores", 0.01)


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"levels": [0.1], "quantiles": {}},
        {"levels": [0.1, 0.2], "quantiles": {"scores": [1.0]}},
        {"levels": [0.1], "quantiles": {"scores": ["a"]}},
        {"levels": [0.1], "quantiles": {"scores": [float("nan")]}},
        {"levels": [0.2, 0.1], "quantiles": {"scores": [1.0, 2.0]}},
        {"levels": 0.1, "quantiles": {"scores": 1.0}},
        {"levels": [0.1], "quantiles": [1.0]},
    ],
)
def test_a_damaged_table_is_refused(table):
    with pytest.raises(UserError, match="no scores, expected levels and quantiles"):
        evaluation.score_threshold(table, "scores", 0.1)
