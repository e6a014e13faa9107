"""Benchmarks: inference, training step and streaming on one core, and whole trainings."""

from kvae_tf.apps.benchmark.cost import cost, cost_figure
from kvae_tf.apps.benchmark.engine import SIZES, engine, max_error, random_problem
from kvae_tf.apps.benchmark.quality import GOALS, quality, reached
from kvae_tf.apps.benchmark.step import training_step
from kvae_tf.apps.benchmark.stream import BATCH_SIZES, streaming
from kvae_tf.apps.benchmark.timing import Timing, measure, milliseconds_within, use_one_core

__all__ = [
    "BATCH_SIZES",
    "GOALS",
    "SIZES",
    "Timing",
    "cost",
    "cost_figure",
    "engine",
    "max_error",
    "measure",
    "milliseconds_within",
    "quality",
    "random_problem",
    "reached",
    "streaming",
    "training_step",
    "use_one_core",
]
