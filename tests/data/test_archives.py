"""Archives of sequences, and what may be wrong with them."""

import io
import os
import warnings
import zipfile

import h5py
import numpy as np
import pytest

from kvae_tf.data import SequenceData, Splits, load_arrays, save_npz
from kvae_tf.data.archives import load_sequences
from kvae_tf.errors import UserError

N, T = 20, 3


@pytest.fixture(autouse=True)
def _no_unexpected_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _images(n=N, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, T, 2, 2), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(n)  # a sequence's number
    return images


def _numbers(data):
    return data.frames[:, 0, 0, 0, 0].tolist()


@pytest.fixture
def archive(tmp_path):
    """Writes arrays to an archive and gives its path."""

    def write(**arrays):
        np.savez(tmp_path / "film.npz", **arrays)
        return tmp_path / "film.npz"

    return write


def test_images_alone_are_split(archive):
    splits = load_arrays(archive(images=_images()), seed=1, fractions=(0.5, 0.3, 0.2))
    assert [len(part) for part in splits] == [10, 6, 4]
    assert sorted(sum(map(_numbers, splits), [])) == list(range(N))


def test_everything_travels_together(archive):
    images = _images()
    number = images[:, :, 0, 0] * 0.5
    observed = np.random.default_rng(1).integers(0, 2, (N, T))
    path = archive(
        images=images,
        controls=number[..., None],
        states=np.stack([number, -number], -1),
        observed=observed,
        state_names=["x", "y"],
    )
    for part in load_arrays(path, seed=0):
        numbers = _numbers(part)
        np.testing.assert_array_equal(part.frames[..., 0], images[numbers])
        np.testing.assert_array_equal(part.controls[..., 0], number[numbers])
        np.testing.assert_array_equal(part.states[..., 1], -number[numbers])
        np.testing.assert_array_equal(part.observed, observed[numbers])
        assert part.state_names == ("x", "y")


@pytest.mark.parametrize("train", ["images", "train_images"])
def test_parts_that_the_file_lacks_come_from_train(archive, train):
    test = _images(4, seed=5)
    splits = load_arrays(archive(**{train: _images(), "test_images": test}), seed=0)
    np.testing.assert_array_equal(splits.test.frames[..., 0], test)
    assert sorted(_numbers(splits.train) + _numbers(splits.validation)) == list(range(N))
    assert len(splits.validation) == 2  # 0.1 of 0.9


def test_parts_that_the_file_has_are_left_alone(archive):
    arrays = {
        f"{part}_images": _images(n, seed=n)
        for part, n in [("train", 3), ("validation", 2), ("test", 1)]
    }
    controls = {
        f"{part}_controls": np.ones((n, T, 2))
        for part, n in zip(Splits._fields, (3, 2, 1), strict=True)
    }
    splits = load_arrays(archive(**arrays, **controls), seed=0)
    for name, part in splits._asdict().items():
        np.testing.assert_array_equal(part.frames[..., 0], arrays[f"{name}_images"])
        assert part.control_size == 2


def _splits(**changes):
    rng = np.random.default_rng(0)

    def part(n):
        arrays = {
            "images": rng.random((n, T, 2, 2, 3)),
            "controls": rng.normal(size=(n, T, 2)),
            "states": rng.normal(size=(n, T, 1)),
            "observed": rng.integers(0, 2, (n, T)),
            "state_names": ("height",),
            "times": np.cumsum(rng.uniform(0.1, 1.0, (n, T)), axis=1) + 1.7e9,
        } | changes
        if arrays["images"] is None:
            arrays["images"] = rng.integers(0, 256, (n, T, 4, 4), dtype=np.uint8)
        return SequenceData.from_arrays(**arrays)

    return Splits(part(5), part(2), part(3))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"images": None},
        {"controls": None, "states": None, "state_names": (), "observed": None, "times": None},
    ],
)
def test_what_is_saved_is_read_back_equal(tmp_path, changes):
    splits = _splits(**changes)
    save_npz(tmp_path / "new" / "data.npz", splits)
    for saved, read in zip(splits, load_arrays(tmp_path / "new" / "data.npz", seed=0), strict=True):
        for name in ("frames", "observed", "controls", "states", "times"):
            expected, found = getattr(saved, name), getattr(read, name)
            np.testing.assert_array_equal(found, expected)
            assert expected is None or found.dtype == expected.dtype
        assert read.state_names == saved.state_names


@pytest.mark.parametrize("step", [(np, "savez"), (os, "replace")])
def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, step):
    path = tmp_path / "data.npz"
    save_npz(path, _splits())
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*step, fail)
    with pytest.raises(UserError, match="cannot write .*data.npz: No space left"):
        save_npz(path, _splits())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_under_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        save_npz(tmp_path / "file" / "data.npz", _splits())


def _pickled(n=N):
    return np.array([{"no": "numbers"}] * n, dtype=object)


def test_pickled_controls_are_ignored_with_a_warning(archive):
    path = archive(images=_images(), controls=_pickled())
    with pytest.warns(UserWarning, match="ignored controls, a pickled object array"):
        assert load_arrays(path, seed=0).train.control_size == 0


@pytest.mark.parametrize("name", ["images", "observed"])
def test_pickled_arrays_that_matter_are_refused(archive, name):
    path = archive(**({"images": _images()} | {name: _pickled()}))
    with pytest.raises(UserError, match=f"film.npz: {name} is a pickled object array"):
        load_arrays(path, seed=0)


def test_unknown_arrays_are_ignored_with_a_warning(archive):
    path = archive(images=_images(), control=np.ones((N, T, 1)))
    with pytest.warns(UserWarning, match="ignored the arrays control$"):
        load_arrays(path, seed=0)


def _claiming(path, shape, dtype="uint8"):
    """An archive whose images claim a size that they do not have."""
    header = io.BytesIO()
    head = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, head)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header.getvalue() + bytes(1000))
    return path


@pytest.mark.parametrize("shape", [(60, 2**10, 2**10, 2**10), (1, 1, 2**35, -1), (9, 2**70, 8, 8)])
def test_what_claims_too_much_is_refused_unread(tmp_path, shape, monkeypatch):
    path = _claiming(tmp_path / "film.npz", shape)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    assert "GiB of memory, but --max_memory is 8" in _refusal(path)


def test_little_bytes_that_unpack_to_many(tmp_path):
    path = tmp_path / "film.npz"
    np.savez_compressed(path, images=np.zeros((N, T, 64, 64), np.uint8))
    size = N * T * 64 * 64
    assert path.stat().st_size < size / 100
    assert "--max_memory" in _refusal(path, max_memory=(size - 1) / 2**30)
    assert load_arrays(path, max_memory=size / 2**30).train.num_steps == T
    with pytest.raises(UserError, match="--max_memory"):
        load_sequences(path, max_memory=(size - 1) / 2**30)


def test_all_arrays_count_together(archive):
    path = archive(images=_images(), controls=np.zeros((N, T, 2)))
    size = N * T * (2 * 2 + 2 * 8)
    assert "--max_memory" in _refusal(path, max_memory=(size - 1) / 2**30)
    assert load_arrays(path, max_memory=size / 2**30).train.control_size == 2


def _hdf5(path, change):
    with h5py.File(path, "w") as file:
        change(file, path.parent)
    return path


def _other(folder):
    with h5py.File(folder / "other.h5", "w") as file:
        file["images"] = _images()
    return str(folder / "other.h5")


def _external_storage(file, folder):
    (folder / "secret").write_bytes(bytes(N * T * 4))
    shape, place = (N, T, 2, 2), [(str(folder / "secret"), 0, N * T * 4)]
    file.create_dataset("images", shape, "u1", external=place)


def _virtual(file, folder):
    layout = h5py.VirtualLayout((N, T, 2, 2), "u1")
    layout[:] = h5py.VirtualSource(_other(folder), "images", (N, T, 2, 2))
    file.create_virtual_dataset("images", layout)


def _external_link(file, folder):
    file["images"] = h5py.ExternalLink(_other(folder), "/images")


def _large(file, folder):
    file.create_dataset("images", (2**14, 2**10, 2**5, 2**5), "u1", chunks=True, compression="gzip")


def _large_text(file, folder):
    file["images"] = _images()
    file.create_dataset("state_names", (2**34,), "S1", chunks=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_external_storage, "images is kept in other files"),
        (_virtual, "images is kept in other files"),
        (_external_link, "images is a link"),
        (lambda file, _: file.__setitem__("images", h5py.SoftLink("/x")), "images is a link"),
        (lambda file, _: file.create_group("images"), "images is a group"),
        (_large, "takes 16 GiB of memory, but --max_memory is 8"),
        (_large_text, "takes 16 GiB of memory, but --max_memory is 8"),
        (lambda file, _: file.create_dataset("images", data=h5py.Empty("u1")), "images has dtype"),
    ],
)
def test_hdf5_holds_its_arrays_itself(tmp_path, change, words):
    assert words in _refusal(_hdf5(tmp_path / "film.h5", change))


def test_an_encrypted_archive_is_refused(archive):
    path = archive(images=_images())
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    assert "images cannot be read" in _refusal(path)


def _refusal(path, **arguments):
    with pytest.raises(UserError) as error:
        load_arrays(path, **({"seed": 0} | arguments))
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    return message


def test_missing_file_and_folder(tmp_path):
    assert "does not exist" in _refusal(tmp_path / "none.npz")
    assert "cannot read" in _refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"just text", b"PK\x03\x04 but no archive"])
def test_no_archive(tmp_path, content):
    path = tmp_path / "film.npz"
    path.write_bytes(content)
    assert "damaged or no .npz archive" in _refusal(path)


def test_a_single_array_is_no_archive(tmp_path):
    np.save(tmp_path / "film.npy", _images())
    assert "single array" in _refusal(tmp_path / "film.npy")


def test_truncated_archive(archive):
    path = archive(images=_images())
    path.write_bytes(path.read_bytes()[:-30])
    assert "damaged" in _refusal(path)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_flipped_bytes(tmp_path, write):
    path = tmp_path / "film.npz"
    write(path, images=_images())
    content = bytearray(path.read_bytes())
    content[200:220] = bytes(b ^ 0xFF for b in content[200:220])
    path.write_bytes(content)
    assert "images cannot be read" in _refusal(path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pictures": np.ones(3), "state": np.ones(3)}, "holds pictures, state; expected"),
        ({"test_images": _images()}, "holds test_images; expected"),
        ({"images": _images(), "train_images": _images()}, "holds images, train_images; expected"),
        ({}, "holds no arrays"),
        ({"images": np.ones((N, T, 2))}, "images has shape (20, 3, 2)"),
        ({"images": _images(), "observed": np.ones((N, T + 1))}, "observed has shape (20, 4)"),
        ({"images": _images(3)}, "the test split is empty: 3 sequences"),
        (
            {"train_images": _images(), "test_images": _images()[:, :, :1]},
            "the test part has frame_shape (1, 2, 1); expected (2, 2, 1)",
        ),
        (
            {"images": _images(), "controls": np.ones((N, T, 1)), "test_images": _images()},
            "the test part has control_size 0; expected 1",
        ),
        ({"images": _images(), "test_images": _images() * 2.0}, "test part: images lies in"),
    ],
)
def test_archives_that_make_no_data_set(archive, arrays, words):
    assert words in _refusal(archive(**arrays))


def test_bad_fractions_and_seed(archive):
    path = archive(images=_images())
    with pytest.raises(UserError, match="fractions"):
        load_arrays(path, seed=0, fractions=(0.5, 0.5))
    assert "seed is -1" in _refusal(path, seed=-1)
