"""Benchmarks of inference, training step and streaming, on one core in one process."""

from kvae_tf.apps.benchmark.cost import cost, cost_figure
from kvae_tf.apps.benchmark.engine import SIZES, engine, max_error, random_problem
from kvae_tf.apps.benchmark.step import training_step
from kvae_tf.apps.benchmark.stream import BATCH_SIZES, streaming
from kvae_tf.apps.benchmark.timing import Timing, measure, milliseconds_within, use_one_core

__all__ = [
    "BATCH_SIZES",
    "SIZES",
    "Timing",
    "cost",
    "cost_figure",
    "engine",
    "max_error",
    "measure",
    "milliseconds_within",
    "random_problem",
    "streaming",
    "training_step",
    "use_one_core",
]
