"""A report of a run as one HTML file without scripts: verdict, pictures, errors, settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from kvae_tf import evaluation
from kvae_tf.data import storage
from kvae_tf.data.settings import DataSettings
from kvae_tf.experiments.settings import RunSettings, fields
from kvae_tf.export import weights
from kvae_tf.studies import STUDIES, bayes_floor
from kvae_tf.training import callbacks
from kvae_tf.training.settings import TrainingSettings
from kvae_tf.visualisation import charts, events, history, images, page

_PICTURES = (".png", ".gif")
_WIDE = 2.2  # of width by height, from which on a picture has a row to itself
_METHODS = {
    "smooth": "smoothing",
    "filter": "filtering",
    "last_frame": "last frame repeated",
    "generate": "generating",
}
# Group of metrics -> name of its horizontal axis, that axis in words, what is hidden.
_CURVES = {
    "missing_at_random": (
        "rates",
        "share of frames that are hidden",
        "Frames hidden at random: errors against their share.",
    ),
    "gap": (
        "frames",
        "frames hidden in a row",
        "Frames hidden in a row: errors against their number.",
    ),
}
# Films and film strips, and pictures of latent states, in their order; name -> kind, caption.
_FILMS = {
    "imputations": (
        "strip",
        "Frames filled in. From top to bottom: a test sequence; what the model sees of it, the "
        "frames below an orange bar being hidden (black); and what it makes of that, a row for "
        "each method. Smoothing knows the frames before and after the gap, filtering only those "
        "before.",
    ),
    "generated": (
        "film",
        "Sequences that the model made up, twice as long as those of the data, from noise alone. "
        "Good ones look and move as the data do.",
    ),
    "reconstructions": (
        "strip",
        "A test sequence, and below it each frame after it was encoded and decoded again, without "
        "any dynamics.",
    ),
}
_LATENTS = {
    "trajectories": (
        "chart strip",
        "Encodings of three test sequences in time: grey those of the true frames, coloured what "
        "the model infers where frames are hidden (hollow marks).",
    ),
    "mode_weights": (
        "chart",
        "How much each mode of the dynamics counts at each frame of the sequence above; hatched "
        "where frames are hidden.",
    ),
    "objects": ("chart strip", "Paths of the objects that the model infers in test sequences."),
    "stages": (
        "chart strip",
        "The same paths in validation sequences after the first, a middle and the last epoch.",
    ),
}
_VECTORS = (
    "chart strip",
    "Entries of three test sequences in time: grey the true ones, coloured what the model fills in "
    "where rows are hidden (hollow marks).",
)
_KINDS = {"good": "good", "too_few_sequences": "unknown", "no_smoothing": "fair",
          "poor_generation": "fair"}  # fmt: skip


def write(folder: Path, output: Path) -> None:
    """Writes the report of a run, or of an exported model.

    A run that is not finished, but has logs, gets a page of what there is.

    Args:
      folder: folder of a run or of an export, with ``settings.json`` and ``metrics.json``.
      output: the HTML file, with embedded pictures.

    Raises:
      UserError: the folder holds no run, or nothing but its settings, or a file in it is of another
        form.
    """
    settings = storage.read_json(folder / "settings.json", "the settings of a run")
    path, logs = folder / "metrics.json", folder / "logs"
    is_finished = path.exists() or not logs.is_dir()
    metrics = evaluation.read(path, "the metrics of a finished run") if is_finished else {}
    epochs = _epochs(folder)
    shown = _pictures(folder / "saved_model") | _pictures(folder)
    drawn = events.images(logs / "validation")
    films = shown if is_finished else _latest(drawn)
    is_vector = _is_vector(folder)
    captions = _FILMS | {"imputations": _VECTORS} if is_vector else _FILMS
    latents = _figures(films, _LATENTS)
    others = {
        name: data for name, data in shown.items() if name not in {**_FILMS, **_LATENTS}
    } | _pictures(folder / "evaluation")
    sections = [
        page.section("Verdict", *_verdict(metrics, is_vector))
        if is_finished
        else page.section("Not finished", page.paragraph(_unfinished(epochs, settings))),
        page.section("Vectors" if is_vector else "Frames", *_figures(films, captions)),
        page.section("Errors of hidden frames", *_errors(metrics, settings)),
        page.section("Latent states", *latents),
        page.section("Studies", page.grid(_studies(others))),
        page.section("Training", page.grid(_training(logs)), _stages(drawn)),
        page.section("Other numbers", *_others(metrics)),
        page.section("Settings", *_settings(settings)),
    ]
    title = f"{settings.get('model')} on {Path(str(settings.get('dataset'))).stem}"
    storage.write_text(output, page.page(title, _summary(folder, settings, metrics), sections))


def _is_vector(folder):
    for path in (folder / weights.MODEL, folder / "saved_model" / weights.MODEL):
        if path.exists():
            return bool(storage.read_json(path, "the description of a model").get("is_vector"))
    return False  # of an earlier version


def _epochs(folder):
    """Epochs that are done; None where unknown."""
    path = folder / "time.json"
    return storage.read_json(path, "a run's time").get("epochs") if path.exists() else None


def _unfinished(epochs, settings):
    done = f"{epochs} of {settings.get('epochs')} epochs are done" if epochs else "it has begun"
    return (
        f"The run is not finished: {done}. There are no test results and there is no verdict yet; "
        "pictures are those of validation sequences after the last epoch for which there are any."
    )


def _summary(folder, settings, metrics):
    parts = [f"{folder.resolve().name}, seed {settings.get('seed')}"]
    time = folder / "time.json"
    if time.exists():
        parts.append(f"trained for {_duration(callbacks.seconds(time))}, {_epochs(folder)} epochs")
    if "train/updates" in metrics:
        parts.append(f"{metrics['train/updates']:,} updates")
    if "test/sequences" in metrics:
        parts.append(f"{metrics['test/sequences']:,} test sequences")
    return "; ".join(parts)


def _duration(seconds):
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _verdict(metrics, is_vector):
    """Label, paragraph and questions; else why there are none."""
    text = evaluation.paragraph(metrics)
    if not text:
        return [page.paragraph(_without_verdict(metrics, is_vector))]
    found = metrics["verdict"]
    answers = evaluation.answers(metrics)
    return [
        page.label(found.replace("_", " "), _KINDS.get(found, "bad")),
        page.paragraph(text),
        page.table(
            ("question", "number", "good is"),
            [(answer.question, answer.value, answer.limit) for answer in answers],
            [answer.is_bad for answer in answers],
        ),
        page.paragraph(
            "Errors are root mean squares over the pixels that change within a sequence; hidden is "
            f"the middle frame of a gap of {evaluation.verdict.GAP}."
        ),
    ]


def _without_verdict(metrics, is_vector):
    if is_vector:
        return "There is no verdict of vectors: it asks how frames look."
    if not any(name.startswith("imputation/") for name in metrics):
        return "There is no verdict: the model, or the data, allow no frames to be filled in."
    return (
        "There is no verdict: an earlier version evaluated this run. kvae-card --measure evaluates "
        "its export anew; the report of the export's folder then has one."
    )


def _errors(metrics, settings):
    parts = [_error_table(metrics)]
    figures, tables = [], []
    for group, (x_name, x_label, caption) in _CURVES.items():
        x = metrics.get(f"{group}/{x_name}")
        lines = {
            method: metrics[f"{group}/{method}"]
            for method in _METHODS
            if _is_list(metrics.get(f"{group}/{method}"), x)
        }
        if not x or not lines:
            continue
        # Of a gap up to the end, generating is filtering.
        drawn = {m: y for m, y in lines.items() if m == "filter" or y != lines.get("filter")}
        floors = _floor(settings, group, x)
        if floors:
            caption += (
                " Dashed: the least error possible, of one who knows the simulator exactly "
                f"({bayes_floor.SEQUENCES} test sequences, by MCMC)."
            )
        spreads = {m: metrics.get(f"{group}/{m}_se") for m in drawn}
        picture = charts.curves(
            x,
            _named(drawn),
            _named({m: se for m, se in spreads.items() if _is_list(se, x)}),
            dashed=_named(floors),
            dashed_name="least possible",
            x_label=x_label,
            y_label="fraction of incorrect pixels",
            log=True,
        )
        caption += " Bars are standard errors. A pixel is incorrect on the other side of 0.5."
        figures.append(page.figure(images.encode_png(picture), caption, "chart"))
        rows = {_METHODS[m]: _with_errors(y, spreads.get(m)) for m, y in lines.items()}
        rows |= {
            f"{_METHODS[m]} (least possible)": ["" if y != y else f"{y:.4f}" for y in ys]
            for m, ys in floors.items()
        }
        tables += [
            page.paragraph(caption.partition(".")[0] + "."),
            page.table(
                (x_label, *(f"{at:g}" for at in x)),
                [(name, *cells) for name, cells in rows.items()],
            ),
        ]
    return [*parts, page.grid(figures), page.folded("The numbers of the curves", *tables)]


def _named(lines):
    return {_METHODS[method]: values for method, values in lines.items()}


def _is_list(values, x):
    return isinstance(values, list) and isinstance(x, list) and len(values) == len(x)


def _with_errors(values, errors):
    if not _is_list(errors, values):
        return [f"{value:.4f}" for value in values]
    return [f"{value:.4f} ± {error:.4f}" for value, error in zip(values, errors, strict=True)]


def _floor(settings, group, x):
    world = settings.get("dataset")
    if not isinstance(world, str) or settings.get("draw_walls"):
        return {}
    return bayes_floor.floor(world, group, x)


def _error_table(metrics):
    """Root mean squared errors of each method, and as shares of those of the last frame held."""
    ending = "_rmse"
    methods = [
        name.removeprefix("imputation/").removesuffix(ending)
        for name in metrics
        if name.startswith("imputation/") and name.endswith(ending)
    ]
    if not methods:
        return ""
    hidden = metrics.get("imputation/hidden_frames")
    of = f"frames {hidden[0]} to {hidden[1]}" if _is_list(hidden, [0, 0]) else "the middle frames"
    header = ["method", "RMSE", "of the last frame's"]
    has_verdict = "verdict/last_frame" in metrics
    note = f"Root mean squared error (RMSE) of a pixel in [0, 1], {of} hidden"
    if has_verdict:
        header += ["RMSE, moving pixels", "of the last frame's"]
        note += (
            "; and of the pixels that change within a sequence, as a share of their standard "
            f"deviation, in the middle of a gap of {evaluation.verdict.GAP}"
        )
    rows = []
    for method in methods:
        cells = _beside(
            metrics[f"imputation/{method}{ending}"],
            metrics.get("imputation/last_frame_rmse"),
            ".4f",
        )
        if has_verdict:
            number = {"last_frame": "last_frame", "filter": "filtering"}.get(method, "smoothing")
            cells += _beside(metrics.get(f"verdict/{number}"), metrics["verdict/last_frame"], ".0%")
        rows.append((_METHODS.get(method, method), *cells))
    return page.table(header, rows) + page.paragraph(f"{note}.")


def _beside(value, reference, form):
    """A number, and its share of another one."""
    if value is None:
        return ["", ""]
    share = f"{value / reference:.0%}" if reference else ""
    return [format(value, form).replace("%", " %"), share.replace("%", " %")]


def _others(metrics):
    """Numbers that are nowhere else on the page; lists below, folded."""
    elsewhere = ("verdict", "imputation", *_CURVES)
    left = {n: value for n, value in metrics.items() if n.partition("/")[0] not in elsewhere}
    single = {n: value for n, value in left.items() if not isinstance(value, list)}
    lists = {}
    for name, value in left.items():
        if name not in single:
            lists.setdefault((name.partition("/")[0], len(value)), {})[name] = value
    rows = [(name, evaluation.format_value(value)) for name, value in single.items()]
    tables = [
        page.table(
            (group, *(str(i + 1) for i in range(length))),
            [(name, *map(evaluation.format_value, values)) for name, values in several.items()],
        )
        for (group, length), several in lists.items()
    ]
    return [page.table(("metric", "value"), rows), page.folded("Lists", *tables)]


def _pictures(folder):
    """Name -> bytes, in the order of the names."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in _PICTURES)
    return {path.stem: path.read_bytes() for path in paths}


def _latest(drawn):
    """The last picture of each of TensorBoard's tags, by its name in an export's folder."""
    return {tag.split("/")[-1]: pictures[max(pictures)] for tag, pictures in drawn.items()}


def _figures(pictures, captions):
    return [
        page.figure(pictures[name], caption, kind)
        for name, (kind, caption) in captions.items()
        if name in pictures
    ]


def _studies(pictures):
    for name, data in pictures.items():
        words = STUDIES[name].__doc__.partition("\n")[0] if name in STUDIES else ""
        text = name.replace("_", " ").capitalize()
        yield page.figure(data, f"{text}: {words}" if words else text, _layout(data))


def _layout(data):
    """How a picture of any size is shown."""
    if data.startswith(b"GIF"):
        return "film"
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))  # of a PNG
    return "strip" if width > _WIDE * height else ""


def _training(logs):
    for name, picture in history.training(logs).items():
        yield page.figure(images.encode_png(picture), name[0].upper() + name[1:], "chart")


def _stages(drawn):
    """Pictures of validation sequences after a few epochs, from the event files."""
    figures = []
    for tag, pictures in drawn.items():
        name = tag.split("/")[-1]
        if name in _FILMS | _LATENTS and all(d.startswith(b"\x89PNG") for d in pictures.values()):
            kind = "strip" if name in _FILMS else "chart strip"
            text = f"{name.replace('_', ' ')} of validation sequences by epoch"
            figures.append(page.figure(images.encode_png(events.stages(pictures)), text, kind))
    return page.folded("Pictures by epoch", *figures)


def _settings(settings):
    """A table for each group of what differs from its default; below, folded, what does not."""
    known, groups = fields(), {"data": [], "model": [], "training": [], "run": []}
    kinds = {"data": DataSettings, "training": TrainingSettings, "run": RunSettings}
    places = {
        field.name: group for group, kind in kinds.items() for field in dataclasses.fields(kind)
    }
    for name in settings:
        groups[places.get(name, "model")].append(name)
    parts = [page.paragraph("What differs from the flags' defaults.")]
    for group, names in groups.items():
        if not names:
            continue
        rows, same = [], []
        for name in names:
            value = _flag(settings[name])
            default = _flag(known[name].default) if name in known else None
            if value == default:
                same.append((f"--{name}", value))
            else:
                text = known[name].metadata["help"] if name in known else ""
                rows.append((f"--{name}", value, default or "", text))
        parts += [
            page.heading(group.capitalize()),
            page.table(("flag", "value", "default", "what it is"), rows)
            or page.paragraph("Nothing."),
            page.folded(f"{len(same)} at their defaults", page.table(("flag", "value"), same))
            if same
            else "",
        ]
    return parts


def _flag(value):
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
