"""How well missing entries of public tables are filled in, compared with statsmodels' models."""

from kvae_tf.apps.filling.comparison import METHODS, compare
from kvae_tf.apps.filling.public_tables import TABLES

__all__ = ["METHODS", "TABLES", "compare"]
