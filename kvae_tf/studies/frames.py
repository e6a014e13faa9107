"""Studies of frames and their encodings: the KVAE paper's figures, forecasts, calibration."""

from __future__ import annotations

import numpy as np

from kvae_tf import data, evaluation
from kvae_tf.data.worlds import bounces, bouncing_ball
from kvae_tf.errors import UserError
from kvae_tf.evaluation.curves import FIRST_SEEN
from kvae_tf.studies import paper_values
from kvae_tf.studies.report import EvaluationTarget, Report, need
from kvae_tf.visualisation import charts, images

FORECAST_CONTEXT, FORECAST_STEPS = 20, 60
GENERATED, GENERATED_STEPS = 8, 60
LEVEL = 0.9
NEAR_STEPS = 2  # from a bounce
FIRST_PART = "random", evaluation.ALL
_DEPENDS_ON_ALL = (
    "no function of a1, a2: the weights that occurred, which earlier encodings also move"
)


def missing_at_random(target: EvaluationTarget) -> Report:
    """Errors against the rate of missing frames, figure 3a."""
    need(target, FIRST_SEEN + 1, "impute")
    fit = evaluation.fit_positions(target.model, target.splits.train)
    curve = evaluation.missing_at_random_curve(target.model, target.splits.test, fit)
    return _curve_report(
        target, curve, fit, "rate of missing frames", paper_values.MISSING_AT_RANDOM
    )


def gap(target: EvaluationTarget) -> Report:
    """Errors against the length of a gap, figure 3b."""
    need(target, FIRST_SEEN + 2, "impute")
    fit = evaluation.fit_positions(target.model, target.splits.train)
    curve = evaluation.gap_curve(target.model, target.splits.test, fit)
    return _curve_report(target, curve, fit, "frames missing in a row", paper_values.GAP)


def trajectories(target: EvaluationTarget, count: int = 4) -> Report:
    """Encodings of a few sequences with a gap between their first and last frames, figure 3c.

    "generated" goes on from the first ``FIRST_SEEN`` frames; "smoothed", if the model can smooth,
    also sees the last ``FIRST_SEEN``; "encoded" sees all frames.
    """
    need(target, 2 * FIRST_SEEN + 1, "impute")
    model, test = target.model, target.splits.test.select(slice(0, count))
    frames, T = test.unit_frames, test.num_steps
    gap_mask = data.gap(len(test), T, FIRST_SEEN, T - FIRST_SEEN) * test.observed
    masks = {"generated": (data.gap(len(test), T, FIRST_SEEN, T) * test.observed, "filter")}
    if "smooth" in model.imputation_methods:
        masks["smoothed"] = gap_mask, "smooth"
    encoded = evaluation.encodings(model, test)
    times = evaluation.timed(model, test.times)
    paths = {
        name: model.impute(
            frames, mask, test.controls, method=method, num_objects=test.num_objects, **times
        ).encodings.numpy()
        for name, (mask, method) in masks.items()
    }
    rows = [
        [n, t, int(gap_mask[n, t]), name, *map(float, path[n, t])]
        for name, path in ({"encoded": encoded} | paths).items()
        for n in range(len(test))
        for t in range(T)
    ]
    hidden = (gap_mask == 0) & (test.observed > 0)
    rmse = {
        name: float(np.sqrt(np.mean(np.square(path - encoded)[hidden])))
        for name, path in paths.items()
    }
    # In the picture the last frames count as seen, which "generated" does not see.
    paths["generated"][:, T - FIRST_SEEN :] = np.nan
    return Report(
        {"hidden_frames": [FIRST_SEEN, T - FIRST_SEEN], "hidden_encoding_rmse": rmse},
        ["sequence", "step", "seen", "path", *(f"a{i + 1}" for i in range(encoded.shape[-1]))],
        rows,
        images.latent_trajectories(encoded, observed=gap_mask, others=paths),
    )


def modes(target: EvaluationTarget) -> Report:
    """Mode weights alpha_t over a_{t-1}, figure 4.

    The paper draws a dynamics parameter network that is a function of a_{t-1} alone, an MLP, as a
    background over the plane. Of a network that also depends on earlier encodings, an LSTM, the
    plane holds no such function: a point for each frame shows the weights that occurred there.
    """
    need(target, 3, "impute")
    test = target.splits.test.select(slice(0, 500))
    times = evaluation.timed(target.model, test.times)
    filled = target.model.impute(test.unit_frames, test.observed, test.controls, **times)
    all_weights, encodings = filled.mode_weights.numpy(), filled.encodings.numpy()
    weights, a = all_weights[:, 1:], encodings[:, :-1]
    if a.shape[-1] != 2 or weights.shape[-1] == 0:
        raise UserError(
            f"experiment modes: the model has {a.shape[-1]}-dimensional encodings and "
            f"{weights.shape[-1]} modes, expected 2 dimensions and at least one mode"
        )
    is_function = _is_function_of_last_encoding(target.model, test)
    a, weights = a.reshape(-1, 2), weights.reshape(-1, weights.shape[-1])
    K = weights.shape[-1]
    entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-12)), axis=-1)
    if is_function:
        film = images.overlay(filled.frames.numpy()[0])
        picture = charts.stack([charts.mode_map(a, weights, path=encodings[0]), film])
    else:
        picture = charts.mode_map(a, weights, title=_DEPENDS_ON_ALL)
    return Report(
        {
            "weights_are_a_function_of_the_last_encoding": is_function,
            "mean_weights": weights.mean(0).tolist(),
            "largest_weights": weights.max(0).tolist(),
            "mean_entropy_nats": float(entropy.mean()),
        },
        ["a1", "a2", *(f"mode_{k + 1}" for k in range(K))],
        np.concatenate([a, weights], axis=1).astype(float).tolist(),
        picture,
    )


def _is_function_of_last_encoding(model, test):
    """Whether the last weights stay as they are when all frames but the last two change."""
    frames = test.unit_frames[:20]
    others = frames.copy()
    others[:, :-2] = 1.0 - frames[:, :-2]
    seen, controls = np.ones(frames.shape[:2], np.float32), test.controls[:20]
    one, two = (model.impute(x, seen, controls).mode_weights[:, -1] for x in (frames, others))
    return bool(np.allclose(one, two, atol=1e-4))


def generate(target: EvaluationTarget) -> Report:
    """Sequences from the prior as overlaid pictures and a GIF, figure 5."""
    need(target, 1, "generate")
    drawn = target.model.generate(GENERATED, GENERATED_STEPS, seed=0).frames.numpy()
    lit = _lit(drawn)
    usual = _lit(target.splits.test.select(slice(0, 200)).unit_frames)
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
        images.grid([images.overlay(sequence) for sequence in drawn]),
        images.grid_gif(drawn),
    )


def forecast(target: EvaluationTarget) -> Report:
    """Errors of forecast frames, by the number of steps ahead."""
    need(target, 2, "forecast")
    test, context = target.long_test(FORECAST_STEPS), FORECAST_CONTEXT
    if test is None:
        test = target.splits.test
        context = min(context, test.num_steps // 2)
    errors = dict(
        zip(
            ("model", "last_frame"),
            evaluation.forecast_errors(target.model, test, context),
            strict=True,
        )
    )
    steps = list(range(1, test.num_steps - context + 1))
    fields = evaluation.ForecastErrors._fields
    rows = [
        [name, step, *(getattr(of_method, field)[i] for field in fields)]
        for name, of_method in errors.items()
        for i, step in enumerate(steps)
    ]
    return Report(
        {"context": context} | {name: of_method._asdict() for name, of_method in errors.items()},
        ["method", "step", *fields],
        rows,
        charts.curves(
            steps,
            {name: of_method.wasserstein for name, of_method in errors.items()},
            {name: of_method.wasserstein_se for name, of_method in errors.items()},
            x_label=f"steps after {context} seen frames",
            y_label="Wasserstein distance of lit pixels, pixels",
        ),
    )


def coverage(target: EvaluationTarget) -> Report:
    """How often intervals of imputed encodings hold the encodings of the true frames, and CRPS.

    Half of the frames are hidden at random, and in a second round the middle 40 % in a row. Where
    the data come from a world with a bouncing ball, hidden frames within ``NEAR_STEPS`` steps of a
    bounce and all others are counted apart, too.
    """
    need(target, FIRST_SEEN + 1, "impute")
    test = target.splits.test
    levels = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
    shape = len(test), test.num_steps
    masks = {
        "random": data.missing_at_random(*shape, 0.5, FIRST_SEEN, seed=0),
        "gap": data.gap(*shape, *evaluation.middle_gap(test.num_steps)),
    }
    parts = _beside_bounces(target)
    numbers, columns = {}, {}
    for hidden, mask in masks.items():
        found = evaluation.calibration(target.model, test, mask, levels, parts)
        for part in next(iter(found.values())):
            # What this study gave first keeps its names.
            prefix = f"{hidden}/{part}/" if (hidden, part) != FIRST_PART else ""
            for method, in_parts in found.items():
                one = in_parts[part]
                columns[prefix + method] = one.coverage
                covered = one.coverage[levels.index(LEVEL)]
                numbers[f"{prefix}coverage_{LEVEL:g}/{method}"] = covered
                numbers[f"{prefix}crps/{method}"] = one.crps
                numbers[f"{prefix}frames"] = one.frames
    lines = {method: columns[method] for method in target.model.imputation_methods}
    return Report(
        numbers,
        ["level", *columns],
        [[level, *(line[i] for line in columns.values())] for i, level in enumerate(levels)],
        charts.curves(
            levels,
            lines | {"ideal": levels},
            x_label="level of the interval",
            y_label="true encodings inside",
        ),
    )


def _beside_bounces(target):
    """Frames near bounces and far from them, ``[N, T]`` each, where bounces are known."""
    states = target.splits.test.states
    if target.dataset not in bouncing_ball.SCENES or states is None:
        return {}
    near = bounces.steps_to_bounce(target.dataset, states) <= NEAR_STEPS
    return {"near_bounce": near, "far_from_bounce": ~near}


def quality(target: EvaluationTarget, num_samples: int = 64) -> Report:
    """Bound and importance-weighted bound, and what ``coverage`` says."""
    need(target, FIRST_SEEN + 1, "impute")
    model, test = target.model, target.splits.test
    numbers = evaluation.bound(model, test)
    if model.elbo_is_log_weight:
        numbers[f"test/importance_bound_{num_samples}_per_frame"] = evaluation.importance_bound(
            model, test, num_samples
        )
    report = coverage(target)
    return report._replace(numbers=numbers | report.numbers)


def _curve_report(target, curve, fit, x_label, reported):
    lines = {name: measures["incorrect_pixels"] for name, measures in curve.errors.items()}
    spreads = {
        name: measures["incorrect_pixels"] for name, measures in curve.standard_errors.items()
    }
    rows = [
        [x, method, measure, value, curve.standard_errors[method][measure][i]]
        for method, measures in curve.errors.items()
        for measure, values in measures.items()
        for i, (x, value) in enumerate(zip(curve.x, values, strict=True))
    ]
    comparable = target.dataset == "box" and len(curve.x) == len(reported["smooth"])
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
