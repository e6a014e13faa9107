"""Does a filter keep to the truth far beyond the length that it was trained on?"""

from __future__ import annotations

import numpy as np

from kvae_tf import evaluation
from kvae_tf.errors import UserError
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.positions import of_all
from kvae_tf.studies.report import EvaluationTarget, Report, need
from kvae_tf.visualisation import charts

LENGTH = 500  # frames; training sequences have 15 to 30
AT = (15, 50, 100, 200, LENGTH)  # frames after which errors are listed
_LARGE = 1e6  # a state so large has left all bounds


def long_filtering(target: EvaluationTarget) -> Report:
    """Filtered states of sequences of 500 frames, all of them seen.

    Quantities are read off the states by the map that least squares fit on training sequences. A
    sequence is lost if at one of the last 50 frames the error of a quantity is above the standard
    deviation that the quantity has in the training sequences.
    """
    need(target, 2, "filter", "impute")
    if target.studies and long_filtering.__name__ not in target.studies:
        raise UserError(
            f"{long_filtering.__name__} is not for this model, expected some of "
            f"{', '.join(target.studies)}"
        )
    long = target.long_test(LENGTH)
    if long is None:
        raise UserError(f"{target.dataset} has no longer sequences, which the experiment needs")
    train = target.splits.train
    fitted = evaluation.regression(target.model, train, target.splits.test)
    if fitted is None:
        raise UserError(f"{target.dataset} has no true states, which the experiment needs")
    latents = filtered(target.model, long)
    bounded = np.isfinite(latents) & (np.abs(latents) < _LARGE)
    truth = np.stack(list(evaluation.quantities(long).values()), -1)
    errors = np.abs(fitted.fit(np.where(bounded, latents, _LARGE)) - truth)  # [N, T, S]
    spread = np.stack(list(evaluation.quantities(train).values()), -1).std(axis=(0, 1))
    lost = (errors[:, -50:] > spread).any(axis=(1, 2))
    by_frame = np.sqrt(np.mean(np.square(errors), axis=0))  # [T, S]
    of_sequence = np.sqrt(np.mean(np.square(errors[:, target.model.filter_warmup :]), axis=1))
    numbers = {
        "sequences": len(long),
        "frames": LENGTH,
        "lost": int(lost.sum()),
        "unbounded": int((~bounded.all(axis=(1, 2))).sum()),
        "training_std": _named(fitted, spread),
        "rmse": {str(frame): _named(fitted, by_frame[frame - 1]) for frame in AT},
        "rmse_of_worst_sequence": _named(fitted, of_sequence.max(axis=0)),
    }
    frames = list(range(1, LENGTH + 1))
    lines = {
        f"{name}, {word}": np.clip(values[:, i] / spread[i], 1e-4, 10.0).tolist()
        for word, values in (("all", by_frame), ("worst", errors.max(axis=0)))
        for i, name in enumerate(fitted.names)
    }
    rows = [
        [frame, name, float(by_frame[frame - 1, i]), float(errors[:, frame - 1, i].max())]
        for frame in frames
        for i, name in enumerate(fitted.names)
    ]
    picture = charts.curves(
        frames, lines, x_label="frame", y_label="error / standard deviation in training", log=True
    )
    return Report(numbers, ["frame", "quantity", "rmse", "largest_error"], rows, picture)


def filtered(model, data) -> np.ndarray:
    """Filtered latent states ``[N, T, n]`` of sequences of which every frame is seen."""
    return of_all(compiled_queries.follow(model), model, data)


def _named(fitted, values):
    return dict(zip(fitted.names, np.asarray(values, float).tolist(), strict=True))
