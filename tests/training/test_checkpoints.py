"""Checkpoints that are damaged, lost or cannot be written: what a run goes on from."""

import os
import shutil
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.training import checkpoints
from kvae_tf.training.callbacks import SaveAndStop
from kvae_tf.training.checkpoints import Checkpoints


def new(folder):
    """Checkpoints of a model with one variable."""
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False)])
    model.build((None, 1))
    model.compile(keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    return Checkpoints(folder, model)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the checkpoints after epochs 2 and 3; the best one is that after epoch 2."""
    folder = tmp_path_factory.mktemp("checkpoints")
    saved = new(folder)
    for epoch in (1, 2, 3):
        saved.progress.epoch.assign(epoch)
        saved.save(is_best=epoch < 3)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "checkpoints")


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def remove(name):
    return lambda folder: (folder / name).unlink()


def cut(name):
    def change(folder):
        os.truncate(folder / name, (folder / name).stat().st_size // 2)

    return change


DATA, INDEX = "last/ckpt-3.data-00000-of-00001", "last/ckpt-3.index"


def restored(folder):
    """The epoch that is restored, 0 for none, and what a further epoch leaves."""
    found = new(folder)
    epoch = int(found.progress.epoch.numpy()) if found.restore_last() else 0
    return found, epoch


@pytest.mark.parametrize("change", [
    remove("last/checkpoint"),
    write("last/checkpoint", b""),
    write("last/checkpoint", b"garbage \xff {"),
    write("last/checkpoint", b'model_checkpoint_path: "ckpt-99"\n'),
], ids=["missing", "empty", "garbage", "stale"])  # fmt: skip
def test_the_state_file_does_not_matter(change, folder):
    change(folder)
    found, epoch = restored(folder)
    assert epoch == 3
    found.progress.epoch.assign(4)
    found.save(is_best=False)
    names = {path.name for path in (folder / "last").iterdir()}
    assert names == {"checkpoint"} | {
        f"ckpt-{number}.{end}" for number in (3, 4) for end in ("index", "data-00000-of-00001")
    }
    assert tf.train.latest_checkpoint(str(folder / "last")).endswith("ckpt-4")


@pytest.mark.parametrize("change", [
    write(DATA, b""), cut(DATA), remove(DATA),
    write(INDEX, b""), cut(INDEX), write(INDEX, b"garbage " * 300),
], ids=["data empty", "data cut", "data missing", "index empty", "index cut", "index"])  # fmt: skip
def test_the_newest_whole_checkpoint_is_taken(change, folder):
    change(folder)
    with pytest.warns(UserWarning, match="ckpt-3 cannot be read: .*ckpt-2 is taken in its place"):
        found, epoch = restored(folder)
    assert epoch == 2
    found.progress.epoch.assign(3)
    found.save(is_best=True)
    assert restored(folder)[1] == 3


def test_a_flipped_bit_is_seen(folder):
    content = bytearray((folder / DATA).read_bytes())
    content[0] ^= 1
    (folder / DATA).write_bytes(content)
    with pytest.warns(UserWarning, match="ckpt-3 cannot be read: .*ckpt-2 is taken"):
        assert restored(folder)[1] == 2


def test_without_a_whole_checkpoint_nothing_is_started_afresh(folder):
    cut(DATA)(folder)
    write("last/ckpt-2.data-00000-of-00001", b"")(folder)
    with pytest.raises(UserError, match=r"ckpt-3 cannot be read: .*ckpt-2 cannot be .*--overwrite"):
        restored(folder)
    for path in (folder / "last").glob("ckpt-*"):
        path.unlink()
    with pytest.raises(UserError, match="last has lost its checkpoints"):
        restored(folder)


def test_a_run_that_was_killed_in_its_first_checkpoint_has_none(folder):
    shutil.rmtree(folder / "last")
    (folder / "last" / "ckpt-1_temp").mkdir(parents=True)
    write("last/ckpt-1.data-00000-of-00001", b"")(folder)
    found, epoch = restored(folder)
    assert epoch == 0
    found.claim()
    assert not list((folder / "last").iterdir())


def test_what_killed_processes_left_is_removed(folder):
    before = sorted(folder.rglob("*"))
    (folder / "best" / "ckpt-9_temp").mkdir()
    for name in ("best/ckpt-9_temp/part", "last/checkpoint.tmp0123", "last/ckpt-9.data-0"):
        write(name, b"x")(folder)
    restored(folder)[0].claim()
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("error", [
    OSError(28, "No space left on device"),
    tf.errors.ResourceExhaustedError(None, None, "x" * 300 + "; No space left on device"),
], ids=["Python", "TensorFlow"])  # fmt: skip
def test_a_full_disk_keeps_the_last_whole_checkpoint(error, folder, monkeypatch):
    found, _ = restored(folder)
    found.progress.epoch.assign(4)

    def save(manager, checkpoint_number):
        (folder / "last" / "ckpt-4_temp").mkdir()
        write("last/ckpt-4.data-00000-of-00001", b"half")(folder)
        raise error

    monkeypatch.setattr(tf.train.CheckpointManager, "save", save)
    with pytest.raises(UserError) as caught:
        found.save(is_best=False)
    assert "ckpt-4: No space left on device; the checkpoint after epoch 3 is kept" in str(
        caught.value
    )
    assert not list(folder.glob("last/ckpt-4*"))
    assert restored(folder)[1] == 3


def test_what_is_kept(folder, tmp_path):
    assert checkpoints.kept(folder) == f"the checkpoint after epoch 3 is kept in {folder}"
    assert "there is no checkpoint" in checkpoints.kept(tmp_path / "none")


def test_waiting_begins_with_the_last_part_of_a_training(tmp_path):
    """Before it no epoch is the best, however good, and none is waited for."""
    saved = new(tmp_path / "checkpoints")
    callback = SaveAndStop(saved, patience=2, start=3)
    callback.set_model(SimpleNamespace(stop_training=False))
    seen, best = [], []
    for epoch, bound in enumerate([9.0, 8.0, 7.0, 1.0, 2.0, 1.5, 1.8, 1.9]):
        callback.on_epoch_end(epoch, {"val_elbo": bound})
        seen.append(bound)
        best.append(float(saved.progress.best.numpy()))
        if callback.model.stop_training:
            break
    assert seen[-1] == 1.8
    assert best == [9.0, 9.0, 9.0, 1.0, 2.0, 2.0, 2.0]
