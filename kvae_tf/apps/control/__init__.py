"""Simulated worlds under control: episodes, the ways to act in them, and how well each does."""

from kvae_tf.apps.control.study import POLICIES, TASKS, run

__all__ = ["POLICIES", "TASKS", "run"]
