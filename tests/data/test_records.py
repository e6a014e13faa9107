"""Sequences in shards: what is written is read, and batches do not depend on who reads them."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import data
from kvae_tf.apps import simulation
from kvae_tf.data import records
from kvae_tf.errors import UserError
from kvae_tf.experiments import run
from kvae_tf.experiments.settings import Settings

SHARDS, BATCH = 4, 6


@pytest.fixture(scope="module")
def splits():
    found = data.WORLDS["pendulum"].splits(0, num_sequences=(50, 5, 7), num_steps=6)
    # Each sequence can be told by its first pixel.
    frames = found.train.frames.copy()
    frames[:, :, 0, 0, 0] = np.arange(50)[:, None] / 100
    return found._replace(train=dataclasses.replace(found.train, frames=frames))


@pytest.fixture
def folder(splits, tmp_path):
    path = tmp_path / "shards"
    data.save_records(path, splits, SHARDS)
    return path


def numbers(batch):
    return np.round(batch["frames"][:, 0, 0, 0, 0].numpy() * 100).astype(int)


def test_what_is_written_is_read(splits, folder):
    found = data.load(folder, 0)
    for one, two in zip(found, splits, strict=True):
        for name in ("frames", "observed", "controls", "states"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert one.state_names == two.state_names
    assert len(found.train.records) == 50
    assert found.test.records is None
    assert found.train.select(slice(0, 3)).records is None
    assert not data.is_video(folder)


def test_a_pass_holds_each_sequence_at_most_once_in_a_new_order(folder):
    train = data.load(folder, 0).train
    steps = data.steps_per_pass(train, BATCH)
    assert steps == 8  # two groups of 25 sequences, 3 rows each
    batches = [numbers(b) for b in data.training_batches(train, BATCH, seed=0).take(2 * steps)]
    first, second = (np.concatenate(part) for part in (batches[:steps], batches[steps:]))
    assert len(set(first)) == len(first) == steps * BATCH
    assert len(set(second)) == len(second)
    assert not np.array_equal(first, second)
    other = next(iter(data.training_batches(train, BATCH, seed=1)))
    assert not np.array_equal(numbers(other), batches[0])


@pytest.mark.parametrize("start", [3, 8, 13])
def test_batches_are_functions_of_their_number(folder, start):
    train = data.load(folder, 0).train
    options = {"missing_rate": 0.5, "mixed_rates": True}
    whole = list(data.training_batches(train, BATCH, 0, **options).take(start + 2))[start:]
    later = list(data.training_batches(train, BATCH, 0, start, **options).take(2))
    for one, two in zip(whole, later, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_a_worker_opens_its_own_shards_only(folder):
    train = data.load(folder, 0).train
    whole = list(data.training_batches(train, BATCH, 0, missing_rate=0.5).take(10))
    for index in (0, 2):
        records.shard_path(folder, "train", index, SHARDS).unlink()
    rows = slice(3, 6)
    own = list(data.training_batches(train, BATCH, 0, missing_rate=0.5, rows=rows).take(10))
    for one, two in zip(whole, own, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name][rows], two[name])


def test_rows_of_batches_in_memory(splits):
    whole = next(iter(data.training_batches(splits.train, BATCH, 0, missing_rate=0.5)))
    part = next(
        iter(data.training_batches(splits.train, BATCH, 0, missing_rate=0.5, rows=slice(2, 4)))
    )
    for name in whole:
        np.testing.assert_array_equal(whole[name][2:4], part[name])


def test_counted_objects_come_along(tmp_path):
    simulation.write("cannonballs_small", tmp_path / "balls", 0, (8, 2, 2), 5, shards=2)
    train = data.load(tmp_path / "balls", 0).train
    batch = next(iter(data.training_batches(train, 4, 0)))
    assert batch["num_objects"].dtype == tf.int32
    assert set(batch["num_objects"].numpy()) <= {1, 2}


def test_training_from_shards(folder, tmp_path):
    values = {"dataset": str(folder), "run_dir": str(tmp_path / "run"), "epochs": 2,
              "image_epochs": 0,
              "batch_size": BATCH, "units": [8], "model": "ed_lstm",
              "missing_rate": 0.3}  # fmt: skip
    metrics = run.run(Settings.from_dict(values))
    assert metrics["train/updates"] == 16
    assert np.isfinite(metrics["test/log_likelihood_per_frame"])


def test_shards_that_take_too_much_are_refused_unread(splits, folder, monkeypatch):
    size = 62 * 6 * (16 * 16 * 4 + 4 * (1 + 1 + splits.train.states.shape[2]))
    assert len(data.load(folder, 0, max_memory=size / 2**30).test) == 7
    monkeypatch.setattr(tf.data, "TFRecordDataset", None)
    with pytest.raises(UserError, match="--max_memory"):
        data.load(folder, 0, max_memory=(size - 1) / 2**30)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": []}, {"shape": "abc"}, {"shape": [6, 16, -16, 1]}, {"shape": [6, 16.5, 16, 1]},
        {"dtype": "int7"}, {"control_size": "1"}, {"control_size": -1}, {"state_names": 3},
        {"sequences": {"train": [50], "validation": [5]}}, {"sequences": 3},
        {"sequences": {"train": [50], "validation": [-5], "test": [7]}},
    ],
)  # fmt: skip
def test_a_damaged_index_is_refused(folder, change):
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"dataset\.json is damaged"):
        data.load(folder, 0)


def test_refusals(splits, folder, tmp_path):
    with pytest.raises(UserError, match="--shards is 51, expected 1 to 50"):
        data.save_records(tmp_path / "x", splits, 51)
    assert not (tmp_path / "x").exists()
    with pytest.raises(UserError, match=r"holds no dataset\.json, expected a new folder"):
        data.save_records(tmp_path, splits)
    train = data.load(folder, 0).train
    for words, call in (
        ("--binarise", lambda: train.binarised()),
        ("--fixed_masks", lambda: data.training_batches(
            train, 4, 0, missing_rate=0.1, fixed_masks=True)),
        ("--curriculum_epochs", lambda: data.curriculum_batches(
            dataclasses.replace(train, num_objects=np.ones(50)), 5, 4, 0)),
        ("--batch_size is 40", lambda: data.steps_per_pass(
            dataclasses.replace(train, records=dataclasses.replace(
                train.records, counts=(9, 9, 9, 9))), 40)),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            call()
    shard = records.shard_path(folder, "test", 0, 1)
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(UserError, match="a shard of the test part is damaged"):
        data.load(folder, 0)
    shard.unlink()
    with pytest.raises(UserError, match="test-00000-of-00001.tfrecord does not exist"):
        data.load(folder, 0)
    (folder / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match=r"dataset\.json is damaged"):
        data.load(folder, 0)
