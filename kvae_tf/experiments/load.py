"""Trained models from Python, by name or path."""

from __future__ import annotations

import os

from kvae_tf.experiments import live, sources
from kvae_tf.export.loading import LoadedModel
from kvae_tf.models.base import SequenceModel


def load(what: str | os.PathLike, trainable: bool = False) -> LoadedModel | SequenceModel:
    """A trained model.

    An export answers from its graph, which needs no code of the model; with ``trainable=True``, and
    for a run always, the model is a live one, compiled with the optimiser of its training: ``fit``
    can go on. The learning-rate schedule of an export's model begins anew, that of a run goes on.

    >>> import kvae_tf
    >>> kvae_tf.load("pendulum").frame_shape
    (16, 16, 1)
    >>> type(kvae_tf.load("pendulum", trainable=True)).__name__
    'KVAE'

    Args:
      what: the name of a model that comes with the package, as ``"box"``; the folder of an export,
        ``saved_models/box``, or of its version, ``saved_models/box/1``; the folder of a run; or a
        file ``*.weights.h5`` with ``model.json`` and ``settings.json`` beside it.
      trainable: give a live model; False by default.

    Raises:
      UserError: there is no such model, its files are damaged, or there are no weights.
    """
    source = sources.find(what)
    if source.kind == "export" and not trainable:
        return LoadedModel(source.path)
    return live.from_source(source)
