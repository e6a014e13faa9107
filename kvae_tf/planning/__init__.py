"""Model-predictive control: controls that lead to goal frames, found in a model's forecasts.

``Controller`` sees one frame of each episode at a time and answers with controls. ``cross_entropy``
holds the search behind it, ``costs`` what is searched for.
"""

from kvae_tf.planning.controller import Controller
from kvae_tf.planning.costs import to_goals
from kvae_tf.planning.cross_entropy import Box, OneOf, Plan, Search, minimise, next_guess

__all__ = ["Box", "Controller", "OneOf", "Plan", "Search", "minimise", "next_guess", "to_goals"]
