"""Missing entries of series of vectors, filled in by a model that is trained on the series."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf import data
from kvae_tf.data.settings import DataSettings
from kvae_tf.errors import UserError
from kvae_tf.evaluation.masked_batches import timed
from kvae_tf.models import registry
from kvae_tf.training.build import TrainingPlan, build, jit, model_setup, optimizer, steps_per_epoch
from kvae_tf.training.settings import TrainingSettings


def fill_in(series: data.SequenceData, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Fills in all series by a linear model that is trained on them, with the recipe's settings.

    >>> table = np.sin(np.arange(60.0))[:, np.newaxis] * [1.0, 2.0]
    >>> table[10:13, 0] = np.nan
    >>> means, stds = fill_in(data.from_vectors(table[np.newaxis]))
    >>> means.shape, bool((stds[0, 10:13, 0] > 0).all()), float(stds[0, 10:13, 1].max())
    ((1, 60, 2), True, 0.0)

    Args:
      series: vectors; ``data.from_vectors`` makes them of an array ``[N, T, D]``.
      seed: seed of the training, an int, 0 by default.

    Returns:
      The series without gaps, and standard deviations of the entries that were missing, 0 for those
      that were seen; both ``[N, T, D]`` float32, in the entries' own units.

    Raises:
      UserError: the series are no vectors.
    """
    if not series.is_vector:
        raise UserError(f"series has frames {series.frame_shape}, expected vectors")
    spec = registry.get(registry.DEFAULT)
    given = spec.recipe(series, {})
    own = {name: x for name, x in given.items() if name in spec.settings.__dataclass_fields__}
    training = {name: x for name, x in given.items() if name not in own}
    plan = TrainingPlan(
        DataSettings(), spec, spec.settings(**own), TrainingSettings(seed=seed, **training)
    )
    model = build(plan, series)
    model.compile(optimizer=optimizer(model, plan, series), jit_compile=jit(plan))
    batch_size = min(plan.training.batch_size, len(series))
    model.fit(
        data.training_batches(series, batch_size, seed),
        epochs=plan.training.epochs,
        steps_per_epoch=steps_per_epoch(plan, series),
        callbacks=spec.callbacks(model_setup(plan, series)),
        shuffle=False,
        verbose=0,
    )
    impute = tf.function(model.impute, autograph=False)
    known = (series.frames, series.observed, series.controls)
    answer = impute(*(tf.constant(x, tf.float32) for x in known), **timed(model, series.times))
    return tuple(x.numpy()[:, :, 0, :, 0] for x in (answer.frames, answer.stds))
