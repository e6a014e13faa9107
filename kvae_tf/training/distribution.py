"""Training on several devices or machines, by TensorFlow's distribution strategies."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import tensorflow as tf

from kvae_tf.errors import UserError

# Errors of a collective operation when another worker is gone.
PEER_IS_GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


def create(name: str) -> tf.distribute.Strategy:
    """The strategy that ``--strategy`` names.

    Args:
      name: ``"mirrored"``: all devices of this machine; ``"multiworker"``: all processes that the
        environment's ``TF_CONFIG`` lists; ``"none"``: one device; ``"auto"``: multiworker where
        ``TF_CONFIG`` lists several workers, mirrored where there are several GPUs, else none.

    Raises:
      UserError: there is only one device, or ``TF_CONFIG`` lists no workers.
    """
    if name == "multiworker" or (name == "auto" and _workers() > 1):
        if not _workers():
            raise UserError(
                "--strategy=multiworker: the environment's TF_CONFIG lists no workers, expected "
                '{"cluster": {"worker": [HOST:PORT, …]}, "task": {"type": "worker", "index": 0}}'
            )
        # Has to come before TensorFlow lists its devices.
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "none":
        return tf.distribute.get_strategy()
    graphics, processors = (
        [device.name for device in tf.config.list_logical_devices(kind)] for kind in ("GPU", "CPU")
    )
    chosen = graphics or processors
    if name == "mirrored" and len(chosen) < 2:
        raise UserError(f"--strategy=mirrored: there is one device, {chosen[0]}, expected several")
    if name == "mirrored" or len(graphics) > 1:
        return tf.distribute.MirroredStrategy(chosen)
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the results: the only one, or worker 0."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.cluster_spec() or not resolver.task_id


def deal_out(
    batches: Callable[[slice], tf.data.Dataset], batch_size: int, strategy: tf.distribute.Strategy
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """A dataset of batches of which every replica gets its own rows.

    Args:
      batches: a function of a slice that returns these rows of each batch, as dictionaries of
        tensors ``[rows, ...]``.
      batch_size: number B of rows in a batch, a multiple of the number of replicas.
      strategy: a strategy from ``create``; with one replica batches are not divided.

    Raises:
      UserError: B is no multiple of the number of replicas.
    """
    number = strategy.num_replicas_in_sync
    if number == 1:
        return batches(slice(None))
    if batch_size % number:
        raise UserError(
            f"--batch_size is {batch_size}, expected a multiple of the {number} replicas"
        )
    size = batch_size // number

    def of_worker(context):
        local = number // context.num_input_pipelines
        first = context.input_pipeline_id * local

        def parts(batch):
            return tf.data.Dataset.from_tensor_slices(
                {name: tf.reshape(x, [local, size, *x.shape[1:]]) for name, x in batch.items()}
            )

        rows = slice(first * size, (first + local) * size)
        return batches(rows).flat_map(parts)

    return strategy.distribute_datasets_from_function(of_worker)


def restart_process() -> None:
    """Replaces this process by the same command with ``--resume``, when another worker is gone.

    The collective operations of a cluster that has lost a worker never work again; when all its
    processes have restarted, they go on from the chief's last checkpoint.
    """
    print("another worker is gone: restarting from the last checkpoint", flush=True)
    command = [sys.executable, *sys.orig_argv[1:]]  # also of python -m, and of kvae-train
    os.execv(sys.executable, command if "--resume" in command else [*command, "--resume"])


def _workers():
    """Number of workers in ``TF_CONFIG``."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG", "{}"))
        return len(config.get("cluster", {}).get("worker", []))
    except (ValueError, AttributeError):
        raise UserError("the environment's TF_CONFIG is no JSON object") from None
