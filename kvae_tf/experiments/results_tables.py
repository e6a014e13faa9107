"""The results tables of README.md and docs/, made from the files under ``saved_models``.

A table stands between ``<!-- table NAME -->`` and ``<!-- /table -->``; each name has a function
below, which reads metrics files and gives Markdown. No number is written by hand. The least errors
are those that the package brings, see ``kvae_tf.studies.bayes_floor``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.models import registry
from kvae_tf.studies import bayes_floor, paper_values

WORLDS = ("box", "gravity", "polygon", "pong")
_TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def update(readme: Path, saved_models: Path) -> None:
    """Replaces every table of the README, and of the pages in ``docs`` beside it.

    All pages are made before the first one is written.

    Args:
      readme: the Markdown file with the markers. Pages without markers stay as they are.
      saved_models: the folder of exports with their metrics.

    Raises:
      UserError: a file is missing, no JSON or of another form, the README has no markers, or a page
        has an unknown one.
    """
    pages = {}
    for page in (readme, *sorted((readme.parent / "docs").rglob("*.md"))):
        try:
            text = page.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot read {page}: {error.strerror}") from None
        names = [match[1] for match in _TABLE.findall(text)]
        unknown = sorted(set(names) - set(TABLES))
        if unknown or (page == readme and not names):
            raise UserError(
                f"{page} has the tables {', '.join(names) or 'none'}; expected some of "
                f"{', '.join(TABLES)}"
            )
        if names:
            pages[page] = _TABLE.sub(lambda m: f"{m[1]}{_made(m[2], saved_models)}\n{m[3]}", text)
    for page, text in pages.items():
        storage.write_text(page, text)


def _made(name, saved_models):
    """A table by its name."""
    try:
        return TABLES[name](saved_models)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{saved_models}: table {name} cannot be made ({error!r}), expected the files that "
            "evaluations and comparisons of runs write"
        ) from None


def summary(saved_models: Path) -> str:
    """One line a result, for the README."""
    box = _state_runs(saved_models, "box")
    bounds = _pendulum_runs(saved_models)
    balls = [
        metrics["position_r2/2"]
        for name, _, metrics in _cannonball_runs(saved_models)
        if name == "Cannonball"
    ]
    rows = [
        (
            "KVAE",
            f"ball in a box, {label}: incorrect pixels of hidden frames",
            _spread([run[key][index] for run in box], 4),
            f"{reported[index]:.4f}",
        )
        for key, index, label, reported in (
            ("missing_at_random/smooth", 4, "half of the frames hidden",
             paper_values.MISSING_AT_RANDOM["smooth"]),
            ("gap/smooth", -1, "15 of 20 frames hidden", paper_values.GAP["smooth"]),
        )
    ]  # fmt: skip
    velocity = "pendulum: R² of the velocity, read off the latent states"
    rows += [
        (
            name.partition(",")[0],
            velocity,
            _spread([run["metrics"]["r2/velocity"] for run in bounds[name]], 3),
            f"{paper_values.PENDULUM_R_SQUARED[name][2]:.3f}"
            if name in paper_values.PENDULUM_R_SQUARED
            else "",
        )
        for name in ("KVAE, mlp", "DVBF, mlp")
    ]
    rows.append(("Cannonball", "two balls: R² of their positions", _spread(balls, 3), ""))
    return _markdown(("model", "what", "here", "*paper*"), rows)


def coverage(saved_models: Path) -> str:
    """How often the 90 % interval of a hidden frame's encoding holds that frame's encoding."""
    rows = []
    for path in sorted(saved_models.glob("*/evaluation/coverage.json")):
        for key, value in _read(path).items():
            group, _, method = key.partition("/")
            if group == "coverage_0.9":
                rows.append((path.parts[-3], _METHODS.get(method, method), f"{value:.3f}"))
    return _markdown(("export", "method", "inside the 90 % interval"), rows)


def calibration(saved_models: Path) -> str:
    """Coverage near bounces and far from them, and CRPS, by how frames were hidden."""
    rows = []
    for path in sorted(saved_models.glob("*/evaluation/coverage.json")):
        found = _read(path)
        for hidden, label in (("random", "half, at random"), ("gap", "40 %, in a row")):
            near, far = (f"{hidden}/{part}_bounce/coverage_0.9/" for part in ("near", "far_from"))
            scores = "crps/" if hidden == "random" else f"{hidden}/all/crps/"
            for method, name in _METHODS.items():
                if near + method in found:
                    covered = (f"{found[part + method]:.3f}" for part in (near, far))
                    score = f"{_mean(found[scores + method]):.4f}"
                    rows.append((path.parts[-3], label, name, *covered, score))
    return _markdown(("export", "hidden", "method", "near a bounce", "elsewhere", "CRPS"), rows)


def filling(saved_models: Path) -> str:
    """Missing entries of public tables: errors and coverage of this package and of others."""
    rows = []
    for name, found in _read(saved_models / "tables" / "filling.json").items():
        shape = " x ".join(map(str, found["shape"]))
        for pattern, methods in found.items():
            if pattern == "shape":
                continue
            cells = [_filled(methods[method]) for method in _FILLING]
            rows.append((f"{name} ({shape})", pattern, *cells))
    return _markdown(("table", "hidden", *_FILLING.values()), rows)


def _filled(found):
    """Error and coverage of a method, mean and standard deviation over seeds."""
    error = f"{_mean(found['rmse']):.3f} ± {_sd(found['rmse']):.3f}"
    known = [value for value in found["coverage"] if value is not None]
    return f"{error} ({_mean(known):.2f})" if known else error


def foreign(saved_models: Path) -> str:
    """Worlds that no config knows, trained with the recipe alone."""
    rows = []
    for name, found in _read(saved_models / "tables" / "foreign.json").items():
        errors = ("reconstruction", "smoothing", "filtering", "last_frame")
        rows.append((
            f"{name}, kept out" if found["kept_out"] else name,
            f"`{found['verdict']}`",
            *(f"{found[error]:.2f}" for error in errors),
            f"{found['to_last_frame']:.2f}",
            found["sequences"],
            f"{found['cpu_minutes']:.0f}",
        ))  # fmt: skip
    header = ("world", "verdict", "seen frames", "smoothing", "filtering", "last frame",
              "smoothing / last frame", "test sequences", "CPU minutes")  # fmt: skip
    return _markdown(header, rows)


def planning(saved_models: Path) -> str:
    """Simulated worlds under control: by chance, by the true simulator's plans, by a model's."""
    rows = []
    for task, policies in _read(saved_models / "tables" / "planning.json").items():
        for found in policies.values():
            rows.append((
                task,
                _POLICIES[found["policy"]],
                f"`{found['model']}`" if found["model"] else "",
                found["horizon"] or "",
                f"{found['successes']} of {found['episodes']}",
                f"{found['return']:.2f} ± {found['return_std']:.2f}",
                f"{found['cpu_seconds']:.0f}",
            ))  # fmt: skip
    return _markdown(
        ("task", "actions", "model", "horizon", "successes", "return", "CPU seconds"), rows
    )


def engine_against(saved_models: Path) -> str:
    """Times of the engine and of other libraries, and the processor that made them."""
    found = _read(saved_models / "tables" / "engine_against.json")
    timed = {}
    for row in found["rows"]:
        timed.setdefault((row["size"], row["task"]), []).append(row)
    own_paths = _unique(row["path"] for row in found["rows"] if row["library"] == _OWN)
    others = _unique(row["library"] for row in found["rows"] if row["library"] != _OWN)
    rows = []
    for (size, task), calls in timed.items():
        own = {row["path"]: row["minimum_ms"] for row in calls if row["library"] == _OWN}
        cells = [f"{own[path]:.2f}" for path in own_paths]
        for library in others:
            times = [row["minimum_ms"] for row in calls if row["library"] == library]
            cells.append(f"{min(times):.2f} ({min(times) / own[_FASTEST]:.1f})" if times else "")
        rows.append((size.replace("x", " x "), task, *cells))
    ratios = [row["median_ms"] / row["minimum_ms"] for row in found["rows"]]
    counts = [row["calls"] for row in found["rows"]]
    header = ("B x T", "task", *(f"{_OWN}, {path}" for path in own_paths), *others)
    return (
        f"{_markdown(header, rows)}\n\n"
        f'Made on one core of a processor that calls itself "{found["processor"]}", with '
        f"{min(counts)} to {max(counts)} calls each. The median of the calls is "
        f"{min(ratios):.2f} to {max(ratios):.2f} times their minimum, {_median(ratios):.2f} times "
        "in the middle."
    )


def engine_libraries(saved_models: Path) -> str:
    """The libraries that the engine is timed beside: versions, ways to call them, errors."""
    found = _read(saved_models / "tables" / "engine_against.json")
    rows = []
    for library in _unique(row["library"] for row in found["rows"]):
        own = [row for row in found["rows"] if row["library"] == library]
        for path in _unique(row["path"] for row in own):
            calls = [row for row in own if row["path"] == path]
            errors = (
                _largest([row["error"] for row in calls if row["task"] == task])
                for task in ("forward", "gradients")
            )
            compiling = max(row["first_call_s"] for row in calls)
            rows.append((library, path, *errors, f"{compiling:.1f}"))
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    header = ("library", "called as", "error, forward", "error, gradients", "first call, s")
    return f"{_markdown(header, rows)}\n\nVersions: {versions}."


def irregular(saved_models: Path) -> str:
    """Frames at irregular times: a model in continuous time beside discrete ones."""
    rows = []
    for (path, model), found in _by_seed(saved_models):
        if path == _FORECAST:
            continue
        errors = (
            _spread([one[key] for one in found], 4) if key in found[0] else ""
            for key in ("hidden", "between")
        )
        grid, _, parts = path.partition("x")
        times = f"20 of {grid}" + (", off the grid" if parts else "")
        rows.append((times, _TIMES[model], len(found), *errors))
    return _markdown(("frames", "model", "seeds", "hidden", "never shown"), rows)


def irregular_forecasts(saved_models: Path) -> str:
    """Forecasts where a fifth of the frames is missing, in continuous and in discrete time."""
    rows = []
    for (path, model), found in _by_seed(saved_models):
        if path == _FORECAST:
            frames = list(zip(*(one["wasserstein_by_frame"] for one in found), strict=True))
            rows.append((
                _TIMES[model],
                len(found),
                _spread([one["wasserstein"] for one in found], 2),
                *(_spread(frames[ahead - 1], 2) for ahead in _AHEAD),
            ))  # fmt: skip
    header = ("model", "seeds", "all 40", *(f"frame {ahead}" for ahead in _AHEAD))
    return _markdown(header, rows)


def _by_seed(saved_models):
    """Pairs of (frames, model) and the numbers of all seeds, of ``irregular.json``."""
    found = {}
    for name, numbers in sorted(_read(saved_models / "tables" / "irregular.json").items()):
        path, _, model = name.split("/")
        found.setdefault((path, model), []).append(numbers)
    return found.items()


def quality(saved_models: Path) -> str:
    """Seconds from a fresh process until a model is good, by seed."""
    found = json.loads((saved_models / "tables" / "quality.json").read_text(encoding="utf-8"))
    seeds = _unique(row["seed"] for row in found)
    rows = {}
    for row in found:
        seconds = "not reached" if row["seconds"] is None else f"{row['seconds']:.0f}"
        rows.setdefault((row["config"], row["goal"]), {})[row["seed"]] = seconds
    cells = ((f"`{config}`", goal, *(of.get(seed, "") for seed in seeds))
             for (config, goal), of in rows.items())  # fmt: skip
    return _markdown(("config", "goal", *(f"seed {seed}, s" for seed in seeds)), cells)


def device(saved_models: Path) -> str:
    """What a graphics processor computes, compared with the CPU."""
    found = _read(saved_models / "tables" / "device_h100.json")
    rows = [
        (row["name"], f"{row['milliseconds']:.1f}", f"{row['error']:.0e}",
         f"{row['tolerance']:g}", "yes" if row["ok"] else "**no**")
        for row in found["rows"]
    ]  # fmt: skip
    return _markdown(("what", "ms", "error", "at most", "right"), rows)


def _largest(errors):
    """The largest number of several calls' errors by output, as text."""
    values = [value for call in errors for value in call.values()]
    if not values:
        return "no gradients"
    return "not finite" if None in values else f"{max(values):.0e}"


def anomalies(saved_models: Path) -> str:
    """How well scores tell sequences and frames with an anomaly from those without."""
    rows = []
    for path in sorted(saved_models.glob("*/evaluation/anomalies.json")):
        found = _read(path)
        score = f"`{found['score']}`, {found['window']} frames"
        for kind, measures in found["kinds"].items():
            rows.append((found["world"], score, kind, *(f"{x:.3f}" for x in measures.values())))
        rows.append((found["world"], score, "none", "", "", "", f"{found['false_alarms']:.3f}"))
    header = ("world", "score", "anomaly", "sequences", "first frames", "frames", "flagged")
    return _markdown(header, rows)


def false_alarms(saved_models: Path) -> str:
    """Flagged frames of films in which nothing is wrong, by their distance from the start."""
    rows = []
    for path in sorted(saved_models.glob("*/evaluation/anomalies.json")):
        found = _read(path)
        shares = found["false_alarms_of_long_films"]
        rows.append((found["world"], *(f"{share:.3f}" for share in shares)))
    return _markdown(("world", "frames 4-23", "24-43", "44-63", "64-83", "84-103"), rows)


def pendulum(saved_models: Path) -> str:
    """All metrics of the pendulum, but for lists."""
    metrics = _read(saved_models / "pendulum" / "metrics.json")
    rows = [
        (name, f"{value:.4f}" if isinstance(value, float) else value)
        for name, value in metrics.items()
        if not isinstance(value, list)
    ]
    return _markdown(("metric", "value"), rows)


def missing_at_random(saved_models: Path) -> str:
    """Box: the fraction of incorrect pixels at each rate of missing frames."""
    rates = [f"{x:g}" for x in _read(saved_models / "box" / "metrics.json")[
        "missing_at_random/rates"]]  # fmt: skip
    return _box_table(saved_models, "missing_at_random", "p", rates, paper_values.MISSING_AT_RANDOM)


def gap(saved_models: Path) -> str:
    """Box: the fraction of incorrect pixels for each length of a gap."""
    lengths = _read(saved_models / "box" / "metrics.json")["gap/frames"]
    return _box_table(saved_models, "gap", "frames", lengths, paper_values.GAP)


def box_bounds(saved_models: Path) -> str:
    """Box: the bound of each model that has one, and its parts, in nats a frame."""
    rows = []
    for name, metrics in _models_of(saved_models / "box"):
        if "test/elbo_per_frame" in metrics:
            cells = (
                f"{metrics[f'test/{term}_per_frame']:.2f}"
                for term in ("elbo", "reconstruction", "regularisation")
            )
            rows.append((name, *cells))
    return _markdown(("model", "bound", "reconstruction", "- KL"), rows)


def box_baselines(saved_models: Path) -> str:
    """Box: AE-RNN and VAE-RNN by frames hidden in training and number of updates."""
    rows = []
    for name in ("baselines", "baselines_long"):
        for title, _, metrics, flags in _runs_with_flags(saved_models / "box" / f"{name}.json"):
            if flags["model"] != "kvae":
                random, gaps = metrics["missing_at_random/filter"], metrics["gap/filter"]
                rows.append((
                    title,
                    "yes" if flags["missing_rate"] else "no",
                    f"{metrics['train/updates']:,}",
                    *(f"{value:.4f}" for value in (random[0], random[4], gaps[-1])),
                ))  # fmt: skip
    header = ("model", "frames hidden in training", "updates", "p = 0.1", "p = 0.5", "gap of 15")
    return _markdown(header, rows)


def worlds(saved_models: Path) -> str:
    """All bouncing worlds at p = 0.5 and at a gap of 15 frames."""
    rows = []
    for world in WORLDS:
        for name, metrics in _models_of(saved_models / world):
            for method in ("smooth", "filter"):
                if f"gap/{method}" in metrics:
                    half = metrics[f"missing_at_random/{method}"][4]
                    longest = metrics[f"gap/{method}"][-1]
                    model = f"{name}, {_METHODS[method]}" if name.startswith("KVAE") else name
                    rows.append((world, model, f"{half:.4f}", f"{longest:.4f}"))
    return _markdown(("world", "model", "p = 0.5", "gap of 15"), rows)


def floor(saved_models: Path) -> str:
    """Errors of the KVAE beside the least ones, in the worlds where these are known."""
    rows = []
    for world in WORLDS:
        metrics = _read(saved_models / world / "metrics.json")
        runs = _state_runs(saved_models, world)
        for group, (key, label, chosen) in _HIDDEN.items():
            x = metrics[f"{group}/{key}"]
            least, errors, known_modes = (
                of(world, group, x)
                for of in (bayes_floor.floor, bayes_floor.floor_errors, bayes_floor.known_modes)
            )
            for method in least:
                for i, at in enumerate(x):
                    if not any(math.isclose(at, value) for value in chosen):
                        continue
                    own, best = metrics[f"{group}/{method}"][i], least[method][i]
                    state = _mean([run[f"{group}/{method}"][i] for run in runs]) if runs else None
                    rows.append((
                        world,
                        label.format(at),
                        _METHODS[method],
                        f"{best:.5f} ± {errors[method][i]:.5f}",
                        f"{known_modes[method][i]:.5f}" if method == "smooth" else "",
                        f"{own:.4f} ({own / best:.1f})",
                        f"{state:.4f} ({state / best:.1f})" if runs else "",
                    ))  # fmt: skip
    header = ("world", "hidden", "method", "least possible", "linear, modes known",
              "KVAE, modes of encodings", "modes of the state")  # fmt: skip
    return _markdown(header, rows)


def seeds(saved_models: Path) -> str:
    """Box, several seeds."""
    found = _read(saved_models / "box" / "seeds.json")
    rows = []
    for key, index, label in _POINTS:
        values = [run["metrics"][key][index] for run in found["runs"]]
        rows.append(
            (
                label,
                f"{found['mean'][key][index]:.4f} ± {found['sd'][key][index]:.4f}",
                ", ".join(f"{value:.4f}" for value in values),
            )
        )
    failed = sum(run["metrics"]["missing_at_random/smooth"][4] > 0.012 for run in found["runs"])
    rows.append(("seeds that failed to learn", f"{failed} of {len(found['runs'])}", ""))
    return _markdown(("error", "mean ± sd", "seeds"), rows)


def state_weights(saved_models: Path) -> str:
    """Bouncing worlds with modes of the filtered state, beside those of all encodings so far."""
    measures = [
        *(("missing_at_random/smooth", i) for i in (0, 4)),
        ("gap/smooth", -1),
        ("missing_at_random/filter", 4),
        ("gap/filter", -1),
    ]
    rows = []
    for world in WORLDS:
        runs = _state_runs(saved_models, world)
        if not runs:
            continue
        metrics = _read(saved_models / world / "metrics.json")
        cells = (f"{metrics[key][index]:.4f}" for key, index in measures)
        rows.append((world, "encodings", *cells, f"{metrics['test/elbo_per_frame']:.2f}"))
        found = [([run[key][index] for run in runs], 4) for key, index in measures]
        found.append(([run["test/elbo_per_frame"] for run in runs], 2))
        cells = (_spread(*x) if len(runs) > 1 else f"{x[0][0]:.{x[1]}f}" for x in found)
        rows.append((world, f"filtered state, seeds: {len(runs)}", *cells))
    header = ("world", "modes weighted by", "smoothing, p = 0.1", "p = 0.5", "gap of 15",
              "filtering, p = 0.5", "gap of 15", "bound")  # fmt: skip
    return _markdown(header, rows)


def missing_training(saved_models: Path) -> str:
    """Box, trained with frames missing."""
    found = _read(saved_models / "box" / "missing.json")
    rows = [
        (
            f"{100 * run['flags']['missing_rate']:.0f} %",
            run["metrics"]["train/updates"],
            *(f"{run['metrics'][key][index]:.4f}" for key, index, _ in _POINTS),
        )
        for run in found["runs"]
    ]
    return _markdown(("missing in training", "updates", *(label for *_, label in _POINTS)), rows)


def networks(saved_models: Path) -> str:
    """Box at a reduced size, with each dynamics parameter network."""
    found = _read(saved_models / "box" / "networks.json")
    kinds = {}
    for run in found["runs"]:
        kinds.setdefault(run["flags"]["dynamics_network"], []).append(run["metrics"])
    rows = []
    for kind, runs in kinds.items():
        cells = []
        for key, index, _ in _POINTS:
            values = [run[key][index] for run in runs]
            cells.append(f"{_mean(values):.4f} ± {_sd(values):.4f}")
        rows.append((kind, len(runs), *cells))
    return _markdown(("network", "seeds", *(label for *_, label in _POINTS)), rows)


def pendulum_bounds(saved_models: Path) -> str:
    """Pendulum: the bounds of all models, their parts, and the training time."""
    rows = []
    for name, runs in _pendulum_runs(saved_models).items():
        cells = [
            _spread([run["metrics"].get(f"test/{term}_per_frame", 0.0) for run in runs], 2)
            for term in ("elbo", "reconstruction", "regularisation", "parameters")
        ]
        times = [run["seconds"] / 60.0 for run in runs if "seconds" in run]
        minutes = f"{_mean(times):.1f}" if times else ""
        rows.append((name, len(runs), *cells, minutes, paper_values.PENDULUM_BOUNDS.get(name, "")))
    return _markdown(
        ("model", "seeds", "bound", "reconstruction", "- KL of states", "- KL of weights",
         "minutes", "*paper: bound*"),
        rows,
    )  # fmt: skip


def pendulum_states(saved_models: Path) -> str:
    """Pendulum: how much of the true state a straight map reads off latent samples."""
    rows = []
    for name, runs in _pendulum_runs(saved_models).items():
        cells = [
            _spread([run["metrics"][f"r2/{quantity}"] for run in runs], 3)
            for quantity in ("sin", "cos", "velocity")
        ]
        each = ", ".join(f"{run['metrics']['r2/velocity']:.2f}" for run in runs)
        reported = paper_values.PENDULUM_R_SQUARED.get(name)
        rows.append(
            (name, *cells, each, " / ".join(f"{x:.3f}" for x in reported) if reported else "")
        )
    return _markdown(
        ("model", "sin φ", "cos φ", "velocity", "velocity, each seed", "*paper*"), rows
    )


def walks(saved_models: Path) -> str:
    """R² of the true state on the latents, some steps after the frames that were seen."""
    rows = []
    for folder in (
        "pendulum", "dvbf_pendulum", "dvbf_pendulum_long", "dvbf_ball", "dvbf_two_balls",
    ):  # fmt: skip
        path = saved_models / folder / "evaluation" / "walk.json"
        if path.exists():
            found = _read(path)
            ahead = found["step"] - found["context"]
            for way, values in found["r_squared"].items():
                cells = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
                rows.append((folder, way, ahead, cells))
    return _markdown(("export", "way", "steps after the 15 frames", "R²"), rows)


def long_filtering(saved_models: Path) -> str:
    """Filtered sequences of 500 frames: how many are lost, and errors of what is read off them."""
    rows = []
    for path in sorted(saved_models.glob("*/evaluation/**/long_filtering.json")):
        export, _, *seed = path.relative_to(saved_models).parts[:-1]
        found = _read(path)
        errors = [found["rmse"][str(frame)] for frame in _LONG]
        rows.append((
            export,
            *([name.removeprefix("seed_").replace("_", " ") for name in seed] or ["0"]),
            f"{found['lost']} of {found['sequences']}",
            *(_quantities(x) for x in (*errors, found["rmse_of_worst_sequence"])),
        ))  # fmt: skip
    frames = (f"frame {frame}" for frame in _LONG)
    return _markdown(("export", "seed", "lost", *frames, "worst sequence"), rows)


def _quantities(values):
    """Errors by quantity, as text; those of states that left all bounds as such."""
    if max(values.values()) > _NO_BOUND:
        return "no bound"
    return ", ".join(f"{name} {value:.2g}" for name, value in values.items())


def controls(saved_models: Path) -> str:
    """How much larger a pixel's forecast error is with wrong controls than with the true ones."""
    rows = []
    for folder in ("pendulum", "dvbf_pendulum", "dvbf_ball"):
        errors = _read(saved_models / folder / "evaluation" / "controls.json")["pixel_rmse"]
        for step in (10, 20):
            ratios = (
                f"{errors[kind][step - 1] / errors['true'][step - 1]:.1f}"
                for kind in ("zero", "one step late")
            )
            rows.append((folder, step, *ratios))
    return _markdown(("export", "steps ahead", "controls zero", "controls a step late"), rows)


def ball_states(saved_models: Path) -> str:
    """The controlled ball: how much of the true state a straight map reads off the latents."""
    found = _read(saved_models / "dvbf_ball" / "evaluation" / "regression.json")["r_squared"]
    return _markdown(tuple(found), [tuple(f"{value:.3f}" for value in found.values())])


def cannonballs(saved_models: Path) -> str:
    """Cannonballs, each seed: errors of positions, identity switches and acceleration."""
    rows = []
    for name, seed, metrics in _cannonball_runs(saved_models):
        if "identity_switch_rate" in metrics:
            rows.append(
                (
                    name,
                    seed,
                    *(f"{metrics[f'position_r2/{count}']:.3f}" for count in (1, 2)),
                    f"{100 * metrics['identity_switch_rate']:.1f} %",
                    f"{metrics['acceleration/ratio']:.3f}",
                    f"{metrics['acceleration/angle_degrees']:.1f}°",
                )
            )
    best = bayes_floor.numbers("cannonballs_small")
    r_squared = (f"{best[f'position_r2/{count}']:.3f}" for count in (1, 2))
    rows.append(("*law known*", "", *(f"*{value}*" for value in r_squared), "", "", ""))
    return _markdown(
        ("model", "seed", "R², one ball", "R², two balls", "sequences with balls mixed up",
         "acceleration / true", "angle off"),
        rows,
    )  # fmt: skip


def three_balls(saved_models: Path) -> str:
    """Up to three cannonballs, each seed: positions, identity switches, counts, acceleration."""
    rows = []
    for name, seed, metrics in _runs_of_three(saved_models):
        if "identity_switch_rate" in metrics:
            rows.append((
                name,
                seed,
                *(f"{metrics[f'position_r2/{count}']:.3f}" for count in (1, 2, 3)),
                f"{100 * metrics['identity_switch_rate']:.1f} %",
                *(f"{100 * metrics[f'mix_up_rate/{count}']:.1f} %" for count in (2, 3)),
                f"{100 * metrics['count_accuracy']:.1f} %",
                f"{metrics['acceleration/ratio']:.3f}",
                f"{metrics['acceleration/angle_degrees']:.1f}°",
            ))  # fmt: skip
    best = bayes_floor.numbers("cannonballs")
    r_squared = (f"*{best[f'position_r2/{count}']:.3f}*" for count in (1, 2, 3))
    rows.append(("*law known*", "", *r_squared, *[""] * 6))
    return _markdown(
        ("model", "seed", "R², one ball", "two", "three", "identity switches",
         "mixed up, two balls", "three", "number of balls right", "acceleration / true",
         "angle off"),
        rows,
    )  # fmt: skip


def billiards(saved_models: Path) -> str:
    """Balls that collide, each model and seed: positions, and errors of forecast frames."""
    rows = []
    for name, seed, metrics, flags in _runs_with_flags(saved_models / "billiards" / "systems.json"):
        if flags["model"] == "cannonball" and not flags.get("collision_modes"):
            name += ", nothing is met"
        located = ("",) * 4
        if "identity_switch_rate" in metrics:
            located = (
                *(f"{metrics[f'position_filter_rmse/{count}']:.2f}" for count in (1, 2)),
                f"{metrics['position_rmse/2']:.2f}",
                f"{100 * metrics['identity_switch_rate']:.1f} %",
            )
        first = metrics["generation/frames"][0]
        ahead = [metrics["generation/frames"].index(first + step - 1) for step in (5, 10, 20)]
        errors = (metrics["generation/position_error"][i] for i in ahead)
        wrong = metrics["generation/incorrect_pixels"][ahead[-1]]
        cells = (*(f"{error:.2f}" for error in errors), f"{wrong:.4f}")
        rows.append((name, seed, *located, *cells))
    return _markdown(
        ("model", "seed", "filtered, one ball, px", "two", "smoothed, two", "identity switches",
         "forecast 5 steps, px", "10", "20", "incorrect pixels after 20"),
        rows,
    )  # fmt: skip


def three_continuations(saved_models: Path) -> str:
    """Up to three cannonballs: errors of generated frames, and of those between."""
    points = (("generation", (0, 2, 10, -1)), ("interpolation", (0, 10, -1)))
    rows = list(_continued(_runs_of_three(saved_models), points))
    return _markdown(_CONTINUED, [*rows, *_with_law_known("cannonballs", points)])


def continuations(saved_models: Path) -> str:
    """Cannonballs, seed by seed: errors at the last frame generated, and amid those between."""
    points = (("generation", (-1,)), ("interpolation", (10,)))
    rows = list(_continued(_cannonball_runs(saved_models), points))
    return _markdown(_CONTINUED, [*rows, *_with_law_known("cannonballs_small", points)])


def _with_law_known(world, points):
    """The rows of ``_continued`` of one who knows the law."""
    best = bayes_floor.numbers(world)
    for group, indices in points:
        for index in indices:
            cells = (best[group][measure][index] for measure in _MEASURES[1:])
            frame = best[group]["frames"][index]
            yield "*law known*", "", group, frame, "", *(f"*{cell:.4g}*" for cell in cells)


def _continued(runs, points):
    """A row for each run and each of some frames, by index, of generation and interpolation."""
    for name, seed, metrics in runs:
        for group, indices in points:
            for index in indices if f"{group}/frames" in metrics else ():
                measures = (metrics.get(f"{group}/{measure}") for measure in _MEASURES)
                cells = (f"{values[index]:.4g}" if values else "" for values in measures)
                yield name, seed, group, metrics[f"{group}/frames"][index], *cells


TABLES: dict[str, Callable[[Path], str]] = {
    table.__name__: table
    for table in (
        summary,
        coverage,
        calibration,
        anomalies,
        foreign,
        planning,
        false_alarms,
        pendulum,
        pendulum_bounds,
        pendulum_states,
        walks,
        long_filtering,
        controls,
        ball_states,
        cannonballs,
        continuations,
        three_balls,
        three_continuations,
        billiards,
        missing_at_random,
        gap,
        box_bounds,
        box_baselines,
        worlds,
        floor,
        state_weights,
        seeds,
        missing_training,
        networks,
        filling,
        engine_against,
        engine_libraries,
        device,
        irregular,
        irregular_forecasts,
        quality,
    )
}

_TIMES = {
    "continuous": "continuous time",
    "gaps": "discrete, gaps in a grid",
    "order": "discrete, times unknown",
}
_CONTINUED = (
    "model", "seed", "frames", "frame", "nats", "incorrect pixels", "position error, px",
    "of expected places, px",
)  # fmt: skip
_MEASURES = ("nats", "incorrect_pixels", "position_error", "expected_error")
_FORECAST = "forecast"
_AHEAD = (1, 5, 10, 20, 40)  # frames of a forecast, from 1
_LONG, _NO_BOUND = (15, 100, 500), 100.0  # frames; an error that no state of a world explains
_OWN, _FASTEST = "kvae_tf", "jit_compile"  # of the engine's rows
_FILLING = {
    "interpolation": "linear interpolation",
    "UnobservedComponents": "UnobservedComponents",
    "DynamicFactorMQ": "DynamicFactorMQ",
    "kvae_tf": "kvae_tf",
}

_POLICIES = {
    "random": "random",
    "simulator": "planned with the true simulator",
    "model": "planned by a model, distance of encodings",
    "model_frames": "planned by a model, distance of decoded frames",
}
_METHODS = {"smooth": "smoothing", "filter": "filtering"}
# Group of metrics -> name of its horizontal axis, what is hidden, and for how many of it.
_HIDDEN = {
    "missing_at_random": ("rates", "p = {:g}", (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)),
    "gap": ("frames", "gap of {:g}", (1, 5, 9, 15)),
}
_POINTS = (
    ("missing_at_random/smooth", 4, "p = 0.5, smoothing"),
    ("missing_at_random/filter", 4, "p = 0.5, filtering"),
    ("gap/smooth", -1, "gap of 15, smoothing"),
)


def _title(name: str) -> str:
    return registry.get(name).title


def _models_of(folder: Path) -> Iterable[tuple[str, dict]]:
    """A world's KVAE, and the runs of its ``baselines.json``, if any: name and metrics."""
    yield "KVAE", _read(folder / "metrics.json")
    path = folder / "baselines.json"
    for run in _read(path)["runs"] if path.exists() else ():
        name = _title(run["flags"]["model"])
        # A KVAE among the baselines is the one with the released hyperparameters.
        yield ("KVAE, released settings" if name == "KVAE" else name), run["metrics"]


def _state_runs(saved_models, world):
    """Metrics of the seeds of a KVAE with modes of the filtered state; empty where none is."""
    path = saved_models / f"{world}_state" / "seeds.json"
    return [run["metrics"] for run in _read(path)["runs"]] if path.exists() else []


def _pendulum_runs(saved_models):
    """Runs on the pendulum by model and kind of frame network, from three files."""
    groups = {}
    for path, ending in (
        ("pendulum/systems.json", ""),
        ("pendulum/paper_sizes.json", ", the paper's sizes"),
        ("dvbf_pendulum_long/seeds.json", ", with recovery"),
    ):
        if ending and not (saved_models / path).exists():
            continue
        found = _read(saved_models / path)
        for run in found["runs"]:
            flags = found["flags"] | run["flags"]
            name = f"{_title(flags['model'])}, {flags['network']}{ending}"
            groups.setdefault(name, []).append(run)
    return groups


def _cannonball_runs(saved_models, folder="cannonball"):
    """Model, seed and metrics of the runs of a folder's ``seeds.json`` and ``systems.json``.

    The second has other models, and where there is the first, cannonball runs without hypotheses
    and map.
    """
    seeds = saved_models / folder / "seeds.json"
    files = [seeds] if seeds.exists() else []
    for path in (*files, seeds.with_name("systems.json")):
        for name, seed, metrics, flags in _runs_with_flags(path):
            if path != seeds and files and flags["model"] == "cannonball":
                name += ", attention's order"
            yield name, seed, metrics


def _runs_with_flags(path):
    """Model, seed, metrics and all flags of the runs of a file."""
    found = _read(path)
    for run in found["runs"]:
        flags = found["flags"] | run["flags"]
        name, looks = _title(flags["model"]), flags.get("first_looks") or 1
        if looks > 1 and flags["model"] == "cannonball":
            name += f", {looks} first looks"
        yield name, flags["seed"], run["metrics"], flags


def _runs_of_three(saved_models):
    """The same of the runs with up to three objects, in sequences of 30 and of 50 frames."""
    yield from _cannonball_runs(saved_models, "cannonball_3")
    for path, ending in (
        ("cannonball_3/settled.json", ", settled for longer"),
        ("cannonball_3/refined.json", ", readings refined"),
        ("cannonball_3/ed_lstm_large.json", ", 20,000 sequences"),
        ("cannonball_long/systems.json", ", 50 frames"),
    ):
        if (saved_models / path).exists():
            for name, seed, metrics, _ in _runs_with_flags(saved_models / path):
                yield name + ending, seed, metrics


def _spread(values, digits):
    return f"{_mean(values):.{digits}f} ± {_sd(values):.{digits}f}"


def _box_table(saved_models, group, label, x, reported):
    rows = []
    for name, metrics in _models_of(saved_models / "box"):
        for method, word in _METHODS.items():
            values = metrics.get(f"{group}/{method}")
            if values:
                model = f"{name}, {word}" if name.startswith("KVAE") else name
                rows.append((model, *(f"{value:.4f}" for value in values)))
    for key, values in reported.items():
        model = f"KVAE, {_METHODS[key]}" if key in _METHODS else _title(key)
        rows.append((f"*paper: {model}*", *(f"*{value:.4f}*" for value in values)))
    return _markdown((label, *x), rows)


def _markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _mean(values):
    return sum(values) / len(values)


def _median(values):
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _unique(values):
    """The values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def _sd(values):
    if len(values) < 2:
        return 0.0
    middle = _mean(values)
    return (sum((value - middle) ** 2 for value in values) / (len(values) - 1)) ** 0.5


def _read(path):
    return storage.read_json(path, "the metrics of a trained model")
