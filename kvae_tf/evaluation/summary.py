"""What ``metrics.json`` says of a trained model.

A flat dictionary of ``"group/name"`` to a number or a list of numbers; ``verdict`` is a word.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kvae_tf.data import SequenceData, storage
from kvae_tf.errors import UserError
from kvae_tf.evaluation.bound import bound
from kvae_tf.evaluation.continuations import FIRST, LAST, Continuation, generation, interpolation
from kvae_tf.evaluation.counts import inferred_counts
from kvae_tf.evaluation.curves import FIRST_SEEN, Curve, gap_curve, missing_at_random_curve
from kvae_tf.evaluation.imputation import imputation
from kvae_tf.evaluation.objects import object_errors, true_positions
from kvae_tf.evaluation.regression import regression
from kvae_tf.evaluation.verdict import WORDS, judge
from kvae_tf.models.contract import VideoModel


def evaluate(
    model: VideoModel, data: SequenceData, train: SequenceData | None = None
) -> dict[str, object]:
    """Everything that ``metrics.json`` says of the test part.

    Args:
      model: any model.
      data: the test sequences.
      train: the training sequences, to fit the map from latent states to true ones.

    Returns:
      The metrics of ``bound``, and where the model can impute ``verdict``, a word, and
      ``verdict/<number>``, the numbers behind it; the metrics of ``imputation`` and of the
      two curves: ``missing_at_random/<method>`` and ``gap/<method>``, fractions of incorrect
      pixels, with ``_se`` their standard errors; with ``train`` and known states also ``r2/<name>``
      of ``regression``. Where objects are counted, ``generation/<measure>`` and
      ``interpolation/<measure>`` of ``continuations``, and of a model that knows objects
      ``position_r2/<number>``, ``position_rmse/<number>``, ``position_filter_rmse/<number>``,
      ``generation/expected_error``, ``identity_switch_rate``, ``mix_up_rate/<number>``,
      ``acceleration/ratio`` and ``acceleration/angle_degrees`` of ``object_errors``, and
      ``count_accuracy``, the share of sequences whose number of objects it would have found.
    """
    metrics = dict(bound(model, data))
    if model.variance_floor is not None:
        metrics["test/variance_floor"] = model.variance_floor
    if "impute" in model.supports:
        if data.num_steps >= 3 and not data.is_vector:
            metrics = judge(model, data) | metrics
        if data.num_steps >= 3:
            metrics |= imputation(model, data)
        if data.num_steps >= FIRST_SEEN + 2 and not data.is_vector:
            metrics |= flat("missing_at_random", "rates", missing_at_random_curve(model, data))
            metrics |= flat("gap", "frames", gap_curve(model, data))
    if train is not None and "filter" in model.supports and not model.max_objects:
        fitted = regression(model, train, data)
        if fitted is not None:
            pairs = zip(fitted.names, fitted.r_squared.tolist(), strict=True)
            metrics |= {f"r2/{name}": value for name, value in pairs}
    return metrics | _objects(model, data, train)


def _objects(model, data, train):
    """What there is to say where several objects are counted, and known."""
    if true_positions(data) is None or data.num_steps <= FIRST + LAST:
        return {}
    metrics = _steps("generation", generation(model, data))
    if "smooth" in model.imputation_methods:
        metrics |= _steps("interpolation", interpolation(model, data))
    errors = None if train is None else object_errors(model, data, train)
    if errors is not None:
        by_count = {
            "position_r2": errors.r_squared,
            "position_rmse": errors.rmse,
            "position_filter_rmse": errors.filter_rmse,
            "mix_up_rate": errors.mix_up_rate,
        }
        for name, values in by_count.items():
            metrics |= {f"{name}/{count}": value for count, value in values.items()}
        metrics["identity_switch_rate"] = errors.identity_switch_rate
        metrics["generation/expected_error"] = errors.forecast_error
        if errors.acceleration_ratio is not None:
            metrics["acceleration/ratio"] = errors.acceleration_ratio
            metrics["acceleration/angle_degrees"] = errors.acceleration_angle
        if model.max_objects > 1:
            found = inferred_counts(model, data)
            metrics["count_accuracy"] = float(np.mean(found == data.num_objects))
    return metrics


def _steps(group: str, continuation: Continuation) -> dict[str, list]:
    return {f"{group}/{name}": values for name, values in continuation._asdict().items()}


def flat(group: str, x_name: str, curve: Curve) -> dict[str, list[float]]:
    """A curve's fractions of incorrect pixels under ``group/<x_name>``, ``group/<method>``."""
    metrics = {f"{group}/{x_name}": list(curve.x)}
    for method, measures in curve.errors.items():
        metrics[f"{group}/{method}"] = measures["incorrect_pixels"]
        metrics[f"{group}/{method}_se"] = curve.standard_errors[method]["incorrect_pixels"]
    return metrics


def read(path: Path, expected: str) -> dict[str, object]:
    """The metrics in a ``metrics.json``.

    Args:
      path: the file.
      expected: what the file should be, in words, for the messages.

    Raises:
      UserError: the file is missing, a metric is neither a number nor a list of numbers, or the
        verdict is none.
    """
    metrics = storage.read_json(path, expected)
    verdict = metrics.get("verdict", WORDS[0])
    if verdict not in WORDS:
        raise UserError(f"{path} has verdict {verdict!r}, expected one of {', '.join(WORDS)}")
    for name, value in metrics.items():
        if name == "verdict":
            continue
        if name.startswith("verdict/") and isinstance(value, list):
            raise UserError(f"{path} has {name} {value!r}, expected a number")
        for number in value if isinstance(value, list) else [value]:
            if not isinstance(number, (int, float)):
                raise UserError(f"{path} has {name} {number!r}, expected a number")
    return metrics


def format_value(value: object) -> str:
    """A metric as people read it: four decimals, lists with commas."""
    if isinstance(value, list):
        return ", ".join(map(format_value, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)
