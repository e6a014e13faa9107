"""Studies of several objects: figures 3, 6, 8 and 9 of Chiappa and Paquet."""

from __future__ import annotations

import numpy as np

from kvae_tf import evaluation
from kvae_tf.data import gap
from kvae_tf.errors import UserError
from kvae_tf.evaluation.continuations import FIRST, LAST
from kvae_tf.studies.report import EvaluationTarget, Report, need
from kvae_tf.visualisation import charts, images

SHOWN = 8  # sequences in pictures


def objects(target: EvaluationTarget) -> Report:
    """Positions as inferred, generated and interpolated, beside the true ones; figures 3, 8, 9."""
    need(target, FIRST + LAST + 1, "smooth", "impute", "forecast")
    model, test = target.model, _counted(target)
    if not model.max_objects:
        raise UserError("the model knows no objects, which the experiment needs")
    errors = evaluation.object_errors(model, test, target.splits.train)
    fit = evaluation.fit_objects(model, target.splits.train)
    shown = _shown(test)
    truth, counts = evaluation.true_positions(shown), shown.num_objects
    inferred = fit(evaluation.latent_positions(model, shown))
    orders = evaluation.best_orders(inferred, truth, counts)
    paths = {"true": truth, "inferred": evaluation.in_order(inferred, orders)}
    for name, (mask, method) in _ways(shown.num_steps).items():
        filled = model.impute(
            shown.unit_frames, np.repeat(mask, len(shown), axis=0), method=method,
            num_objects=shown.num_objects,
        )  # fmt: skip
        positions = fit(evaluation.positions_of(model, filled.latents.numpy()))
        paths[name] = evaluation.in_order(positions, orders)
    # What a filter thinks before the last frame seen is no part of what it generates.
    begins = {"generated": FIRST - 1}
    panels = [
        {
            name: [path[n, begins.get(name, 0) :, i] for i in range(counts[n])]
            for name, path in paths.items()
        }
        for n in range(len(shown))
    ]
    rows = [
        [n, t, i, name, *map(float, path[n, t, i])]
        for name, path in paths.items()
        for n in range(len(shown))
        for i in range(counts[n])
        for t in range(shown.num_steps)
    ]
    header = ["sequence", "step", "object", "path", "column", "row_from_below"]
    return Report(errors._asdict(), header, rows, charts.paths(panels))


def continuations(target: EvaluationTarget) -> Report:
    """Frames that follow the first five, or lie between five and five: figure 6, and errors."""
    need(target, FIRST + LAST + 1, "impute")
    model, test = target.model, _counted(target)
    continued = {"generated": evaluation.generation(model, test)}
    if "smooth" in model.imputation_methods:
        continued["interpolated"] = evaluation.interpolation(model, test)
    shown = _shown(test)
    films = {"true": shown.unit_frames}
    for name in continued:
        mask, method = _ways(shown.num_steps)[name]
        filled = model.impute(
            films["true"], np.repeat(mask, len(shown), axis=0), shown.controls, method=method,
            num_objects=shown.num_objects,
        ).frames.numpy()  # fmt: skip
        seen = mask[..., np.newaxis, np.newaxis, np.newaxis] > 0
        films[name] = np.where(seen, films["true"], filled)
    pictures = [
        images.grid([images.overlay(sequence) for sequence in film], columns=SHOWN)
        for film in films.values()
    ]
    measures = ("nats", "incorrect_pixels", "position_error")
    frames = continued["generated"].frames
    for measure in measures:
        lines = {}
        for name, errors in continued.items():
            values = dict(zip(errors.frames, getattr(errors, measure), strict=True))
            lines[name] = [values.get(t, np.nan) for t in frames]
        label = measure.replace("_", " ")
        pictures.append(charts.curves(frames, lines, x_label="frame", y_label=label))
    rows = [
        [name, t, *values]
        for name, errors in continued.items()
        for t, *values in zip(errors.frames, *(getattr(errors, m) for m in measures), strict=True)
    ]
    # One under another: a sequence is a column, as in the pictures.
    side_by_side = np.concatenate(list(films.values()), axis=0)
    return Report(
        {name: errors._asdict() for name, errors in continued.items()},
        ["frames", "step", *measures],
        rows,
        charts.stack(pictures),
        images.grid_gif(side_by_side, columns=len(shown)),
    )


def _counted(target):
    """The test part, if it says how many objects there are and where."""
    if evaluation.true_positions(target.splits.test) is None:
        raise UserError(
            f"{target.dataset} does not say where several objects are, which the experiment needs"
        )
    return target.splits.test


def _shown(test):
    """A few sequences, those with the most objects before the others."""
    order = np.argsort(-test.num_objects, kind="stable")
    most = order[: 3 * SHOWN // 4]
    return test.select(np.concatenate([most, order[::-1][: SHOWN - len(most)]]))


def _ways(num_steps):
    """Name -> what is seen ``[1, T]`` and the method."""
    return {
        "generated": (gap(1, num_steps, FIRST, num_steps), "filter"),
        "interpolated": (gap(1, num_steps, FIRST, num_steps - LAST), "smooth"),
    }
