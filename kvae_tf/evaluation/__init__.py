"""Numbers that say how good a trained model is. Knows the models' contract, not the models."""

from kvae_tf.evaluation.bound import bound, importance_bound
from kvae_tf.evaluation.coverage import coverage
from kvae_tf.evaluation.curves import (
    GAPS,
    RATES,
    Curve,
    gap_curve,
    missing_at_random_curve,
)
from kvae_tf.evaluation.forecasts import ForecastErrors, forecast_errors
from kvae_tf.evaluation.imputation import Gap, imputation, last_seen, middle_gap
from kvae_tf.evaluation.pixels import incorrect_pixels, wasserstein
from kvae_tf.evaluation.positions import AffineFit, encodings, fit_positions
from kvae_tf.evaluation.regression import Regression, latent_samples, quantities, regression
from kvae_tf.evaluation.summary import evaluate

__all__ = [
    "GAPS",
    "RATES",
    "AffineFit",
    "Curve",
    "ForecastErrors",
    "Gap",
    "Regression",
    "bound",
    "coverage",
    "encodings",
    "evaluate",
    "fit_positions",
    "forecast_errors",
    "gap_curve",
    "importance_bound",
    "imputation",
    "incorrect_pixels",
    "last_seen",
    "latent_samples",
    "middle_gap",
    "missing_at_random_curve",
    "quantities",
    "regression",
    "wasserstein",
]
