"""Files and folders that are written whole or not at all."""

import errno
import io
import os
import resource
import stat
import time

import pytest

from kvae_tf import data
from kvae_tf.data import storage
from kvae_tf.errors import UserError


def write_folder(path):
    with storage.atomic_directory(path) as folder:
        (folder / "inside").write_text("new")


SPLITS = data.WORLDS["pendulum"].splits(0, num_sequences=(2, 1, 1), num_steps=3)
WRITERS = {
    "bytes": lambda path: storage.write_bytes(path, b"new"),
    "text": lambda path: storage.write_text(path, "new"),
    "json": lambda path: storage.write_json(path, {"new": 1}),
    "csv": lambda path: storage.write_csv(path, ["new"], [[1]]),
    "npz": lambda path: data.save_npz(path, SPLITS),
    "folder": write_folder,
    "shards": lambda path: data.save_records(path, SPLITS, 1),
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make_old(path, kind):
    """What is there before a write."""
    if kind in ("folder", "shards"):
        path.mkdir()
        (path / "dataset.json").write_text("old")
        return path / "dataset.json"
    path.write_text("old")
    return path


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("step", ["open", "write", "rename"])
def test_a_full_disk_keeps_the_old_and_leaves_nothing(kind, step, tmp_path, monkeypatch):
    old = make_old(tmp_path / "target", kind)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if step == "rename":
            patch.setattr(os, "replace", full)
        elif step == "open" and kind in ("folder", "shards"):
            patch.setattr(os, "mkdir", full)
        elif kind == "shards":
            patch.setattr(data.records.tf.io, "TFRecordWriter", full)
        elif step == "open":
            patch.setattr(os, "open", full)
        else:
            patch.setattr(io, "open", full)
            patch.setattr("builtins.open", full)
        with pytest.raises(UserError, match="^cannot write .*target.*: No space left on device$"):
            WRITERS[kind](tmp_path / "target")
    assert old.read_text() == "old"
    assert names(tmp_path) == ["target"]


def test_a_write_that_the_system_stops_halfway(tmp_path):
    path = tmp_path / "target"
    path.write_text("old")
    size, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, most))
    try:
        with pytest.raises(UserError, match="^cannot write .*target: File too large$"):
            storage.write_bytes(path, bytes(2**21))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["target"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    old = make_old(tmp_path / "target", "folder")
    replace = os.replace

    def second_fails(one, two):
        if str(one).endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        replace(one, two)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(UserError, match="cannot write"):
        write_folder(tmp_path / "target")
    assert old.read_text() == "old"
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_planted_link_is_not_followed(kind, tmp_path, monkeypatch):
    """Not even where it has the very name that the writer draws."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(storage.secrets, "token_hex", lambda size: "a" * 2 * size)
    (tmp_path / f".target.{'a' * 16}.tmp").symlink_to(victim)
    with pytest.raises(UserError, match="cannot write .*target.*: File exists"):
        WRITERS[kind](tmp_path / "target")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "target").exists()


def test_two_temporary_names_differ(tmp_path):
    path = tmp_path / "target"
    with storage.atomic_file(path) as one, storage.atomic_file(path) as two:
        assert one != two
        assert one.parent == two.parent == tmp_path


def test_the_probe_of_a_folder_follows_no_link(tmp_path):
    victim = tmp_path / "victim"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f".probe-{os.getpid()}").symlink_to(victim)
    storage.make_folder(folder, "output")
    assert not victim.exists()
    assert len(names(folder)) == 1
    with pytest.raises(UserError, match="--output=.*: cannot write there"):
        storage.make_folder(folder / ("y" * 300), "output")


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(mask, tmp_path):
    before = os.umask(mask)
    try:
        storage.write_text(tmp_path / "target", "new")
        write_folder(tmp_path / "folder")
        (tmp_path / "ordinary").write_text("new")
        (tmp_path / "ordinary_folder").mkdir()
    finally:
        os.umask(before)

    def mode(name):
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    assert mode("target") == mode("ordinary")
    assert mode("folder") == mode("ordinary_folder")


def test_what_a_killed_process_left_goes_with_a_later_write(tmp_path):
    day_ago = time.time() - 2 * 24 * 60 * 60
    old = [f".target.{'0' * 16}.tmp", f".target.{'1' * 16}.old"]
    kept = [f".target.{'2' * 16}.tmp", ".target.notes.tmp", f".another.{'0' * 16}.tmp"]
    for name in (*old, *kept):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inside").write_text("")
        os.utime(tmp_path / name, (day_ago, day_ago))
    os.utime(tmp_path / kept[0])  # of a process that may be running
    storage.write_text(tmp_path / "target", "new")
    assert names(tmp_path) == sorted([*kept, "target"])
    write_folder(tmp_path / "another")
    assert names(tmp_path) == sorted([*kept[:2], "another", "target"])
