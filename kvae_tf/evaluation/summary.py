"""What ``metrics.json`` says of a trained model.

A flat dictionary of ``"group/name"`` to a number or a list of numbers.
"""

from __future__ import annotations

from kvae_tf.data import SequenceData
from kvae_tf.evaluation.bound import bound
from kvae_tf.evaluation.curves import FIRST_SEEN, Curve, gap_curve, missing_at_random_curve
from kvae_tf.evaluation.imputation import imputation
from kvae_tf.evaluation.regression import regression
from kvae_tf.models.base import SequenceModel


def evaluate(
    model: SequenceModel, data: SequenceData, train: SequenceData | None = None
) -> dict[str, object]:
    """Everything that ``metrics.json`` says of the test part.

    Args:
      model: any system.
      data: the test sequences.
      train: the training sequences, to fit the map from latent states to true ones.

    Returns:
      The metrics of ``bound``, and where the model can impute those of ``imputation`` and of the
      two curves: ``missing_at_random/<method>`` and ``gap/<method>``, fractions of incorrect
      pixels, with ``_se`` their standard errors; with ``train`` and known states also ``r2/<name>``
      of ``regression``.
    """
    metrics = dict(bound(model, data))
    likelihood = getattr(model, "likelihood", None)
    if hasattr(likelihood, "variance_floor"):
        metrics["test/variance_floor"] = likelihood.variance_floor
    if "impute" in model.supports:
        if data.num_steps >= 3:
            metrics |= imputation(model, data)
        if data.num_steps >= FIRST_SEEN + 2:
            metrics |= flat("missing_at_random", "rates", missing_at_random_curve(model, data))
            metrics |= flat("gap", "frames", gap_curve(model, data))
    if train is not None and "filter" in model.supports:
        found = regression(model, train, data)
        if found is not None:
            pairs = zip(found.names, found.r_squared.tolist(), strict=True)
            metrics |= {f"r2/{name}": value for name, value in pairs}
    return metrics


def flat(group: str, x_name: str, curve: Curve) -> dict[str, list[float]]:
    """A curve's fractions of incorrect pixels under ``group/<x_name>``, ``group/<method>``."""
    found = {f"{group}/{x_name}": list(curve.x)}
    for method, measures in curve.errors.items():
        found[f"{group}/{method}"] = measures["incorrect_pixels"]
        found[f"{group}/{method}_se"] = curve.standard_errors[method]["incorrect_pixels"]
    return found
