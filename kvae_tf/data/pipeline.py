"""From sequences in memory to batches for ``fit``, as pure functions of a seed and a step.

A batch is a dictionary of float32 tensors with static batch size and length (so that XLA compiles
once): ``frames [B, T, H, W, C]`` in [0, 1], 0 where unobserved, ``observed [B, T]`` (1 = seen) and
``controls [B, T, U]``; if the data have it also ``num_objects [B]``, int32, and ``times [B, T]``,
seconds since the first frame of a sequence. Masks are floats, since bools crash under
``MirroredStrategy``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from kvae_tf.data import number_checks
from kvae_tf.data.masks import stateless_missing_at_random
from kvae_tf.data.sequence_data import SequenceData
from kvae_tf.errors import UserError

# Streams of random numbers under one seed; apart from 0 and 1, which the models' noise uses.
_ORDER, _MASKS = 11, 12
_PREFETCHED = 4  # batches


def steps_per_pass(data: SequenceData, batch_size: int) -> int:
    """Number of training batches in one pass through ``data``.

    Args:
      data: the sequences.
      batch_size: B.

    Raises:
      UserError: ``batch_size`` is no positive integer, or above the sequences in the shards.
    """
    size = _static_size(data, batch_size)
    return data.records.steps_per_pass(size) if data.records else len(data) // size


def training_batches(
    data: SequenceData,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    missing_rate: float = 0.0,
    first_seen: int = 3,
    mixed_rates: bool = False,
    fixed_masks: bool = False,
    rows: slice = slice(None),
) -> tf.data.Dataset:
    """Shuffled batches without end; batch ``k`` is a pure function of the arguments.

    Each pass is a fresh permutation of the sequences, whose last partial batch is dropped. Starting
    at ``start_step=k`` gives what an uninterrupted dataset gives from its k-th batch on. Sequences
    in shards are streamed from there.

    Args:
      data: the sequences; if there are fewer than ``batch_size``, each batch holds all of them.
      batch_size: number B of sequences in a batch.
      seed: seed of the permutations and of the masks, a non-negative int.
      start_step: number of first batches to leave out, which costs nothing; 0 by default.
      missing_rate: probability that a frame is hidden, beside frames that ``data`` lacks; 0 by
        default.
      first_seen: number of first frames that are never hidden, 3 by default.
      mixed_rates: each sequence has its own rate, uniform between 0 and ``missing_rate``; False by
        default.
      fixed_masks: hide the same frames of a sequence in each pass, else other frames at each step
        (default).
      rows: rows of each batch to return, for replicas that share a batch; all by default.

    Returns:
      A dataset of batches as in this module's docstring.

    Raises:
      UserError: a number is out of its range.
    """
    size = _static_size(data, batch_size)
    seed = number_checks.integer("seed", seed, minimum=0)
    start_step = number_checks.integer("start_step", start_step, minimum=0)
    missing_rate = number_checks.rate("missing_rate", missing_rate)
    first_seen = number_checks.integer("first_seen", first_seen, minimum=0)
    if missing_rate and fixed_masks:
        data = _masked_for_good(data, seed, missing_rate, first_seen, mixed_rates)
        missing_rate = 0.0
    if data.records:
        source_batches = data.records.batches(size, seed, start_step, rows).map(_unit)
    else:
        source = _on_cpu(data)
        indices = _shuffled_indices(len(data), size, seed, start_step)
        source_batches = indices.map(lambda index: _gather(source, index[rows]))

    def mask(step, batch):
        if missing_rate:
            key = tf.random.experimental.stateless_fold_in(_key(seed, _MASKS), step)
            batch["observed"] *= stateless_missing_at_random(
                key, size, data.num_steps, missing_rate, first_seen, mixed_rates
            )[rows]
        return _blank_unobserved(batch) if missing_rate or not data.is_complete else batch

    batches = tf.data.Dataset.zip(tf.data.Dataset.counter(start_step), source_batches).map(mask)
    batches = batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return _finished(batches)


def curriculum_batches(
    data: SequenceData, updates: int, batch_size: int, seed: int, start_step: int = 0, **options
) -> tf.data.Dataset:
    """Training batches: of sequences with one object first, then with up to two, and so on.

    Args:
      data: the sequences, with ``num_objects``.
      updates: number of batches before the largest number of objects grows by one; 0: batches of
        all sequences from the start.
      batch_size: number B of sequences in a batch.
      seed: seed of the permutations and of the masks, a non-negative int.
      start_step: number of first batches to leave out, which costs nothing; 0 by default.
      **options: other arguments of ``training_batches``.

    Returns:
      A dataset of batches as in this module's docstring.

    Raises:
      UserError: the data have no ``num_objects``, they are in shards, or a number is out of its
        range.
    """
    updates = number_checks.integer("updates", updates, minimum=0)
    if not updates:
        return training_batches(data, batch_size, seed, start_step, **options)
    if data.records:
        raise UserError("--curriculum_epochs is for data in memory, expected 0 for shards")
    if data.num_objects is None:
        raise UserError("the data do not say num_objects, expected counts for a curriculum")
    curriculum, start = None, 0
    *fewer, most = np.unique(data.num_objects)
    for count in [*fewer, most]:
        end = start + updates
        if count == most or start_step < end:
            part = data.select(data.num_objects <= count)
            first_step = max(start_step - start, 0)
            batches = training_batches(part, batch_size, seed, first_step, **options)
            if count != most:
                batches = batches.take(end - max(start_step, start))
            curriculum = batches if curriculum is None else curriculum.concatenate(batches)
        start = end
    return curriculum.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def evaluation_batches(data: SequenceData, batch_size: int) -> tf.data.Dataset:
    """All sequences once, in order; rows are repeated to fill the last batch.

    Args:
      data: the sequences; if there are fewer than ``batch_size``, they make one batch.
      batch_size: number B of sequences in a batch.

    Returns:
      A dataset of batches as in this module's docstring, with a further ``weight [B]``: 1 for
      sequences, 0 for repeated rows.

    Raises:
      UserError: ``batch_size`` is no positive integer.
    """
    size = _static_size(data, batch_size)
    source = _on_cpu(data)
    rows = np.arange(-(-len(data) // size) * size).reshape(-1, size)  # [batches, B]
    weight = (rows < len(data)).astype(np.float32)

    def batch(index, weight):
        return _blank_unobserved(_gather(source, index)) | {"weight": weight}

    indices = tf.data.Dataset.from_tensor_slices((rows % len(data), weight))
    return _finished(indices.map(batch))


def _static_size(data, batch_size):
    return min(number_checks.integer("batch_size", batch_size), len(data))


def _on_cpu(data):
    """The arrays as tensors in main memory, where tf.data works, even if there is a GPU."""
    arrays = {"frames": data.frames, "observed": data.observed, "controls": data.controls}
    if data.num_objects is not None:
        arrays["num_objects"] = data.num_objects
    if data.times is not None:
        arrays["times"] = data.elapsed
    with tf.device("CPU:0"):
        return {name: tf.constant(array) for name, array in arrays.items()}


def _key(seed, stream):
    return tf.constant([seed, stream], tf.int64)


def _shuffled_indices(num_sequences, size, seed, start_step):
    """Rows ``[B]`` int64 of batch ``start_step``, and of all that follow."""
    num_batches = num_sequences // size
    first_pass, first_batch = divmod(start_step, num_batches)

    def one_pass(number):
        key = tf.random.experimental.stateless_fold_in(_key(seed, _ORDER), number)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(num_sequences, dtype=tf.int64), key
        )
        rows = tf.reshape(order[: num_batches * size], [num_batches, size])
        return tf.data.Dataset.from_tensor_slices(rows)

    return tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(first_batch)


def _masked_for_good(data, seed, missing_rate, first_seen, mixed_rates):
    """The sequences with frames hidden, the same at each step."""
    if data.records:
        raise UserError("--fixed_masks is for data in memory, expected shards without it")
    with tf.device("CPU:0"):
        mask = stateless_missing_at_random(
            _key(seed, _MASKS), *data.observed.shape, missing_rate, first_seen, mixed_rates
        )
    return dataclasses.replace(data, observed=data.observed * mask.numpy())


def _gather(source, index):
    """The rows at ``index``, frames as float32 in [0, 1]."""
    return _unit({name: tf.gather(tensor, index) for name, tensor in source.items()})


def _unit(rows):
    """Frames as float32 in [0, 1]."""
    if rows["frames"].dtype == tf.uint8:
        rows["frames"] = tf.cast(rows["frames"], tf.float32) / 255.0
    return rows


def _blank_unobserved(rows):
    """Unobserved frames set to 0, so that no model can use them."""
    seen = rows["observed"][..., tf.newaxis, tf.newaxis, tf.newaxis]
    # Not a product: the missing entries of vectors are not numbers.
    return rows | {"frames": tf.where(seen > 0, rows["frames"], 0.0)}


def _finished(batches):
    options = tf.data.Options()
    options.deterministic = True
    # Replicas share batches, not files.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options).prefetch(_PREFETCHED)
