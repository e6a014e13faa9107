"""Times of frames: checked at the door, kept with their sequences, cut with them, in batches."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kvae_tf.data import (
    SequenceData,
    Splits,
    as_splits,
    evaluation_batches,
    from_vectors,
    load,
    save_records,
    training_batches,
)
from kvae_tf.data.fingerprint import fingerprint
from kvae_tf.data.sequence_data import check_alike
from kvae_tf.errors import UserError

N, T = 6, 7


def times(n=N, steps=T):
    return 1.7e9 + np.cumsum(np.random.default_rng(0).uniform(0.1, 1.0, (n, steps)), axis=1)


def data(n=N, steps=T, **known):
    number = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None], (n, steps))
    return from_vectors(number[..., None], **({"times": times(n, steps)} | known))


def test_batches_have_the_time_since_the_first_frame():
    series = data()
    for batches in (training_batches(series, 3, 0), evaluation_batches(series, 3)):
        batch = next(iter(batches.as_numpy_iterator()))
        rows = batch["frames"][:, 0, 0, 0, 0].astype(int)
        expected = series.times[rows] - series.times[rows, :1]
        assert batch["times"].dtype == np.float32
        np.testing.assert_allclose(batch["times"], expected, rtol=1e-6)
    assert "times" not in next(iter(training_batches(data(times=None), 3, 0)))


def test_rows_and_digest():
    series = data()
    np.testing.assert_array_equal(series.select([4, 1]).times, series.times[[4, 1]])
    splits = Splits(series, series, series)
    others = Splits(*(part.select(slice(None)) for part in splits))
    assert fingerprint(splits) == fingerprint(others)
    regular = data(times=None)
    assert fingerprint(splits) != fingerprint(Splits(regular, regular, regular))
    with pytest.raises(UserError, match="the test part has has_times False; expected True"):
        check_alike(series, regular, "test", "mine")


def test_few_series_are_cut_in_time_and_padding_goes_on():
    observed = np.ones((2, 40))
    observed[1, 20:] = 0.0
    series = data(2, 40, observed=observed)
    parts = as_splits(series)
    np.testing.assert_array_equal(parts.train.times[0], series.times[0, :32])
    np.testing.assert_array_equal(parts.train.times[1, :16], series.times[1, :16])
    np.testing.assert_array_equal(parts.test.times[0], series.times[0, 36:])
    for part in parts:
        assert (np.diff(part.elapsed, axis=1) > 0).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (times()[:, :-1], r"times has shape \(6, 6\); expected \(6, 7\)"),
        (np.full((N, T), np.nan), "times holds NaN or infinities; expected seconds"),
        (np.zeros((N, T)), "times goes from 0 to 0 in sequence 0, frame 1; expected strictly"),
        (times()[:, ::-1], "in sequence 0, frame 1; expected strictly increasing"),
        (np.full((N, T), 1.0) + 1e-300 * np.arange(T), "which float32 tells apart"),
        (np.full((N, T), "now"), "times has dtype"),
    ],
)
def test_bad_times_are_one_clear_line(wrong, words):
    with pytest.raises(UserError, match=words):
        data(times=wrong)


def test_shards_hold_times(tmp_path):
    folder = tmp_path / "shards"
    images = np.broadcast_to(np.arange(N, dtype=np.uint8)[:, None, None, None], (N, T, 4, 4))
    series = SequenceData.from_arrays(images, times=times())
    save_records(folder, Splits(series, series, series), 2)
    found = load(folder, 0)
    for part in found:
        assert part.times.dtype == np.float64
        np.testing.assert_array_equal(part.times, series.times)
    for batch in training_batches(found.train, 3, 0).take(2):
        rows = np.rint(255.0 * batch["frames"][:, 0, 0, 0, 0].numpy()).astype(int)
        np.testing.assert_array_equal(batch["times"], series.elapsed[rows])
        assert batch["times"].dtype == np.float32

    # Shards of earlier versions do not say whether they have times.
    save_records(folder, Splits(*(replace(part, times=None) for part in found)), 2)
    index = folder / "dataset.json"
    kind = json.loads(index.read_text())
    assert kind.pop("timed") is False
    index.write_text(json.dumps(kind))
    assert load(folder, 0).train.times is None
    assert "times" not in next(iter(training_batches(load(folder, 0).train, 3, 0)))
