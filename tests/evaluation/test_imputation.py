"""Metrics against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf import evaluation
from kvae_tf.data import SequenceData
from kvae_tf.evaluation import Gap, last_seen, middle_gap
from kvae_tf.models import Bound, Frames, SequenceModel


def test_the_middle_gap_of_fifteen_frames_is_five_to_ten():
    assert middle_gap(15) == Gap(5, 11)
    for num_steps in range(3, 40):
        gap = middle_gap(num_steps)
        assert 1 <= gap.start < gap.stop <= num_steps


def test_last_seen_repeats():
    frames = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1, 1)
    observed = np.array([[1, 1, 0, 0, 1, 0]])
    repeated = last_seen(frames, observed)[0, :, 0, 0, 0]
    np.testing.assert_array_equal(repeated, [0, 1, 1, 1, 4, 4])


class Constant(SequenceModel):
    """Fills in 0.5 by smoothing and 1 by filtering; its bound is the frame count times two."""

    term_names = ("reconstruction",)
    frame_shape, control_size, encoding_size = (2, 2, 1), 0, 2

    def elbo(self, batch, seed):
        num_frames = tf.reduce_sum(batch["observed"], axis=1)
        return Bound(2 * num_frames, {"reconstruction": 2 * num_frames}, num_frames)

    def _impute(self, given, method):
        a = tf.ones_like(given.frames[:, :, 0, :, 0]) * (0.5 if method == "smooth" else 1.0)
        return Frames(self._decode(a, None), a, tf.ones_like(a), None, None)

    def _decode(self, encodings, num_objects):
        return tf.tile(encodings[:, :, tf.newaxis, :, tf.newaxis], [1, 1, 2, 1, 1])


def test_metrics_are_averaged_over_real_rows_and_hidden_frames_only():
    # 130 sequences: the last batch is padded, and padding must not count.
    images = np.zeros((130, 5, 2, 2, 1), np.float32)
    images[:, 1] = 1.0
    data = SequenceData.from_arrays(images)
    model = Constant()
    metrics = evaluation.evaluate(model, data)
    assert metrics["test/elbo_per_frame"] == 2.0
    assert metrics["imputation/hidden_frames"] == [2, 3]
    np.testing.assert_allclose(metrics["imputation/smooth_rmse"], 0.5)
    np.testing.assert_allclose(metrics["imputation/filter_rmse"], 1.0)
    np.testing.assert_allclose(metrics["imputation/last_frame_rmse"], 1.0)
