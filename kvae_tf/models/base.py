"""The base of all live models: what they answer, and how they are trained."""

from __future__ import annotations

from kvae_tf.models import eager_queries
from kvae_tf.models.queries import Queries
from kvae_tf.models.training_step import TrainableModel


class SequenceModel(Queries, TrainableModel):
    """A model of image sequences that can be trained; see ``contract.VideoModel``.

    A model sets ``frame_shape`` and ``control_size``, gives ``term_names`` and ``elbo``, and
    implements the queries that it can answer (``Queries``).

    Args:
      **training: arguments of ``TrainableModel``.
    """

    def __init__(self, **training):
        super().__init__(**training)
        self._arguments = {}

    @property
    def encoding_size(self) -> int:
        """Dimension m of an encoding."""
        return self.encoder.encoding_size

    def record_arguments(self, given: dict[str, object]) -> None:
        """Stores the constructor's arguments, from which ``get_config`` makes the same model again.

        Args:
          given: ``locals()`` of the constructor, taken before it has other local variables.
        """
        given = {name: x for name, x in given.items() if name not in ("self", "__class__")}
        for more in ("training", "options"):
            given |= given.pop(more, {})
        self._arguments = dict(self._arguments) | given

    def get_config(self):
        """The constructor's arguments by name, as Keras wants them for ``from_config``."""
        return dict(self._arguments)

    def _answer(self, query, *given):
        return eager_queries.answer(self, query, given)
