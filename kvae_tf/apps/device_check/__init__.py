"""What the default device computes, compared with the CPU, and how fast it is."""

from kvae_tf.apps.device_check.check import PARTS, added, check, facts
from kvae_tf.apps.device_check.rows import Row
from kvae_tf.apps.device_check.steps import default_configs

__all__ = ["PARTS", "Row", "added", "check", "default_configs", "facts"]
