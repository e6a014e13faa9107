"""Coverage of intervals by a stand-in model whose uncertainty is right, or wrong by intent."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import ndtri

from kvae_tf import evaluation
from kvae_tf.data import SequenceData, gap
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
