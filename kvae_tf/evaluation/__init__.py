"""Numbers that say how good a trained model is. Knows the models' contract, not the models."""

from kvae_tf.evaluation.bound import bound, importance_bound
from kvae_tf.evaluation.continuations import Continuation, generation, interpolation
from kvae_tf.evaluation.counts import inferred_counts
from kvae_tf.evaluation.coverage import ALL, Calibration, calibration, coverage, crps, deviations
from kvae_tf.evaluation.curves import GAPS, RATES, Curve, gap_curve, missing_at_random_curve
from kvae_tf.evaluation.forecasts import ForecastErrors, forecast_errors
from kvae_tf.evaluation.imputation import Gap, imputation, last_seen, middle_gap
from kvae_tf.evaluation.masked_batches import timed
from kvae_tf.evaluation.objects import (
    ObjectErrors,
    best_orders,
    fit_objects,
    identity_switches,
    in_order,
    latent_positions,
    object_errors,
    positions_of,
    true_positions,
)
from kvae_tf.evaluation.pixels import incorrect_pixels, wasserstein
from kvae_tf.evaluation.positions import AffineFit, encodings, fit_positions
from kvae_tf.evaluation.regression import (
    Regression,
    first_step,
    latent_samples,
    quantities,
    regression,
)
from kvae_tf.evaluation.scores import (
    auroc,
    frame_scores,
    judged,
    lowest_mean,
    score_quantiles,
    score_threshold,
)
from kvae_tf.evaluation.summary import evaluate, format_value, read
from kvae_tf.evaluation.verdict import WORDS as VERDICTS
from kvae_tf.evaluation.verdict import Answer, Questions, answers, ask, judge, paragraph, word

__all__ = [
    "ALL",
    "GAPS",
    "VERDICTS",
    "Answer",
    "Questions",
    "answers",
    "ask",
    "judge",
    "paragraph",
    "word",
    "RATES",
    "AffineFit",
    "Calibration",
    "Continuation",
    "Curve",
    "ForecastErrors",
    "Gap",
    "ObjectErrors",
    "Regression",
    "auroc",
    "best_orders",
    "bound",
    "calibration",
    "coverage",
    "crps",
    "deviations",
    "encodings",
    "evaluate",
    "first_step",
    "fit_objects",
    "fit_positions",
    "forecast_errors",
    "format_value",
    "frame_scores",
    "gap_curve",
    "generation",
    "identity_switches",
    "importance_bound",
    "imputation",
    "in_order",
    "incorrect_pixels",
    "inferred_counts",
    "interpolation",
    "judged",
    "last_seen",
    "latent_positions",
    "latent_samples",
    "lowest_mean",
    "middle_gap",
    "missing_at_random_curve",
    "object_errors",
    "positions_of",
    "quantities",
    "read",
    "regression",
    "score_quantiles",
    "score_threshold",
    "timed",
    "true_positions",
    "wasserstein",
]
