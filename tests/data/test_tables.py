"""CSV tables as series of vectors, and series that are cut in time."""

import numpy as np
import pytest

from kvae_tf import data
from kvae_tf.data import tables
from kvae_tf.errors import UserError

PLAIN = "date,a,b\n2020-01,1,\n2020-02,,2.5\n2020-03,nan,-3e2\n2020-04,,\n"


def written(folder, text):
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_one_series(tmp_path):
    table = tables.read(written(tmp_path, "\ufeff" + PLAIN + "\n"))
    assert table.names == ["a", "b"]
    assert table.data.frame_shape == (1, 2, 1)
    assert table.data.observed.tolist() == [[1, 1, 1, 0]]
    np.testing.assert_array_equal(
        table.data.frames[0, :3, 0, :, 0], np.array([[1, np.nan], [np.nan, 2.5], [np.nan, -300]])
    )


def test_series_and_controls(tmp_path):
    text = "series,x,control_u\nA,1,0.5\nB,2,1\nA,3,0.25\nA,,0\n"
    table = tables.read(written(tmp_path, text))
    frames = table.data.frames[:, :, 0, 0, 0]
    assert table.data.observed.tolist() == [[1, 1, 0], [1, 0, 0]]  # B is padded
    assert frames[0, :2].tolist() == [1, 3]
    assert frames[1, 0] == 2
    assert table.data.controls[:, :, 0].tolist() == [[0.5, 0.25, 0], [1, 0, 0]]
    filled = tables.filled_in(table, np.full((2, 3, 1), 7.0))
    assert filled == [["A", "1", "0.5"], ["B", "2", "1"], ["A", "3", "0.25"], ["A", "7", "0"]]


def test_times(tmp_path):
    text = "times,series,x\n10,A,1\n1.7e9,B,2\n10.5,A,3\n11.5,A,\n"
    table = tables.read(written(tmp_path, text))
    assert table.names == ["x"]
    # The padding goes on at the mean of the steps 0.5 and 1.
    assert table.data.times.tolist() == [[10, 10.5, 11.5], [1.7e9, 1.7e9 + 0.75, 1.7e9 + 1.5]]
    assert tables.filled_in(table, np.full((2, 3, 1), 7.0))[3] == ["11.5", "A", "7"]


def test_labels(tmp_path):
    for first, is_label in (("date", True), ("Time", True), ("year", False)):
        table = tables.read(written(tmp_path, f"{first},a\n1,2\n2,3\n"))
        assert table.names == (["a"] if is_label else [first, "a"])


def test_what_is_filled_in_is_read_again(tmp_path):
    table = tables.read(written(tmp_path, PLAIN))
    vectors = np.random.default_rng(0).normal(size=(1, 4, 2))
    cells = tables.filled_in(table, vectors)
    lines = [",".join(row) for row in (table.columns, *cells)]
    again = tables.read(written(tmp_path, "\n".join(lines)))
    known = ~np.isnan(table.data.frames) & (table.data.observed[..., None, None, None] > 0)
    expected = np.where(known, table.data.frames, vectors[:, :, None, :, None])
    np.testing.assert_allclose(again.data.frames, expected, rtol=1e-6)
    assert tables.replaced(table, np.zeros((1, 4, 2)))[0] == ["2020-01", "0", "0"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 lines"),
        ("a,b\n", "1 lines"),
        ("a,b\n1\n", "line 2 has 1 cells, expected 2"),
        ("a,b\n1,2\n\n3,4\n", "line 3 has 0 cells"),
        ("a,a\n1,2\n", "none twice"),
        ("a,\n1,2\n", "a name for each"),
        ("1,2\n3,4\n", "begins with numbers"),
        ("date\n1\n", "expected one with numbers"),
        ("a,b\n1,x\n", "line 2: b is 'x'"),
        ("a,b\n1,1_0\n", "line 2: b is '1_0'"),
        ("a,b\n1,inf\n", "line 2: b is 'inf'"),
        ("a,b\n1,1e39\n", "line 2: b is '1e39'"),
        ("a,control_u\n1,\n", "control_u is ''"),
        ("a,times\n1,\n", "times is ''"),
        ("times,a\n2020-01,1\n", "line 2: times is '2020-01', expected a finite number"),
        ("times,a\n2,1\n2.0,1\n", "line 3: times is 2.0 after 2, expected seconds that"),
        ("a,b\n,\n,\n", "missing"),
        ("a,b\n1;2,\0\n", ""),
    ],
)
def test_bad_tables(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        tables.read(written(tmp_path, text))
    assert words in str(caught.value)
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        tables.read(tmp_path / "none.csv")
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="no CSV file"):
        tables.read(path)
    with pytest.raises(UserError, match="--max_memory"):
        tables.read(written(tmp_path, PLAIN), max_memory=1e-9)


def test_one_series_is_cut_in_time(tmp_path):
    values = np.arange(20.0)
    text = "date,a\n" + "".join(f"d{i},{x}\n" for i, x in enumerate(values))
    splits = data.load(str(written(tmp_path, text)), seed=3)
    assert [part.num_steps for part in splits] == [16, 2, 2]
    joined = np.concatenate([part.frames[0, :, 0, 0, 0] for part in splits])
    np.testing.assert_array_equal(joined, values)
    np.savez(tmp_path / "v.npz", vectors=values.reshape(1, 20, 1))
    again = data.load_arrays(tmp_path / "v.npz")
    parts = data.split(data.from_vectors(values.reshape(1, 20, 1)))
    for one, other, third in zip(splits, again, parts, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.frames, third.frames)
    with pytest.raises(UserError, match=r"t\.csv: the .* part gets 0 of 1 steps"):
        data.load(str(written(tmp_path, "a\n1\n")), seed=0)


def test_series_are_cut_by_their_own_lengths(tmp_path):
    rows = [("A", t) for t in range(20)] + [("B", 100 + t) for t in range(10)]
    text = "series,a\n" + "".join(f"{name},{x}\n" for name, x in rows)
    train, validation, test = tables.load_table(written(tmp_path, text))
    assert train.observed.sum(1).tolist() == [16, 8]
    assert (train.frames[1, 8:] == 0).all()
    assert validation.frames[1, 0, 0, 0, 0] == 108
    assert test.frames[1, 0, 0, 0, 0] == 109
    assert test.observed.tolist() == [[1, 1], [1, 0]]


def test_many_series_are_shared_out(tmp_path):
    rows = [(s, t) for s in range(10) for t in range(3)]
    text = "series,a\n" + "".join(f"{s},{10 * s + t}\n" for s, t in rows)
    splits = data.load(str(written(tmp_path, text)), seed=0)
    assert [len(part) for part in splits] == [8, 1, 1]
