"""Batches: resumable, complete, static in shape, blind to what was not observed."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.data import (
    SequenceData,
    curriculum_batches,
    evaluation_batches,
    steps_per_pass,
    training_batches,
)
from kvae_tf.errors import UserError

N, T = 11, 6


def _data(n=N, dtype=np.float32):
    """Sequences whose control and pixels tell their number, ``(number + 1) / 255``."""
    number = np.arange(n, dtype=np.uint8)
    frames = np.broadcast_to((number + 1)[:, None, None, None], (n, T, 2, 4))
    return SequenceData.from_arrays(
        frames if dtype == np.uint8 else frames.astype(dtype) / 255,
        controls=np.broadcast_to(number[:, None], (n, T)),
    )


def _take(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def _numbers(batch):
    return batch["controls"][:, 0, 0].astype(int).tolist()


def _assert_equal(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_static_float32_batches():
    spec = training_batches(_data(dtype=np.uint8), 4, seed=0, missing_rate=0.5).element_spec
    assert {name: (tuple(s.shape), s.dtype) for name, s in spec.items()} == {
        "frames": ((4, T, 2, 4, 1), tf.float32),
        "observed": ((4, T), tf.float32),
        "controls": ((4, T, 1), tf.float32),
    }
    spec = evaluation_batches(_data(), 4).element_spec
    assert {name: tuple(s.shape) for name, s in spec.items()} == {
        "frames": (4, T, 2, 4, 1),
        "observed": (4, T),
        "controls": (4, T, 1),
        "weight": (4,),
    }
    assert {s.dtype for s in spec.values()} == {tf.float32}


def test_each_pass_is_a_fresh_permutation_without_its_partial_batch():
    data = _data()
    assert steps_per_pass(data, 4) == 2
    batches = _take(training_batches(data, 4, seed=0), 60)
    passes = [sum(map(_numbers, batches[i : i + 2]), []) for i in range(0, 60, 2)]
    for numbers in passes:
        assert len(set(numbers)) == 8
        assert set(numbers) <= set(range(N))
    assert len(set(map(tuple, passes))) == 30
    # Every sequence gets its turn about equally often: 8/11 of 30 passes.
    counts = np.bincount(sum(passes, []), minlength=N)
    np.testing.assert_allclose(counts, 30 * 8 / 11, atol=4 * np.sqrt(30 * 8 / 11 * 3 / 11))


def test_full_passes_hold_everything():
    batches = _take(training_batches(_data(12), 4, seed=0), 6)
    for start in (0, 3):
        assert sorted(sum(map(_numbers, batches[start : start + 3]), [])) == list(range(12))


def test_small_data_make_one_batch_of_all():
    data = _data(3)
    assert steps_per_pass(data, 50) == 1
    batches = _take(training_batches(data, 50, seed=0), 5)
    assert all(sorted(_numbers(batch)) == [0, 1, 2] for batch in batches)


def test_the_seed_decides():
    numbers = [
        [_numbers(batch) for batch in _take(training_batches(_data(), 4, seed), 6)]
        for seed in (0, 0, 1)
    ]
    assert numbers[0] == numbers[1] != numbers[2]


@pytest.mark.parametrize(
    "options", [{}, {"missing_rate": 0.5}, {"missing_rate": 0.5, "fixed_masks": True}]
)
@pytest.mark.parametrize("start", [1, 2, 5, 7])
def test_resuming_is_bit_equal_to_never_having_stopped(options, start):
    data = _data(dtype=np.uint8)
    whole = _take(training_batches(data, 4, seed=3, **options), 12)
    rest = _take(training_batches(data, 4, seed=3, start_step=start, **options), 12 - start)
    _assert_equal(whole[start:], rest)


def test_resuming_late_is_cheap_and_right():
    data, start = _data(12), 3 * 10**9
    batches = _take(training_batches(data, 4, seed=0, start_step=start), 3)
    assert sorted(sum(map(_numbers, batches), [])) == list(range(12))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_frames_become_floats_and_stay_with_their_controls(dtype):
    for batch in _take(training_batches(_data(dtype=dtype), 4, seed=0), 4):
        expected = (np.array(_numbers(batch), np.float32) + 1) / np.float32(255)
        np.testing.assert_array_equal(
            batch["frames"], np.broadcast_to(expected[:, None, None, None, None], (4, T, 2, 4, 1))
        )
        np.testing.assert_array_equal(batch["observed"], 1.0)


def _masks(batches):
    """Number of a sequence -> its masks, in the order of the steps."""
    masks = {}
    for batch in batches:
        for number, observed in zip(_numbers(batch), batch["observed"], strict=True):
            masks.setdefault(number, []).append(tuple(observed))
    return masks


def test_masks_are_drawn_anew_at_each_step():
    batches = _take(training_batches(_data(), 11, seed=0, missing_rate=0.5, first_seen=2), 100)
    observed = np.concatenate([batch["observed"] for batch in batches])
    assert observed[:, :2].all()
    assert set(np.unique(observed)) == {0.0, 1.0}
    # 4,400 draws: four standard deviations.
    assert observed[:, 2:].mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(4400))
    assert all(len(set(masks)) > 5 for masks in _masks(batches).values())


def test_fixed_masks_stay_with_their_sequence():
    data = _data(40)
    masks = _masks(_take(training_batches(data, 8, 0, missing_rate=0.5, fixed_masks=True), 15))
    assert all(len(set(seen)) == 1 for seen in masks.values())
    assert len({seen[0] for seen in masks.values()}) > 4
    assert all(seen[0][:3] == (1, 1, 1) for seen in masks.values())


@pytest.mark.parametrize(
    "options", [{}, {"missing_rate": 0.4}, {"missing_rate": 0.4, "fixed_masks": True}]
)
def test_what_the_data_lack_stays_missing_and_unobserved_frames_are_black(options):
    own = np.random.default_rng(0).integers(0, 2, (N, T))
    whole = _data()
    data = SequenceData.from_arrays(whole.frames, whole.controls, observed=own)
    for batch in _take(training_batches(data, 4, seed=0, first_seen=0, **options), 8):
        assert (batch["observed"] <= own[_numbers(batch)]).all()
        black = (batch["frames"] == 0).all(axis=(2, 3, 4))
        np.testing.assert_array_equal(black, batch["observed"] == 0)


def test_evaluation_is_in_order_and_padded():
    data = _data()
    batches = _take(evaluation_batches(data, 4), 10)
    assert len(batches) == 3
    assert evaluation_batches(data, 4).cardinality() == 3
    weight = np.concatenate([batch["weight"] for batch in batches])
    np.testing.assert_array_equal(weight, [1] * 11 + [0])
    numbers = np.array(sum(map(_numbers, batches), []))
    np.testing.assert_array_equal(numbers[weight == 1], np.arange(N))
    frames = np.concatenate([batch["frames"] for batch in batches])[weight == 1]
    np.testing.assert_array_equal(frames, data.frames)
    assert (frames > 0).all()


@pytest.mark.parametrize(("n", "size", "count"), [(8, 4, 2), (3, 4, 1), (1, 4, 1), (5, 1, 5)])
def test_evaluation_covers_everything_once(n, size, count):
    batches = _take(evaluation_batches(_data(n), size), 10)
    assert len(batches) == count
    weight = np.concatenate([batch["weight"] for batch in batches])
    numbers = np.array(sum(map(_numbers, batches), []))
    np.testing.assert_array_equal(numbers[weight == 1], np.arange(n))


def test_evaluation_blanks_what_was_not_observed():
    own = np.random.default_rng(0).integers(0, 2, (N, T))
    data = SequenceData.from_arrays(_data().frames, observed=own)
    frames = np.concatenate([b["frames"] for b in _take(evaluation_batches(data, N), 1)])
    np.testing.assert_array_equal((frames == 0).all(axis=(2, 3, 4)), own == 0)


def test_no_controls_are_controls_of_size_zero():
    batch = _take(training_batches(SequenceData.from_arrays(np.ones((N, T, 2, 2))), 4, 0), 1)[0]
    assert batch["controls"].shape == (4, T, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"start_step": -1}, "start_step is -1"),
        ({"missing_rate": 1.1}, "missing_rate is 1.1"),
        ({"missing_rate": np.nan}, "missing_rate is nan"),
        ({"first_seen": 2.5}, "first_seen is 2.5"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(UserError, match=words):
        training_batches(_data(), **({"batch_size": 4, "seed": 0} | options))


def _counted(counts):
    counts = np.array(counts)
    images = np.broadcast_to(counts[:, None, None, None] / 10, (len(counts), T, 2, 4))
    return SequenceData.from_arrays(images, num_objects=counts)


def test_curriculum_shows_more_objects_step_by_step():
    data = _counted([1, 2, 3, 2, 1, 3, 1, 2, 3, 1, 2, 3])
    most = [batch["num_objects"].max() for batch in _take(curriculum_batches(data, 3, 2, 0), 30)]
    assert most[:3] == [1, 1, 1]
    assert max(most[3:6]) == 2
    assert max(most[6:]) == 3
    whole = _take(curriculum_batches(data, 3, 2, 0), 12)
    for start in range(9):
        _assert_equal(_take(curriculum_batches(data, 3, 2, 0, start), 3), whole[start : start + 3])
    plain = _take(curriculum_batches(data, 0, 2, 0), 4)
    _assert_equal(plain, _take(training_batches(data, 2, 0), 4))


def test_curriculum_needs_counts():
    with pytest.raises(UserError, match="num_objects"):
        curriculum_batches(_data(), 3, 2, 0)
