"""What exports of earlier versions lack beside them: weights, and the scores of good frames."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.experiments import run, settings
from kvae_tf.export import weights
from kvae_tf.export.loading import LoadedModel
from kvae_tf.lgssm import Sampler
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.contract import VideoModel
from kvae_tf.training.build import build, steps_per_epoch

_SEQUENCES, _STEPS = 3, 6  # of the test part, on which answers are compared
_TOLERANCE = 1e-4  # of the largest value; float32 has 6e-8, a filter sums up a few hundred terms


def recover(version_dir: Path) -> dict[str, float]:
    """Writes ``weights.weights.h5``, ``model.json`` and ``scores.json`` beside an export.

    The variables of a SavedModel are those of the live model, in the same order. Nothing is
    written unless the live model answers as the export does. The scores are those of the validation
    part, as a training writes them; of a model that cannot ``score`` there are none.

    Args:
      version_dir: the export's version folder, with ``settings.json`` beside it.

    Returns:
      Name of a query -> largest difference of its answers, relative to the largest value.

    Raises:
      UserError: there is no such export, or it does not fit its settings.
    """
    folder, exported = version_dir.parent, LoadedModel(version_dir)
    chosen = settings.read(folder / "settings.json", run_dir="unused")
    splits = run.load_data(chosen)
    model = build(chosen.plan, splits.train, arguments={})
    values, variables = exported.module.values, model.variables
    if [tuple(v.shape) for v in values] != [tuple(v.shape) for v in variables]:
        raise UserError(f"{version_dir} has other variables than its settings.json says")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    found = [compare(model, exported, splits.test, kind) for kind in (tf.int64, tf.int32)]
    differences = min(found, key=lambda answers: np.max([*answers.values()]))
    for query, difference in differences.items():
        if not difference <= _TOLERANCE:
            raise UserError(
                f"{version_dir} answers {query} by {difference:.2g} otherwise than the live model, "
                f"expected at most {_TOLERANCE:g}"
            )
    weights.write(folder / weights.WEIGHTS, model)
    steps = steps_per_epoch(chosen.plan, splits.train)
    description = weights.describe(model, chosen.model_name, steps)
    weights.write_description(folder / weights.MODEL, description)
    run.write_scores(folder / "scores.json", model, splits.validation)
    return differences


def compare(
    model: SequenceModel, exported: VideoModel, test: SequenceData, kind: tf.DType
) -> dict[str, float]:
    """How far the answers of two models are apart, on the first frames of a few sequences.

    Args:
      model: a live model.
      exported: another model, which says what it supports.
      test: sequences of the data.
      kind: type of the stateless pairs that the other model's graphs draw from: some exports of
        earlier versions split pairs of int32, from which other seeds come than from int64.

    Returns:
      Name of a query -> largest difference of its answers, relative to the largest value.
    """
    few, most = slice(0, _SEQUENCES), model.max_objects
    frames = tf.constant(test.unit_frames[few, :_STEPS])
    observed = np.ones(frames.shape[:2], np.float32)
    observed[:, 2:4] = 0.0
    controls = test.controls[few, :_STEPS]
    counts = {"num_objects": test.num_objects[few]} if most else {}
    given = {"frames": frames, "observed": observed, "controls": controls} | counts
    noise = Sampler(tf.constant([0, 0], kind))
    batch = {name: tf.convert_to_tensor(value) for name, value in given.items()}
    asked = {
        "elbo": lambda m: m.elbo(batch, noise if m is model else 0).elbo,
        "filter": lambda m: m.filter(**given),
        "impute": lambda m: m.impute(**given),
        "generate": lambda m: m.generate(
            _SEQUENCES, _STEPS, controls, noise if m is model else 0, **counts
        ),
    }
    with _seeds_of(kind):
        return {
            name: _difference(ask(model), ask(exported))
            for name, ask in asked.items()
            if name == "elbo" or name in exported.supports
        }


@contextlib.contextmanager
def _seeds_of(kind):
    """Lets filters that draw states do so from pairs of another type."""
    usual = lgssm.as_sampler

    def as_sampler(seed):
        sampler = usual(seed)
        return sampler._replace(seed=tf.cast(sampler.seed, kind))

    lgssm.as_sampler = as_sampler
    try:
        yield
    finally:
        lgssm.as_sampler = usual


def _difference(one, other):
    """The largest difference of two answers, relative to the largest value, at least 1."""
    pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    arrays = [(np.asarray(x), np.asarray(y)) for x, y in pairs if x is not None]
    return float(
        np.max([np.abs(a - b).max(initial=0.0) / np.abs(b).max(initial=1.0) for a, b in arrays])
    )
