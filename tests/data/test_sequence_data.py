"""The container, and the door through which arrays enter it."""

import numpy as np
import pytest

from kvae_tf.data import SequenceData, split
from kvae_tf.errors import UserError

N, T, H, W = 7, 5, 4, 6


@pytest.fixture
def images():
    return np.random.default_rng(0).random((N, T, H, W, 3)).astype(np.float32)


def test_properties_and_defaults(images):
    data = SequenceData.from_arrays(images)
    assert len(data) == N
    assert data.num_steps == T
    assert data.frame_shape == (H, W, 3)
    assert data.control_size == 0
    assert data.controls.shape == (N, T, 0)
    assert data.states is None
    assert data.state_names == ()
    np.testing.assert_array_equal(data.frames, images)
    np.testing.assert_array_equal(data.observed, np.ones((N, T)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_without_channels(images, dtype):
    data = SequenceData.from_arrays(images[..., 0].astype(dtype))
    assert data.frames.dtype == np.float32
    assert data.frames.shape == (N, T, H, W, 1)
    np.testing.assert_allclose(data.frames, images[..., :1], atol=1e-3)


def test_uint8_is_kept():
    images = np.random.default_rng(0).integers(0, 256, (N, T, H, W), dtype=np.uint8)
    data = SequenceData.from_arrays(images)
    assert data.frames.dtype == np.uint8
    np.testing.assert_array_equal(data.frames[..., 0], images)


def test_bool_means_black_and_white(images):
    data = SequenceData.from_arrays(images > 0.5)
    assert data.frames.dtype == np.uint8
    np.testing.assert_array_equal(data.frames, np.where(images > 0.5, 255, 0))


def test_binary_uint8_draws_a_warning(images):
    with pytest.warns(UserWarning, match="bool"):
        SequenceData.from_arrays((images > 0.5).astype(np.uint8))


def test_a_frame_with_any_nan_pixel_is_missing(images):
    images[1, 2] = np.nan
    images[3, 4, 0, 0, 1] = np.nan
    data = SequenceData.from_arrays(images)
    missing = np.zeros((N, T), bool)
    missing[1, 2] = missing[3, 4] = True
    np.testing.assert_array_equal(data.observed, ~missing)
    np.testing.assert_array_equal(data.frames[missing], 0.0)
    np.testing.assert_array_equal(data.frames[~missing], images[~missing])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_masked_frames_are_missing_whatever_lies_under_the_mask(images, dtype):
    values = (images * 255).astype(np.uint8) if dtype == np.uint8 else images
    masked = np.ma.masked_array(values, np.zeros(values.shape, bool))
    masked[2, 0] = np.ma.masked
    masked.data[2, 0] = 200
    data = SequenceData.from_arrays(masked)
    assert data.observed.sum() == N * T - 1
    assert data.observed[2, 0] == 0
    assert not isinstance(data.frames, np.ma.MaskedArray)
    np.testing.assert_array_equal(data.frames[2, 0], 0)
    np.testing.assert_array_equal(data.frames[2, 1:], values[2, 1:])


def test_observed_combines_with_nan_and_keeps_hidden_truth(images):
    images[0, 0] = np.nan
    images[0, 2] = -1.0  # somebody's mark for a missing frame
    observed = np.ones((N, T), bool)
    observed[0, 1:3] = False
    data = SequenceData.from_arrays(images, observed=observed)
    np.testing.assert_array_equal(data.observed[0], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(data.frames[0, 1], images[0, 1])
    np.testing.assert_array_equal(data.frames[0, [0, 2]], 0.0)


def test_the_caller_s_arrays_stay_as_they_are(images):
    images[0, 0] = np.nan
    before = images.copy()
    SequenceData.from_arrays(images)
    np.testing.assert_array_equal(images, before)


def test_controls_states_and_names(images):
    controls = np.arange(N * T).reshape(N, T)
    data = SequenceData.from_arrays(images, controls=controls, states=np.ones((N, T, 2)))
    assert data.controls.dtype == np.float32
    np.testing.assert_array_equal(data.controls[..., 0], controls)
    assert data.states.dtype == np.float32
    assert data.state_names == ("state_0", "state_1")
    named = SequenceData.from_arrays(images, states=np.ones((N, T, 2)), state_names=["x", "y"])
    assert named.state_names == ("x", "y")


def _with(array, index, value):
    array = np.array(array, np.float64)
    array[index] = value
    return array


ONES = np.ones((N, T, H, W))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": np.ones((N, T, H))}, "images has shape (7, 5, 4)"),
        ({"images": np.ones((N, T, H, W, 1, 1))}, "images has shape"),
        ({"images": np.ones((N, 0, H, W))}, "images has shape (7, 0, 4, 6)"),
        ({"images": np.ones((0, T, H, W), np.uint8)}, "images has shape (0, 5, 4, 6)"),
        ({"images": ONES.astype(np.int64)}, "images has dtype int64"),
        ({"images": ONES.astype(object)}, "images has dtype object"),
        ({"images": ONES.astype(complex)}, "images has dtype complex128"),
        ({"images": [[1.0], [1.0, 2.0]]}, "images is ragged"),
        ({"images": ONES * 255}, "images lies in [255, 255] in sequence 0, frame 0"),
        ({"images": _with(ONES, (3, 2, 0, 0), -0.1)}, "images lies in [-0.1, 1] in sequence 3"),
        ({"images": _with(ONES, (3, 2, 0, 0), np.inf)}, "images holds infinities in sequence 3"),
        ({"images": _with(ONES, (3, 2, 0, 0), 1e300)}, "images holds infinities"),
        ({"controls": np.ones((N, T - 1, 2))}, "controls has shape (7, 4, 2); expected (7, 5"),
        ({"controls": np.ones((N + 1, T, 2))}, "controls has shape (8, 5, 2)"),
        ({"controls": np.ones(N)}, "controls has shape (7,)"),
        ({"controls": _with(np.ones((N, T, 1)), (0, 0, 0), np.nan)}, "controls holds NaN"),
        ({"controls": np.full((N, T, 1), "a")}, "controls has dtype"),
        ({"states": np.ones((N, T + 1, 2))}, "states has shape (7, 6, 2)"),
        ({"states": np.full((N, T, 2), np.inf)}, "states holds"),
        ({"observed": np.ones((N, T, 1))}, "observed has shape (7, 5, 1); expected (7, 5)"),
        ({"observed": np.full((N, T), 0.5)}, "observed holds 0.5"),
        ({"observed": np.full((N, T), np.nan)}, "observed holds nan"),
        ({"states": np.ones((N, T, 2)), "state_names": ["x"]}, "state_names has 1 names"),
        ({"state_names": ["x"]}, "state_names has 1 names; expected 0"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, words):
    with pytest.raises(UserError) as error:
        SequenceData.from_arrays(**({"images": ONES} | arguments), source="film.npz")
    message = str(error.value)
    assert words in message
    assert message.startswith("film.npz: ")
    assert "expected" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "index", [slice(2, 5), np.array([6, 0, 0]), np.arange(N) % 2 == 0, 3, [1, 2]]
)
def test_select_takes_the_same_rows_of_everything(images, index):
    rows = np.arange(N)[np.atleast_1d(index) if not isinstance(index, slice) else index]
    observed = np.random.default_rng(1).integers(0, 2, (N, T))
    mark = np.broadcast_to(np.arange(N)[:, None, None], (N, T, 1))
    data = SequenceData.from_arrays(images, mark, 2 * mark, observed, ["mark"]).select(index)
    assert len(data) == len(rows)
    np.testing.assert_array_equal(data.frames, images[rows])
    np.testing.assert_array_equal(data.observed, observed[rows])
    np.testing.assert_array_equal(data.controls[:, 0, 0], rows)
    np.testing.assert_array_equal(data.states[:, 0, 0], 2 * rows)
    assert data.state_names == ("mark",)


def _numbered(n):
    return SequenceData.from_arrays(
        np.zeros((n, 2, 1, 1)), controls=np.broadcast_to(np.arange(n)[:, None], (n, 2))
    )


def _numbers(data):
    return data.controls[:, 0, 0].astype(int).tolist()


def test_split_deals_every_sequence_out_once():
    parts = split(_numbered(20), (0.6, 0.25, 0.15), seed=3)
    assert [len(part) for part in parts] == [12, 5, 3]
    assert sorted(sum(map(_numbers, parts), [])) == list(range(20))
    assert _numbers(parts.train) != sorted(_numbers(parts.train))
    again = split(_numbered(20), (0.6, 0.25, 0.15), seed=3)
    other = split(_numbered(20), (0.6, 0.25, 0.15), seed=4)
    assert _numbers(again.train) == _numbers(parts.train)
    assert _numbers(other.train) != _numbers(parts.train)


@pytest.mark.parametrize(
    ("n", "fractions", "words"),
    [
        (1, (0.8, 0.1, 0.1), "the validation part gets 0 of 2 steps, .*expected at least 2"),
        (3, (0.8, 0.1, 0.1), "the test split is empty: 3 sequences"),
        (9, (0.9, 0.0, 0.1), "the validation split is empty: 9 sequences"),
        (9, (0.9, 0.1), "fractions is"),
        (9, (0.9, 0.2, 0.1), "fractions is"),
        (9, (1.1, -0.2, 0.1), "fractions is"),
        (9, (0.9, np.nan, 0.1), "fractions is"),
        (9, "abc", "fractions is"),
    ],
)
def test_empty_splits_and_bad_fractions(n, fractions, words):
    with pytest.raises(UserError, match=words):
        split(_numbered(n), fractions, seed=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_few_films_are_cut_in_time(dtype):
    """The order of time is kept, a shorter film is padded, and hidden frames keep their pixels."""
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (2, 40, 2, 4), np.uint8)
    images = images if dtype == np.uint8 else (images / 255).astype(np.float32)
    observed = np.ones((2, 40))
    observed[1, 20:] = 0  # a film half as long
    observed[0, 5] = 0
    states = np.arange(80.0).reshape(2, 40, 1)
    parts = split(
        SequenceData.from_arrays(images, -states, states, observed, num_objects=[1, 2]),
        (0.5, 0.25, 0.25),
    )
    assert [part.num_steps for part in parts] == [20, 10, 10]
    for part, one, two in zip(parts, (0, 20, 30), (0, 10, 15), strict=True):
        length = part.num_steps
        assert part.frames.dtype == dtype
        np.testing.assert_array_equal(part.frames[0, ..., 0], images[0, one : one + length])
        half = length // 2
        np.testing.assert_array_equal(part.frames[1, :half, ..., 0], images[1, two : two + half])
        np.testing.assert_array_equal(part.frames[1, half:], 0)
        np.testing.assert_array_equal(part.observed[1], np.arange(length) < half)
        np.testing.assert_array_equal(part.states[0, :, 0], np.arange(one, one + length))
        np.testing.assert_array_equal(part.controls, -part.states)
        np.testing.assert_array_equal(part.num_objects, [1, 2])
    np.testing.assert_array_equal(np.flatnonzero(parts.train.observed[0] == 0), [5])
