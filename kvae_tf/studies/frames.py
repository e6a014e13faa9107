"""Studies of frames and their encodings: the KVAE paper's figures, forecasts, calibration."""

from __future__ import annotations

import numpy as np

from kvae_tf import charts, data, evaluation, paper, plotting
from kvae_tf.errors import UserError
from kvae_tf.evaluation.curves import FIRST_SEEN
from kvae_tf.studies.report import Report, Subject, need

FORECAST_CONTEXT, FORECAST_STEPS = 20, 60
GENERATED, GENERATED_STEPS = 8, 60
LEVEL = 0.9


def missing_at_random(subject: Subject) -> Report:
    """Errors against the rate of missing frames, figure 3a."""
    need(subject, FIRST_SEEN + 1, "impute")
    fit = evaluation.fit_positions(subject.model, subject.splits.train)
    curve = evaluation.missing_at_random_curve(subject.model, subject.splits.test, fit)
    return _curve_report(subject, curve, fit, "rate of missing frames", paper.MISSING_AT_RANDOM)


def gap(subject: Subject) -> Report:
    """Errors against the length of a gap, figure 3b."""
    need(subject, FIRST_SEEN + 2, "impute")
    fit = evaluation.fit_positions(subject.model, subject.splits.train)
    curve = evaluation.gap_curve(subject.model, subject.splits.test, fit)
    return _curve_report(subject, curve, fit, "frames missing in a row", paper.GAP)


def trajectories(subject: Subject, count: int = 3) -> Report:
    """Encodings of a few sequences, half of whose frames are missing, figure 3c."""
    need(subject, FIRST_SEEN + 1, "impute")
    test = subject.splits.test.select(slice(0, count))
    frames = test.unit_frames
    mask = data.missing_at_random(len(test), test.num_steps, 0.5, FIRST_SEEN, seed=0)
    mask = mask * test.observed
    paths = {"encoded": evaluation.encodings(subject.model, test)}
    objects = evaluation.objects_of(subject.model, test)
    for method in subject.model.imputation_methods:
        filled = subject.model.impute(frames, mask, test.controls, method=method, **objects)
        paths[method] = filled.encodings.numpy()
    rows = [
        [n, t, int(mask[n, t]), method, *map(float, path[n, t])]
        for method, path in paths.items()
        for n in range(len(test))
        for t in range(test.num_steps)
    ]
    size = paths["encoded"].shape[-1]
    distance = {
        method: float(np.sqrt(np.mean(np.square(path - paths["encoded"])[mask == 0])))
        for method, path in paths.items()
        if method != "encoded"
    }
    others = {method: path for method, path in paths.items() if method != "encoded"}
    return Report(
        {"hidden_encoding_rmse": distance},
        ["sequence", "step", "seen", "method", *(f"a{i + 1}" for i in range(size))],
        rows,
        plotting.latent_trajectories(paths["encoded"], observed=mask, others=others),
    )


def modes(subject: Subject) -> Report:
    """Mode weights alpha_t over a_{t-1}, figure 4; a function of it for the MLP network."""
    need(subject, 2, "impute")
    test = subject.splits.test.select(slice(0, 500))
    found = subject.model.impute(test.unit_frames, test.observed, test.controls)
    weights = found.mode_weights.numpy()[:, 1:]
    a = found.encodings.numpy()[:, :-1]
    if a.shape[-1] != 2 or weights.shape[-1] == 0:
        raise UserError(
            f"experiment modes: the model has {a.shape[-1]}-dimensional encodings and "
            f"{weights.shape[-1]} modes, expected 2 dimensions and at least one mode"
        )
    a, weights = a.reshape(-1, 2), weights.reshape(-1, weights.shape[-1])
    K = weights.shape[-1]
    entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-12)), axis=-1)
    return Report(
        {
            "mean_weights": weights.mean(0).tolist(),
            "largest_weights": weights.max(0).tolist(),
            "mean_entropy_nats": float(entropy.mean()),
        },
        ["a1", "a2", *(f"mode_{k + 1}" for k in range(K))],
        np.concatenate([a, weights], axis=1).astype(float).tolist(),
        charts.mode_map(a, weights),
    )


def generate(subject: Subject) -> Report:
    """Sequences from the prior as overlaid pictures and a GIF, figure 5."""
    need(subject, 1, "generate")
    drawn = subject.model.generate(GENERATED, GENERATED_STEPS, seed=0).frames.numpy()
    lit = _lit(drawn)
    usual = _lit(subject.splits.test.select(slice(0, 200)).unit_frames)
    whole = np.abs(lit - usual.mean()) <= 0.25 * usual.mean()
    y, x = np.mgrid[: drawn.shape[2], : drawn.shape[3]]
    light = np.maximum(drawn.mean(-1), 1e-9)
    middle = [(light * axis).sum((2, 3)) / light.sum((2, 3)) for axis in (x, y)]
    return Report(
        {
            "lit_pixels_of_data": float(usual.mean()),
            "lit_pixels": float(lit.mean()),
            "share_of_frames_within_25_percent": float(whole.mean()),
        },
        ["sequence", "step", "lit_pixels", "column", "row"],
        [
            [n, t, int(lit[n, t]), float(middle[0][n, t]), float(middle[1][n, t])]
            for n in range(GENERATED)
            for t in range(GENERATED_STEPS)
        ],
        plotting.grid([plotting.overlay(sequence) for sequence in drawn]),
        plotting.grid_gif(drawn),
    )


def forecast(subject: Subject) -> Report:
    """Errors of forecast frames after ``FORECAST_CONTEXT`` seen ones."""
    need(subject, 2, "forecast")
    test, context = subject.long_test(FORECAST_STEPS), FORECAST_CONTEXT
    if test is None:
        test = subject.splits.test
        context = min(context, test.num_steps // 2)
    errors = dict(
        zip(
            ("model", "last_frame"),
            evaluation.forecast_errors(subject.model, test, context),
            strict=True,
        )
    )
    steps = list(range(1, test.num_steps - context + 1))
    fields = evaluation.ForecastErrors._fields
    rows = [
        [name, step, *(getattr(found, field)[i] for field in fields)]
        for name, found in errors.items()
        for i, step in enumerate(steps)
    ]
    return Report(
        {"context": context} | {name: found._asdict() for name, found in errors.items()},
        ["method", "step", *fields],
        rows,
        charts.curves(
            steps,
            {name: found.wasserstein for name, found in errors.items()},
            {name: found.wasserstein_se for name, found in errors.items()},
            x_label=f"steps after {context} seen frames",
            y_label="Wasserstein distance of lit pixels, pixels",
        ),
    )


def quality(subject: Subject, num_samples: int = 64) -> Report:
    """Bound, importance-weighted bound, and coverage of the intervals of imputed encodings."""
    need(subject, FIRST_SEEN + 1, "impute")
    model, test = subject.model, subject.splits.test
    numbers = evaluation.bound(model, test)
    if model.elbo_is_log_weight:
        numbers[f"test/importance_bound_{num_samples}_per_frame"] = evaluation.importance_bound(
            model, test, num_samples
        )
    levels = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
    mask = data.missing_at_random(len(test), test.num_steps, 0.5, FIRST_SEEN, seed=0)
    lines = evaluation.coverage(model, test, mask, levels)
    for method, line in lines.items():
        numbers[f"coverage_{LEVEL:g}/{method}"] = line[levels.index(LEVEL)]
    return Report(
        numbers,
        ["level", *lines],
        [[level, *(line[i] for line in lines.values())] for i, level in enumerate(levels)],
        charts.curves(
            levels,
            lines | {"ideal": levels},
            x_label="level of the interval",
            y_label="true encodings inside",
        ),
    )


def _curve_report(subject, curve, fit, x_label, reported):
    lines = {name: found["incorrect_pixels"] for name, found in curve.errors.items()}
    spreads = {name: found["incorrect_pixels"] for name, found in curve.standard_errors.items()}
    rows = [
        [x, method, measure, value, curve.standard_errors[method][measure][i]]
        for method, measures in curve.errors.items()
        for measure, values in measures.items()
        for i, (x, value) in enumerate(zip(curve.x, values, strict=True))
    ]
    comparable = subject.dataset == "box" and len(curve.x) == len(reported["smooth"])
    numbers = curve._asdict()
    if fit is not None:
        numbers["position_r_squared"] = fit.r_squared.tolist()
    return Report(
        numbers,
        ["x", "method", "measure", "error", "standard_error"],
        rows,
        charts.curves(
            curve.x,
            lines,
            spreads,
            dashed=reported if comparable else None,
            x_label=x_label,
            y_label="fraction of incorrect pixels",
        ),
    )


def _lit(frames):
    return (np.asarray(frames) > 0.5).sum((2, 3, 4))
