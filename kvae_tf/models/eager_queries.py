"""Queries of live models that are called eagerly run as graphs, each traced once.

Operation by operation, a loop over time costs ten times what it costs in a graph. One graph serves
all shapes, so XLA, which compiles for each shape anew, is left out. A graph reads the model's
variables when it runs; whatever else the model's code depends on must not change once it is built.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf.lgssm import eager


def answer(model, query: str, given: tuple):
    """``model._<query>(*given)``, as a graph if the call is eager and no tape is active.

    ``lgssm.compile_eager_calls(False)`` switches graphs off here too.

    Args:
      model: a live model; its graphs are kept with it.
      query: name of a query.
      given: checked inputs.
    """
    run = getattr(model, f"_{query}")
    if not (model.built and eager.compiles(None)):
        return run(*given)
    # A number of steps as a tensor does not make a graph of its own; another rank does.
    given = tuple(tf.constant(x, tf.int32) if _is_whole(x) else x for x in given)
    ranks = (x.shape.rank for x in tf.nest.flatten(given) if tf.is_tensor(x))
    # Past Keras, which would look for variables in what it is given.
    graphs, key = vars(model).setdefault("_eager_graphs", {}), (query, *ranks)
    if key not in graphs:
        graphs[key] = tf.function(run, autograph=False, reduce_retracing=True)
    return graphs[key](*given)


def _is_whole(x):
    return isinstance(x, (int, np.integer)) and not isinstance(x, bool)
