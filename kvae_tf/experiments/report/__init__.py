"""A report of a run as one HTML file without scripts: verdict, pictures, errors, settings."""

from __future__ import annotations

from pathlib import Path

from kvae_tf import evaluation
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.experiments.report import errors, pictures, settings_tables
from kvae_tf.export import weights
from kvae_tf.training import callbacks
from kvae_tf.visualisation import events, page

_KINDS = {"good": "good", "too_few_sequences": "unknown", "no_smoothing": "fair",
          "poor_generation": "fair"}  # fmt: skip


def write(folder: Path, output: Path) -> None:
    """Writes the report of a run, or of an exported model.

    A run that is not finished, but has logs, gets a page of what there is.

    Args:
      folder: folder of a run or of an export, with ``settings.json`` and ``metrics.json``.
      output: the HTML file, with embedded pictures.

    Raises:
      UserError: the folder holds no run, or one without a finished epoch, or a file in it is of
        another form.
    """
    settings = storage.read_json(folder / "settings.json", "the settings of a run")
    path, logs = folder / "metrics.json", folder / "logs"
    is_finished = path.exists()
    if not is_finished and not logs.is_dir():
        raise UserError(
            f"{folder} has neither metrics.json nor logs, expected a run with a finished epoch, or "
            "an export"
        )
    metrics = evaluation.read(path, "the metrics of a finished run") if is_finished else {}
    shown = pictures.read(folder / "saved_model") | pictures.read(folder)
    drawn = events.images(logs / "validation")
    films = shown if is_finished else pictures.latest(drawn)
    is_vector = _is_vector(folder)
    evaluated = pictures.read(folder / "evaluation")
    sections = [
        page.section("Verdict", *_verdict(metrics, settings, is_vector))
        if is_finished
        else page.section("Not finished", page.paragraph(_unfinished(folder, settings))),
        page.section("Vectors" if is_vector else "Frames", *pictures.films(films, is_vector)),
        page.section("Errors of hidden frames", *errors.parts(metrics, settings, is_vector)),
        page.section("Latent states", *pictures.latents(films)),
        page.section("Studies", pictures.studies(evaluated), pictures.others(shown)),
        page.section("Other results", *_others(metrics)),
        page.section("Training", pictures.training(logs), pictures.stages(drawn)),
        page.section("Settings", *settings_tables.parts(settings)),
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


def _unfinished(folder, settings):
    epochs = _epochs(folder)
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
    for name, words in (("train/updates", "updates"), ("test/sequences", "test sequences")):
        if isinstance(metrics.get(name), int):
            parts.append(f"{metrics[name]:,} {words}")
    return "; ".join(parts)


def _duration(seconds):
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _verdict(metrics, settings, is_vector):
    """Label, paragraph and questions; else why there are none."""
    text = evaluation.paragraph(metrics, settings)
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


def _others(metrics):
    """Numbers that are nowhere else on the page; lists below, folded."""
    elsewhere = ("verdict", "imputation", *errors.CURVES)
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
    if not rows and not tables:
        return []
    return [
        page.table(("metric", "value"), rows),
        page.folded("Lists", *tables),
        page.paragraph("Bounds and their terms are in nats a frame, the sum over its pixels."),
    ]
