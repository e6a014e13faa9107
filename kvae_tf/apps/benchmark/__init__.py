"""Benchmarks of inference, training step and streaming, on one core in one process."""

from kvae_tf.apps.benchmark.engine import SIZES, engine
from kvae_tf.apps.benchmark.step import training_step
from kvae_tf.apps.benchmark.stream import BATCH_SIZES, streaming
from kvae_tf.apps.benchmark.timing import Timing, measure, use_one_core

__all__ = [
    "BATCH_SIZES",
    "SIZES",
    "Timing",
    "engine",
    "measure",
    "streaming",
    "training_step",
    "use_one_core",
]
