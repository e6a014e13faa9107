"""Data sets larger than memory: sequences in TFRecord shards, streamed in training.

A folder holds ``dataset.json`` (shapes, dtype and numbers of the sequences) and files such as
``train-00003-of-00016.tfrecord``. A record is a ``tf.train.Example`` with the raw bytes of
``frames [T, H, W, C]`` and the floats of ``observed [T]``, ``controls [T, U]`` and ``states
[T, S]``; if the data have it also ``num_objects``, and the raw bytes of ``times [T]``, float64.

Batches are pure functions of a seed and a step, on any number of workers: the shards are divided
into G groups (G is the greatest common divisor of the number of shards and the batch size), and
group g fills the g-th part of every batch. A worker of a distributed training opens the shards of
its own groups only, and gets the same rows as a single process.
"""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from kvae_tf.data import memory, storage
from kvae_tf.data.sequence_data import SequenceData, Splits
from kvae_tf.errors import UserError

INDEX = "dataset.json"
_SAMPLE = 2000  # training sequences kept in memory, for evaluation
_WINDOW = 1024  # records of a group that are shuffled among themselves
_READERS = 4  # shards of a group that are read side by side
_ORDER = 13  # stream of random numbers under a seed
_DTYPES = {"uint8": tf.uint8, "float32": tf.float32}


@dataclasses.dataclass(frozen=True)
class Records:
    """The training part of a folder of shards.

    Attributes:
      folder: the folder of the shards.
      counts: number of sequences in each shard.
      kind: contents of ``dataset.json``: shape and dtype of a sequence.
    """

    folder: Path
    counts: tuple[int, ...]
    kind: dict

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def is_complete(self) -> bool:
        """Whether no frame is missing."""
        return self.kind["complete"]

    def steps_per_pass(self, batch_size: int) -> int:
        """Number of batches in one pass, given by the smallest group.

        Args:
          batch_size: number B of sequences in a batch.

        Raises:
          UserError: the shards hold fewer sequences than one batch.
        """
        groups, rows = self._groups(batch_size)
        least = min(sum(self.counts[g::groups]) for g in range(groups)) // rows
        if not least:
            raise UserError(
                f"--batch_size is {batch_size}, but {self.folder} holds {len(self)} training "
                f"sequences in {len(self.counts)} shards, expected a batch in them"
            )
        return least

    def batches(
        self, batch_size: int, seed: int, start_step: int, rows: slice = slice(None)
    ) -> tf.data.Dataset:
        """Shuffled batches without end, from the ``start_step``-th on.

        Args:
          batch_size: number B of sequences in a batch.
          seed: seed of the order, a non-negative int.
          start_step: number of first batches to leave out; those of the current pass are read and
            dropped.
          rows: rows of each batch to return, all by default; shards of other rows are not opened.

        Returns:
          A dataset of dictionaries ``frames``, ``observed``, ``controls`` and, if the data have it,
          ``num_objects`` and ``times``, seconds since the first frame, float32.
        """
        groups, size = self._groups(batch_size)
        steps = self.steps_per_pass(batch_size)
        wanted = range(batch_size)[rows]
        first, last = wanted[0] // size, wanted[-1] // size
        streams = [
            self._stream(group, groups, size, steps, seed, start_step)
            for group in range(first, last + 1)
        ]
        inside = slice(wanted[0] - first * size, wanted[-1] + 1 - first * size)

        def join(*parts):
            return {name: tf.concat([p[name] for p in parts], 0)[inside] for name in parts[0]}

        return tf.data.Dataset.zip(tuple(streams)).map(join)

    def _groups(self, batch_size):
        """Number of groups, and rows of each in a batch."""
        groups = math.gcd(len(self.counts), batch_size)
        return groups, batch_size // groups

    def _stream(self, group, groups, size, steps, seed, start_step):
        """A dataset of the parts of batches that one group fills."""
        paths = tf.constant(
            [str(shard_path(self.folder, "train", i, len(self.counts)))
             for i in range(group, len(self.counts), groups)]
        )  # fmt: skip
        first_pass, first_step = divmod(start_step, steps)

        def one_pass(number):
            key = tf.constant([seed, _ORDER], tf.int64)
            for value in (tf.constant(group, tf.int64), number):
                key = tf.random.experimental.stateless_fold_in(key, value)
            order = tf.random.experimental.stateless_shuffle(paths, key)
            records = tf.data.Dataset.from_tensor_slices(order).interleave(
                tf.data.TFRecordDataset, cycle_length=_READERS
            )

            def shuffle(index, window):
                inner = tf.random.experimental.stateless_fold_in(key, index)
                return tf.random.experimental.stateless_shuffle(window, inner)

            windows = records.batch(_WINDOW).enumerate(1).map(shuffle)
            return windows.unbatch().take(steps * size)

        records = tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(first_step * size)
        return records.batch(size, drop_remainder=True).map(lambda x: _parse(x, self.kind, size))


def write(path: str | os.PathLike, splits: Splits, shards: int = 16) -> None:
    """Writes three parts as shards; the folder takes its place only when it is complete.

    Args:
      path: the folder; it must not exist, or be a folder of shards, which is replaced.
      splits: the three parts, of images, not of vectors.
      shards: number of files of the training part, 16 by default; the other parts have one each.

    Raises:
      UserError: the folder is something else, or cannot be written; there are more shards than
        training sequences; or the data are vectors.
    """
    path = Path(path)
    train = splits.train
    if train.is_vector:
        raise UserError("shards hold images, expected an .npz for vectors")
    if not 1 <= shards <= len(train):
        raise UserError(f"--shards is {shards}, expected 1 to {len(train)}, a sequence each")
    if path.exists() and not (path / INDEX).exists():
        raise UserError(f"{path} exists and holds no {INDEX}, expected a new folder")
    try:
        with storage.atomic_directory(path) as folder:
            _write(folder, splits, shards)
    except tf.errors.OpError as error:
        raise UserError(f"cannot write {path}: {error.message}") from error


def is_records(path: str | os.PathLike) -> bool:
    """Whether a path is that of a folder of shards."""
    return (Path(path).expanduser() / INDEX).is_file()


def load_records(
    path: str | os.PathLike, seed: int = 0, max_memory: float = memory.DEFAULT
) -> Splits:
    """Validation and test part, and a sample of the training part with ``records`` for the rest.

    Args:
      path: the folder of shards.
      seed: not used, since the parts are as they were written; other readers have it too.
      max_memory: largest size of the parts and the sample, GiB, 8 by default.

    Raises:
      UserError: the index or a shard is missing or damaged, a part has no seen frame, or there are
        more sequences than ``max_memory`` allows.
    """
    del seed
    folder = Path(path).expanduser()
    kind = _read_index(folder / INDEX)
    counts = {name: tuple(kind["sequences"][name]) for name in Splits._fields}
    kept = sum(min(sum(counts[name]), _limit(name)) for name in Splits._fields)
    T, *frame = kind["shape"]
    signals = 1 + kind["control_size"] + len(kind["state_names"]) + 2 * kind["timed"]
    size = T * (math.prod(frame) * _DTYPES[kind["dtype"]].size + signals * tf.float32.size)
    advice = "expected smaller validation and test parts"
    memory.check(folder, kept * size, max_memory, advice)
    for name, numbers in counts.items():
        for i in range(len(numbers)):
            shard = shard_path(folder, name, i, len(numbers))
            if not shard.is_file():
                raise UserError(f"{shard} does not exist, expected the shards that {INDEX} lists")
    parts = [_read(folder, name, counts[name], kind) for name in Splits._fields]
    train = dataclasses.replace(parts[0], records=Records(folder, counts["train"], kind))
    return Splits(train, *parts[1:])


def shard_path(folder: Path, part: str, index: int, number: int) -> Path:
    """For example ``train-00003-of-00016.tfrecord``."""
    return Path(folder) / f"{part}-{index:05d}-of-{number:05d}.tfrecord"


def _write(folder, splits, shards):
    """Writes the shards, then the index."""
    parts = {}
    for name, part in zip(Splits._fields, splits, strict=True):
        number = shards if name == "train" else 1
        rows = np.array_split(np.arange(len(part)), number)
        for i, index in enumerate(rows):
            with tf.io.TFRecordWriter(str(shard_path(folder, name, i, number))) as file:
                for row in index:
                    file.write(_example(part, row))
        parts[name] = [len(index) for index in rows]
    train = splits.train
    storage.write_json(folder / INDEX, {
        "version": 1,
        "shape": [train.num_steps, *train.frame_shape],
        "dtype": str(train.frames.dtype),
        "control_size": train.control_size,
        "state_names": list(train.state_names) if train.states is not None else [],
        "counted": train.num_objects is not None,
        "timed": train.has_times,
        "complete": bool(train.observed.all()),
        "sequences": parts,
    })  # fmt: skip


def _read_index(path):
    """The contents of ``dataset.json``, checked."""
    kind = {"timed": False} | storage.read_json(path, "the index of shards")  # older ones lack it
    try:
        numbers = [*kind["shape"], kind["control_size"]]
        for name in Splits._fields:
            numbers += kind["sequences"][name]
        is_index = (
            len(kind["shape"]) == 4
            and all(isinstance(number, int) and number >= 0 for number in numbers)
            and kind["dtype"] in _DTYPES
            and isinstance(kind["state_names"], list)
            and {kind["counted"], kind["complete"], kind["timed"]} <= {True, False}
        )
    except (KeyError, TypeError):
        is_index = False
    if not is_index:
        raise UserError(f"{path} is damaged, expected the index of shards")
    return kind


def _limit(name):
    """Most sequences of a part that are kept in memory."""
    return _SAMPLE if name == "train" else math.inf


def _read(folder, name, counts, kind):
    """A part in memory; the training part is cut to ``_SAMPLE`` sequences."""
    paths = [str(shard_path(folder, name, i, len(counts))) for i in range(len(counts))]
    limit = min(sum(counts), _limit(name))
    try:
        raw = list(tf.data.TFRecordDataset(paths).take(limit).as_numpy_iterator())
        tensors = _parse(tf.constant(raw), kind, len(raw), whole=True)
    except tf.errors.OpError:
        raise UserError(f"{folder}: a shard of the {name} part is damaged") from None
    if len(raw) != limit:
        raise UserError(
            f"{folder}: the {name} part has {len(raw)} sequences, expected {sum(counts)} as "
            f"{INDEX} says"
        )
    arrays = {key: value.numpy() for key, value in tensors.items()}
    return SequenceData.from_arrays(
        arrays["frames"],
        controls=arrays["controls"] if kind["control_size"] else None,
        states=arrays["states"] if kind["state_names"] else None,
        state_names=kind["state_names"],
        observed=arrays["observed"],
        num_objects=arrays.get("num_objects"),
        times=arrays.get("times"),
        source=f"{folder}, {name} part",
    )


def _example(part, row):
    def floats(x):
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(x)))

    def raw(x):
        return tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[np.ascontiguousarray(x).tobytes()])
        )

    feature = {
        "frames": raw(part.frames[row]),
        "observed": floats(part.observed[row]),
        "controls": floats(part.controls[row]),
    }
    if part.states is not None:
        feature["states"] = floats(part.states[row])
    if part.num_objects is not None:
        count = tf.train.Int64List(value=[int(part.num_objects[row])])
        feature["num_objects"] = tf.train.Feature(int64_list=count)
    if part.has_times:
        feature["times"] = raw(part.times[row])
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _parse(examples, kind, size, whole=False):
    """Tensors of ``size`` sequences out of their serialised examples ``[size]``.

    ``whole``: with states, and times as they were given; else times since the first frame.
    """
    T = kind["shape"][0]
    wanted = {
        "frames": tf.io.FixedLenFeature([], tf.string),
        "observed": tf.io.FixedLenFeature([T], tf.float32),
        "controls": tf.io.FixedLenFeature([T, kind["control_size"]], tf.float32),
    }
    if whole and kind["state_names"]:
        width = len(kind["state_names"])
        wanted["states"] = tf.io.FixedLenFeature([T, width], tf.float32)
    if kind["counted"]:
        wanted["num_objects"] = tf.io.FixedLenFeature([], tf.int64)
    if kind["timed"]:
        wanted["times"] = tf.io.FixedLenFeature([], tf.string)
    if not kind["control_size"]:
        del wanted["controls"]
    parsed = tf.io.parse_example(examples, wanted)
    frames = tf.io.decode_raw(parsed["frames"], _DTYPES[kind["dtype"]])
    parsed["frames"] = tf.reshape(frames, [size, *kind["shape"]])
    parsed.setdefault("controls", tf.zeros([size, T, 0]))
    if kind["counted"]:
        parsed["num_objects"] = tf.cast(parsed["num_objects"], tf.int32)
    if kind["timed"]:
        times = tf.reshape(tf.io.decode_raw(parsed["times"], tf.float64), [size, T])
        parsed["times"] = times if whole else tf.cast(times - times[:, :1], tf.float32)
    return parsed
