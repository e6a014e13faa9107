"""Data sets by name, and the cache."""

import numpy as np
import pytest

from kvae_tf.data import datasets, load, save_npz
from kvae_tf.data.worlds import WORLDS, World, pendulum
from kvae_tf.errors import UserError

SIZES = {"num_sequences": (3, 2, 2), "num_steps": 4}


@pytest.fixture(autouse=True)
def simulations(monkeypatch, tmp_path):
    """Counts simulations; keeps the real cache out of the tests."""
    monkeypatch.setenv("KVAE_TF_CACHE", str(tmp_path / "environment"))
    calls = []

    def splits(seed, num_sequences=(500, 500, 500), num_steps=15):
        calls.append(seed)
        return pendulum.splits(seed, num_sequences, num_steps)

    monkeypatch.setitem(WORLDS, "pendulum", World(splits, version=1))
    return calls


def _assert_equal(one, two):
    for a, b in zip(one, two, strict=True):
        for name in ("frames", "observed", "controls", "states"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert a.state_names == b.state_names


def test_a_world_is_simulated_once(tmp_path, simulations):
    first = load("pendulum", 5, tmp_path / "cache", **SIZES)
    second = load("pendulum", 5, tmp_path / "cache", **SIZES)
    assert simulations == [5]
    _assert_equal(first, pendulum.splits(5, **SIZES))
    _assert_equal(first, second)


def test_the_cache_tells_seeds_sizes_and_versions_apart(tmp_path, simulations, monkeypatch):
    load("pendulum", 5, tmp_path, **SIZES)
    load("pendulum", 6, tmp_path, **SIZES)
    load("pendulum", 5, tmp_path, num_sequences=(3, 2, 1), num_steps=4)
    load("pendulum", 5, tmp_path, num_sequences=(3, 2, 2), num_steps=3)
    monkeypatch.setitem(WORLDS, "pendulum", WORLDS["pendulum"]._replace(version=2))
    load("pendulum", 5, tmp_path, **SIZES)
    assert len(simulations) == 5
    names = {path.name for path in tmp_path.glob("*.npz")}
    assert "pendulum-v1-seed=5-num_sequences=3x2x2-num_steps=4.npz" in names
    assert "pendulum-v2-seed=5-num_sequences=3x2x2-num_steps=4.npz" in names


def test_the_environment_names_the_default_cache(tmp_path):
    load("pendulum", 5, **SIZES)
    assert len(list((tmp_path / "environment").glob("pendulum-*.npz"))) == 1


def test_without_environment_the_cache_lies_at_home(tmp_path, monkeypatch):
    monkeypatch.delenv("KVAE_TF_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    load("pendulum", 5, **SIZES)
    assert len(list((tmp_path / ".cache" / "kvae_tf").glob("pendulum-*.npz"))) == 1


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_damaged_cache_is_simulated_again(tmp_path, simulations, content):
    first = load("pendulum", 5, tmp_path, **SIZES)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.warns(UserWarning, match="simulated again"):
        _assert_equal(load("pendulum", 5, tmp_path, **SIZES), first)
    _assert_equal(load("pendulum", 5, tmp_path, **SIZES), first)
    assert len(simulations) == 2


@pytest.mark.parametrize("other", [{"seed": 6}, {"num_steps": 3}, {"num_sequences": (3, 2, 1)}])
def test_a_cache_file_with_other_data_is_simulated_again(tmp_path, simulations, other):
    asked = {"seed": 5} | SIZES
    first = load("pendulum", cache_dir=tmp_path, **asked)
    (path,) = tmp_path.glob("*.npz")
    load("pendulum", cache_dir=tmp_path / "other", **(asked | other))
    (strange,) = (tmp_path / "other").glob("*.npz")
    strange.replace(path)
    with pytest.warns(UserWarning, match=f"simulated again: .* expected {path.stem}"):
        _assert_equal(load("pendulum", cache_dir=tmp_path, **asked), first)
    _assert_equal(load("pendulum", cache_dir=tmp_path, **asked), first)
    assert len(simulations) == 3


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"num_sequences": (3, 2, 1)}, r"has num_sequences \(3, 2, 1\), expected \(3, 2, 2\)"),
        ({"num_steps": 3}, "has num_steps 3, expected 4"),
    ],
)
def test_a_cache_file_of_other_sizes_under_the_right_name(tmp_path, simulations, sizes, words):
    first = load("pendulum", 5, tmp_path, **SIZES)
    (path,) = tmp_path.glob("*.npz")
    save_npz(path, pendulum.splits(5, **(SIZES | sizes)), origin=path.stem)
    with pytest.warns(UserWarning, match=words):
        _assert_equal(load("pendulum", 5, tmp_path, **SIZES), first)


def test_a_cache_file_without_an_origin_is_simulated_again(tmp_path, simulations):
    first = load("pendulum", 5, tmp_path, **SIZES)
    (path,) = tmp_path.glob("*.npz")
    save_npz(path, pendulum.splits(6, **SIZES))
    with pytest.warns(UserWarning, match="holds data of unknown origin"):
        _assert_equal(load("pendulum", 5, tmp_path, **SIZES), first)


def test_an_unwritable_cache_is_only_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not cached"):
        splits = load("pendulum", 5, tmp_path / "file" / "cache", **SIZES)
    assert len(splits.train) == 3


def test_a_file_of_one_s_own(tmp_path, simulations):
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.random.default_rng(0).random((10, 3, 4, 4)))
    splits = load(str(path), 0, fractions=(0.5, 0.3, 0.2))
    assert [len(part) for part in splits] == [5, 3, 2]
    _assert_equal(load(path, 0), datasets.load_arrays(path, 0))
    assert not simulations


def test_a_saved_world_is_a_file_like_any_other(tmp_path):
    splits = pendulum.splits(1, **SIZES)
    save_npz(tmp_path / "saved.npz", splits)
    _assert_equal(load(tmp_path / "saved.npz", 9), splits)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("pendulun", 0), {}, "'pendulun' is unknown; expected one of: billiards, .*, or a path"),
        (("none.npz", 0), {}, "none.npz does not exist"),
        (("none.npz", 0), {"num_steps": 3}, "num_steps"),
        (
            ("pendulum", 0),
            {"fractions": (0.8, 0.1, 0.1)},
            "unexpected keyword argument 'fractions'",
        ),
        (("pendulum", 0), {"num_steps": 0}, "num_steps is 0"),
        (("pendulum", -1), {}, "seed is -1"),
    ],
)
def test_bad_requests(arguments, options, words):
    with pytest.raises(UserError, match=words):
        load(*arguments, **options)
