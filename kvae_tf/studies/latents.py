"""Studies of latent states: the DVBF paper's tables and figures."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kvae_tf import evaluation
from kvae_tf.data.worlds import pendulum
from kvae_tf.errors import UserError
from kvae_tf.evaluation.masked_batches import masked_batches
from kvae_tf.studies.long_filtering import filtered
from kvae_tf.studies.report import EvaluationTarget, Report, need
from kvae_tf.visualisation import charts, images

WALK_STEPS, STRIP_STEPS = 100, 45
CONTROL_STEPS = 20
SHOWN = 3000  # points of a scatter plot


def regression(target: EvaluationTarget) -> Report:
    """Least squares of the true states on latent samples, table 1, figures 3 and 5."""
    need(target, 2, "filter")
    test = target.splits.test
    fitted = evaluation.regression(target.model, target.splits.train, test)
    if fitted is None:
        raise UserError(f"{target.dataset} has no true states, which the experiment needs")
    first = evaluation.first_step(target.model)
    z = evaluation.latent_samples(target.model, test)[:, first:]
    shown = z.reshape(-1, z.shape[-1])[:SHOWN]
    truth = {
        name: x[:, first:].reshape(-1)[:SHOWN] for name, x in evaluation.quantities(test).items()
    }
    colours = dict(truth)
    if {"x", "y"} <= set(truth):
        cells = [
            np.digitize(truth[name], np.linspace(truth[name].min(), truth[name].max(), 4)[1:3])
            for name in ("x", "y")
        ]
        colours = {"checkerboard of x, y": (cells[0] + cells[1]) % 2} | colours
    plane, names = _plane(shown, fitted)
    columns = zip(fitted.names, fitted.r_squared, fitted.log_likelihood, strict=True)
    rows = [[name, float(r), float(score)] for name, r, score in columns]
    return Report(
        {
            "r_squared": {name: r for name, r, _ in rows},
            "log_likelihood": {name: score for name, _, score in rows},
            "plane": names,
        },
        ["quantity", "r_squared", "log_likelihood"],
        rows,
        charts.scatter(plane, colours),
    )


def walk(target: EvaluationTarget) -> Report:
    """Long walks after a context as long as a training sequence, figures 4, 6 and 7.

    "forecast" goes on from the context with the true controls, "filtered" sees every frame: how
    much of the true states an affine map reads off at each step, and of a pendulum also the energy.
    """
    need(target, 2, "filter", "impute", "forecast")
    context = target.splits.train.num_steps
    steps = max(WALK_STEPS, context + STRIP_STEPS)
    long = target.long_test(steps)
    if long is None:
        raise UserError(f"{target.dataset} has no longer sequences, which the experiment needs")
    fitted = evaluation.regression(target.model, target.splits.train, target.splits.test)
    if fitted is None:
        raise UserError(f"{target.dataset} has no true states, which the experiment needs")
    # Before that step nothing is filtered in the strict sense.
    first = target.model.filter_warmup
    latents = _walks(target.model, long, context)
    states = {name: fitted.fit(z[:, first:]) for name, z in latents.items()}
    truth = np.stack(list(evaluation.quantities(long).values()), -1)[:, first:]
    r_squared = {name: _r_squared(x, truth) for name, x in states.items()}
    at = min(STRIP_STEPS, steps) - 1 - first
    numbers = {
        "context": context,
        "step": at + first + 1,
        "r_squared": {
            name: dict(zip(fitted.names, values[at].tolist(), strict=True))
            for name, values in r_squared.items()
        },
    }
    x = list(range(first + 1, steps + 1))
    lines = {
        f"{name}, {quantity}": np.maximum(values[:, i], -0.2).tolist()
        for name, values in r_squared.items()
        for i, quantity in enumerate(fitted.names)
    }
    pictures = [_strip(target, long, context)]
    pictures.append(charts.curves(x, lines, x_label="step", y_label="R²", from_zero=False))
    if fitted.names == ("sin", "cos", "velocity"):
        numbers |= _pendulum_numbers(states, truth, at)
        pictures += _pendulum_charts(states, truth, x)
    rows = [
        [name, step, quantity, float(values[step - 1 - first, i])]
        for name, values in r_squared.items()
        for step in x
        for i, quantity in enumerate(fitted.names)
    ]
    header = ["walk", "step", "quantity", "r_squared"]
    return Report(numbers, header, rows, charts.stack(pictures))


def _walks(model, long, context):
    """Latent states ``[N, T, n]``: "forecast" after the context, and "filtered" throughout."""
    steps = long.num_steps
    forecast = tf.function(
        lambda frames, controls: (
            model.forecast(frames, None, controls, num_steps=steps - context).latents
        ),
        autograph=False,
    )
    ahead = []
    for batch, rows in masked_batches(long, long.observed):
        states = forecast(batch["frames"][:, :context], batch["controls"]).numpy()
        ahead.append(states[: rows.stop - rows.start])
    followed = filtered(model, long)
    return {
        "forecast": np.concatenate([followed[:, :context], np.concatenate(ahead)], axis=1),
        "filtered": followed,
    }


def _pendulum_numbers(states, truth, at):
    """R² of the angle at one step, and how far energies are from the true one.

    Sine and cosine of one angle lie on the circle; an affine map's values need not.
    """
    energies = _mean_energies(states, truth)
    return {
        "r_squared_of_angle": {
            name: dict(
                zip(
                    ("sin", "cos"),
                    _r_squared(_on_circle(x), truth[..., :2])[at].tolist(),
                    strict=True,
                )
            )
            for name, x in states.items()
        },
        "energy_rmse": {
            name: float(np.sqrt(np.mean(np.square(energies[name] - energies["true"]))))
            for name in states
        },
        "energy_range": float(np.ptp(energies["true"])),
    }


def _pendulum_charts(states, truth, x):
    """Charts of the mean energy, and of the angle of the first sequence."""
    energies = {name: e.tolist() for name, e in _mean_energies(states, truth).items()}
    angles = {
        name: np.unwrap(np.arctan2(s[0, :, 0], s[0, :, 1])).tolist()
        for name, s in ({"true": truth} | states).items()
    }
    return [
        charts.curves(x, lines, x_label="step", y_label=label, from_zero=False)
        for lines, label in (
            (energies, "mean energy, J"),
            (angles, "angle of the first sequence, rad"),
        )
    ]


def _mean_energies(states, truth):
    """Name -> ``[T]`` joules, the mean over sequences; "true" is that of the truth."""
    return {name: _energy(s).mean(0) for name, s in ({"true": truth} | states).items()}


def controls(target: EvaluationTarget) -> Report:
    """Forecasts with the true controls, with none, and with each one a step late."""
    need(target, 2, "forecast")
    model, context = target.model, target.splits.train.num_steps
    long = target.long_test(context + CONTROL_STEPS)
    if long is None or not long.control_size:
        raise UserError(f"{target.dataset} has no long sequences with controls, as are needed")
    forecast = tf.function(
        lambda frames, controls: (
            model.forecast(frames, None, controls, num_steps=CONTROL_STEPS).frames
        ),
        autograph=False,
    )
    errors = {"true": [], "zero": [], "one step late": []}
    for batch, rows in masked_batches(long, long.observed):
        seen, given = batch["frames"][:, :context], batch["controls"]
        late = np.concatenate([np.zeros_like(given[:, :1]), given[:, :-1]], axis=1)
        # Until the last frame seen, controls are the true ones for all.
        past = np.arange(given.shape[1])[:, np.newaxis] < context - 1
        for name, changed in zip(errors, (given, np.zeros_like(given), late), strict=True):
            guess = forecast(seen, np.where(past, given, changed)).numpy()
            squared = np.square(guess - batch["frames"][:, context:]).mean((2, 3, 4))
            errors[name].append(squared[: rows.stop - rows.start])
    lines = {
        name: np.sqrt(np.concatenate(errors_of).mean(0)).tolist()
        for name, errors_of in errors.items()
    }
    steps = list(range(1, CONTROL_STEPS + 1))
    return Report(
        {"context": context, "pixel_rmse": lines},
        ["controls", "step", "pixel_rmse"],
        [[name, t, line[t - 1]] for name, line in lines.items() for t in steps],
        charts.curves(
            steps, lines, x_label=f"steps after {context} seen frames", y_label="RMSE of a pixel"
        ),
    )


def _plane(z, fitted):
    """The plane of the latent space on which positions, or the first two quantities, lie best."""
    names = [name for name in ("x", "y") if name in fitted.names] or list(fitted.names[:2])
    directions = fitted.fit.matrix[:, [fitted.names.index(name) for name in names]]
    if directions.shape[1] < 2 or z.shape[1] < 2:
        directions = np.eye(z.shape[1])[:, :2]
    basis, _ = np.linalg.qr(directions)
    return (z - z.mean(0)) @ basis[:, :2], names


def _strip(target, long, context):
    """Truth, filtered and forecast frames of the first sequence, to ``STRIP_STEPS``."""
    model, first = target.model, long.select(slice(0, 1))
    frames, num_steps = first.unit_frames[:, :STRIP_STEPS], min(STRIP_STEPS, long.num_steps)
    acting = first.controls[:, :num_steps]
    filtered = model.impute(frames, None, acting, method="filter").frames.numpy()
    ahead = model.forecast(
        frames[:, :context], None, acting, num_steps=num_steps - context
    ).frames.numpy()
    rows = [frames[0], filtered[0], np.concatenate([filtered[0, :context], ahead[0]])]
    return images.film_strip(
        rows,
        labels=["data", "filtered", "forecast"],
        observed=(np.arange(num_steps) < context).astype(np.float32),
        scale=2,
    )


def _r_squared(states, truth):
    """``[T, S]``: of each step among all sequences, of states ``[N, T, S]``."""
    return 1.0 - np.mean(np.square(states - truth), axis=0) / truth.var(axis=0)


def _on_circle(states):
    """Sine and cosine of the angle that a pendulum's states point at."""
    return states[..., :2] / np.linalg.norm(states[..., :2], axis=-1, keepdims=True)


def _energy(states):
    """Of a pendulum, from sine, cosine and velocity: ½ m l² φ'² + m g l cos φ, in joules."""
    potential = pendulum.MASS * pendulum.GRAVITY * pendulum.LENGTH * states[..., 1]
    return 0.5 * pendulum.MASS * pendulum.LENGTH**2 * np.square(states[..., 2]) + potential
