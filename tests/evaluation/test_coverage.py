"""Coverage and CRPS of a stand-in model whose uncertainty is right, or wrong by intent."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats
from scipy.special import ndtri

from kvae_tf import evaluation
from kvae_tf.data import SequenceData, gap
from kvae_tf.errors import UserError
from kvae_tf.layers import Encoding
from kvae_tf.models import Frames, SequenceModel

N, T = 730, 9  # the last batch of 100 is filled up, and that must not count
GAP = 4, 7
OWN_STD = 0.8  # of q(a | x); the means of q(a | x) are N(0, 1)
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Calibrated(SequenceModel):
    """A pixel is ndtr(mean of q(a | x)); of a hidden frame it knows the distribution of a."""

    term_names = ("reconstruction",)
    imputation_methods = ("filter",)
    frame_shape, control_size, encoding_size = (2, 2, 1), 0, 2
    own_std, scale = OWN_STD, 1.0

    def _encode(self, frames):
        mean = tf.numpy_function(ndtri, [frames[..., 0, :, 0]], tf.float32)
        mean = tf.ensure_shape(mean, [None, None, 2])
        return Encoding(mean, self.own_std * tf.ones_like(mean))

    def _impute(self, given, method):
        known = given.seen[..., tf.newaxis] > 0
        q, spread = self._encode(given.frames), self.scale * np.hypot(1.0, self.own_std)
        mean = tf.where(known, q.mean, 0.0)
        return Frames(None, mean, tf.where(known, q.std, spread), mean, mean[..., :0])


class WithoutEncoder(Calibrated):
    """Its encodings are states, of which only sequences have moments."""

    supports = frozenset({"impute"})


class WithoutNoise(Calibrated):
    """The encoding of a frame is one point."""

    own_std = 0.0


class Objects(Calibrated):
    """Two objects of one coordinate each; of one that is absent encoding and spread are 0."""

    supports = frozenset({"impute"})
    max_objects = 2

    def _impute(self, given, method):
        filled = super()._impute(given, method)
        present = tf.sequence_mask(given.num_objects, 2, tf.float32)[:, tf.newaxis]
        return filled._replace(
            encodings=present * filled.encodings, encoding_stds=present * filled.encoding_stds
        )


@pytest.fixture(scope="module")
def data():
    pixels = np.random.default_rng(0).uniform(1e-3, 1.0 - 1e-3, (N, T, 2, 2, 1))
    counts = np.where(np.arange(N) % 3, 1, 2)
    return SequenceData.from_arrays(pixels.astype(np.float32), num_objects=counts)


@pytest.mark.parametrize("model", [Calibrated, WithoutEncoder, WithoutNoise, Objects])
def test_a_calibrated_model_covers_the_level(data, model):
    covered = evaluation.coverage(model(), data, gap(N, T, *GAP), LEVELS)["filter"]
    per_frame = data.num_objects.sum() if model is Objects else 2 * N
    count = per_frame * (GAP[1] - GAP[0])
    for level, share in zip(LEVELS, covered, strict=True):
        # Four standard errors of a binomial share, of independent encodings.
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / count), (level, share)


def test_too_wide_intervals_cover_too_much(data):
    class Shy(Calibrated):
        scale = 1.5

    covered = evaluation.coverage(Shy(), data, gap(N, T, *GAP), LEVELS)["filter"]
    assert all(share > level + 0.005 for level, share in zip(LEVELS, covered, strict=True))


def test_draws_depend_on_the_seed_alone(data):
    def cover(seed):
        return evaluation.coverage(Calibrated(), data, gap(N, T, *GAP), (0.5,), seed)["filter"]

    assert cover(0) == cover(0)
    assert cover(0) != cover(1)


def test_crps_is_the_integral_that_defines_it():
    for truth, mean, std in ((0.3, 0.0, 1.0), (-4.0, 1.0, 0.5), (2.0, 2.0, 3.0)):
        F = stats.norm(mean, std).cdf
        below, _ = integrate.quad(lambda x, F=F: F(x) ** 2, -30.0, truth)
        above, _ = integrate.quad(lambda x, F=F: (1.0 - F(x)) ** 2, truth, 30.0)
        np.testing.assert_allclose(evaluation.crps(truth, mean, std), below + above, rtol=1e-6)
    # Without spread it is the absolute error, which small spreads come near to.
    np.testing.assert_array_equal(evaluation.crps([1.0, 3.0], [3.0, 3.0], [0.0, 0.0]), [2.0, 0.0])
    np.testing.assert_allclose(evaluation.crps(1.0, 3.0, 1e-6), 2.0, atol=1e-6)


def test_crps_of_a_calibrated_model(data):
    """Of a normal distribution that is right it is std / sqrt(pi), and all know only that much."""
    found = evaluation.calibration(Calibrated(), data, gap(N, T, *GAP))["filter"]["all"]
    assert found.frames == N * (GAP[1] - GAP[0])
    np.testing.assert_allclose(found.crps, 1.0 / np.sqrt(np.pi), rtol=0.05)

    class Shifted(Calibrated):
        def _impute(self, given, method):
            filled = super()._impute(given, method)
            return filled._replace(encodings=filled.encodings + [0.0, 0.5])

    shifted = evaluation.calibration(Shifted(), data, gap(N, T, *GAP))["filter"]["all"]
    assert shifted.crps[0] == found.crps[0]
    assert shifted.crps[1] > 1.03 * found.crps[1]


def test_parts_are_counted_apart(data):
    """Intervals are right in one part only; the parts make up the whole."""
    good = np.random.default_rng(1).random((N, T)) < 0.3

    class Partly(Calibrated):
        def _impute(self, given, method):
            filled = super()._impute(given, method)
            narrow = tf.where(given.controls > 0, 1.0, 0.4)
            return filled._replace(encoding_stds=filled.encoding_stds * narrow)

    model = Partly()
    model.control_size = 1
    told = SequenceData.from_arrays(data.frames, controls=good[..., np.newaxis])
    parts = {"good": good, "bad": ~good, "seen": np.arange(T) < np.full((N, 1), GAP[0])}
    found = evaluation.calibration(model, told, gap(N, T, *GAP), (0.9,), parts)["filter"]
    assert list(found) == ["all", "good", "bad"]  # of "seen" nothing is hidden
    hidden = good[:, slice(*GAP)]
    assert [found[name].frames for name in ("good", "bad")] == [hidden.sum(), (~hidden).sum()]
    assert abs(found["good"].coverage[0] - 0.9) < 4 * np.sqrt(0.09 / (2 * hidden.sum()))
    assert found["bad"].coverage[0] < 0.6
    assert found["good"].crps[0] < found["bad"].crps[0]
    share = hidden.mean()
    for field in ("coverage", "crps"):
        one, two, whole = (getattr(found[name], field)[0] for name in ("good", "bad", "all"))
        np.testing.assert_allclose(whole, share * one + (1.0 - share) * two)


def test_crps_has_no_unit_where_encodings_do_not_vary(data):
    frames = np.full((20, T, 2, 2, 1), 0.5, np.float32)
    frames[..., 0, 0, :] = data.frames[:20, :, 0, 0]
    still = SequenceData.from_arrays(frames)
    found = evaluation.calibration(WithoutNoise(), still, gap(20, T, *GAP))["filter"]["all"]
    assert found.crps[0] > 0.0
    assert found.crps[1] is None


def test_something_must_be_hidden(data):
    with pytest.raises(UserError, match="the mask hides no frame that the data have"):
        evaluation.coverage(Calibrated(), data, np.ones((N, T)))
