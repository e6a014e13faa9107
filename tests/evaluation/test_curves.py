"""Error curves of stand-in models whose errors are known."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import evaluation
from kvae_tf.data import SequenceData, missing_at_random
from kvae_tf.layers import Encoding
from kvae_tf.models import Bound, Frames, SequenceModel

N, T = 130, 9  # the last batch of 100 is filled up, and that must not count
BRIGHT = 30  # sequences from here on are lit everywhere, the others nowhere


class Filler(SequenceModel):
    """Encodes a frame as (2 x + 1, -y); what is missing gets one value by each method."""

    term_names = ("reconstruction",)
    frame_shape, control_size, encoding_size = (2, 2, 1), 0, 2
    elbo_is_log_weight = True
    fill = {"smooth": 0.0, "filter": 1.0}

    def elbo(self, batch, seed):
        """Its sample is 0 or ln 4 nats, according to the seed."""
        value = tf.math.log(4.0) * tf.cast(seed[1] % 2, tf.float32)
        num_frames = tf.reduce_sum(batch["observed"], axis=1)
        return Bound(value * tf.ones_like(num_frames), {}, num_frames)

    def _encode(self, frames):
        x, y = frames[..., 0, 0, 0], frames[..., 0, 1, 0]
        mean = tf.stack([2.0 * x + 1.0, -y], axis=-1)
        return Encoding(mean, tf.zeros_like(mean))

    def _impute(self, given, method):
        keep = given.seen[..., None, None, None] > 0
        filled = tf.where(keep, given.frames, self.fill[method])
        mean = self._encode(filled).mean
        return Frames(filled, mean, 0.3 * tf.ones_like(mean), None, None)

    def _decode(self, encodings, num_objects):
        x, y = (encodings[..., 0] - 1.0) / 2.0, -encodings[..., 1]
        pixels = tf.stack([x, y, x, y], axis=-1)
        return tf.reshape(pixels, [*encodings.shape[:-1], 2, 2, 1])

    def _forecast(self, given, num_steps):
        return Frames(tf.zeros([tf.shape(given.frames)[0], num_steps, 2, 2, 1]), *[None] * 4)


@pytest.fixture(scope="module")
def data():
    images = np.zeros((N, T, 2, 2, 1), np.float32)
    images[BRIGHT:] = 1.0
    states = images[:, :, 0, :, 0]  # x and y are the pixels that the encoder reads
    return SequenceData.from_arrays(images, states=states, state_names=("x", "y"))


@pytest.mark.parametrize("averages", [False, True])
def test_a_mean_over_frames_is_judged_itself(data, averages):
    class Averaging(Filler):
        averages_frames = averages

        def _impute(self, given, method):
            filled = super()._impute(given, method)
            return filled._replace(frames=0.0 * filled.frames)

    curve = evaluation.gap_curve(Averaging(), data, gaps=(3,))
    lit = 1 - BRIGHT / N
    expected = lit if averages else 1 - lit  # "filter" fills in ones
    assert curve.errors["filter"]["incorrect_pixels"] == pytest.approx([expected])


def test_gap_curve_counts_each_real_row_once(data):
    curve = evaluation.gap_curve(Filler(), data)
    assert curve.x == [1, 3]  # a gap of 5 would leave no frame to see after it
    bright = 1 - BRIGHT / N
    for method, wrong in {"smooth": bright, "filter": 1 - bright, "last_frame": 0}.items():
        found = curve.errors[method]["incorrect_pixels"]
        np.testing.assert_allclose(found, [wrong, wrong], atol=1e-6)
    np.testing.assert_allclose(
        curve.errors["generate"]["incorrect_pixels"], curve.errors["filter"]["incorrect_pixels"]
    )
    # Sequences are all right or all wrong: the error of a mean of N coins.
    expected = np.sqrt(bright * (1 - bright) / N)
    spread = curve.standard_errors["smooth"]["incorrect_pixels"]
    np.testing.assert_allclose(spread, [expected] * 2, rtol=1e-5)


def test_missing_at_random_weighs_frames_alike(data):
    rates, seeds = (0.5, 1.0), (0, 1)
    curve = evaluation.missing_at_random_curve(Filler(), data, rates=rates, mask_seeds=seeds)
    for rate, found in zip(rates, curve.errors["smooth"]["incorrect_pixels"], strict=True):
        hidden = sum(1 - missing_at_random(N, T, rate, 4, seed) for seed in seeds).sum(1)
        np.testing.assert_allclose(found, hidden[BRIGHT:].sum() / hidden.sum(), rtol=1e-6)


def test_rmse_of_encodings_and_positions(data):
    model = Filler()
    fit = evaluation.fit_positions(model, data)
    np.testing.assert_allclose(fit(np.array([3.0, -1.0])), [1.0, 1.0], atol=1e-5)
    curve = evaluation.gap_curve(model, data, fit, gaps=(3,))
    share = np.sqrt(1 - BRIGHT / N)  # filled with 0: off by (2, 1) in code, (1, 1) in place
    errors = curve.errors["smooth"]
    np.testing.assert_allclose(errors["encoding_rmse"], [np.sqrt(5 / 2) * share], rtol=1e-5)
    np.testing.assert_allclose(errors["position_rmse"], [np.sqrt(2) * share], rtol=1e-5)


def test_no_positions_without_states(data):
    blind = SequenceData.from_arrays(data.frames)
    assert evaluation.fit_positions(Filler(), blind) is None


def test_importance_bound_is_a_mean_of_weights(data):
    # Half of the samples weigh 1, half 4: ln 2.5 for T frames.
    found = evaluation.importance_bound(Filler(), data, num_samples=6)
    np.testing.assert_allclose(found, np.log(2.5) / T, rtol=1e-5)


def test_forecasts_of_missing_frames_do_not_count(data):
    """Half of the sequences end a frame before the others: of the last frame only these count."""
    observed = np.ones((N, T), np.float32)
    observed[: N // 2, -1] = 0
    shorter = SequenceData.from_arrays(data.frames, observed=observed)
    whole = data.select(slice(N // 2, None))
    found, expected = (
        evaluation.forecast_errors(Filler(), some, context=6) for some in (shorter, whole)
    )
    for one, two in zip(found, expected, strict=True):
        for name in one._fields:
            np.testing.assert_allclose(getattr(one, name)[-1], getattr(two, name)[-1], rtol=1e-5)


def test_the_last_frame_repeated_is_one_that_was_seen(data):
    observed = np.ones((N, T), np.float32)
    observed[:, 5] = 0
    _, last = evaluation.forecast_errors(
        Filler(), SequenceData.from_arrays(data.frames, observed=observed), context=6
    )
    assert max(last.incorrect_pixels) == 0.0


def test_forecast_errors(data):
    model, last = evaluation.forecast_errors(Filler(), data, context=6)
    np.testing.assert_allclose(model.incorrect_pixels, [1 - BRIGHT / N] * 3, rtol=1e-6)
    np.testing.assert_allclose(model.wasserstein, [np.hypot(2, 2) * (1 - BRIGHT / N)] * 3)
    assert last.incorrect_pixels == [0.0] * 3
    assert last.wasserstein == [0.0] * 3


def test_metrics_hold_both_curves(data):
    metrics = evaluation.evaluate(Filler(), data)
    assert metrics["missing_at_random/rates"] == list(evaluation.RATES)
    assert len(metrics["missing_at_random/smooth"]) == 10
    assert metrics["gap/frames"] == [1, 3]
    assert set(metrics) > {"gap/smooth", "gap/filter", "gap/smooth_se", "gap/last_frame"}
