"""A report of a run as one HTML file without scripts: metrics, curves, pictures, settings."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import numpy as np

from kvae_tf.data import storage
from kvae_tf.evaluation import format_value, read
from kvae_tf.visualisation import charts, events, images

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #ddd; padding: .2em .8em; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }}
figure {{ display: inline-block; margin: 0 1em 1em 0; vertical-align: top; }}
img {{ max-width: 100%; }}
figcaption, caption {{ color: #555; text-align: left; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
{sections}
</body>
</html>
"""
_TYPES = {".png": "image/png", ".gif": "image/gif"}


def write(folder: Path, output: Path) -> None:
    """Writes the report of a run, or of an exported model.

    Args:
      folder: folder of a run or of an export, with ``settings.json`` and ``metrics.json``.
      output: the HTML file, with embedded pictures.

    Raises:
      UserError: the folder holds no finished run.
    """
    settings = storage.read_json(folder / "settings.json", "the settings of a run")
    metrics = read(folder / "metrics.json", "the metrics of a finished run")
    curves = _training_curves(folder / "logs")
    pictures = [*_pictures(folder / "saved_model"), *_pictures(folder)]
    evaluation = _pictures(folder / "evaluation")
    sections = [
        _section("Results", _table("metric", metrics)),
        _section("Training", "".join([*curves, *_stages(folder / "logs" / "validation")])),
        _section("Pictures", "".join(pictures)),
        _section("Evaluation", "".join(evaluation)),
        _section("Settings", _table("flag", settings)),
    ]
    title = f"{settings.get('model')} on {Path(str(settings.get('dataset'))).stem}"
    summary = f"{folder.resolve().name}, seed {settings.get('seed')}"
    storage.write_text(
        output,
        _PAGE.format(
            title=html.escape(title),
            summary=html.escape(summary),
            sections="\n".join(sections),
        ),
    )


def _section(title, body):
    return f"<h2>{title}</h2>\n{body}\n" if body else ""


def _table(header, values):
    rows = "\n".join(
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(format_value(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table><tr><th>{header}</th><th>value</th></tr>\n{rows}</table>"


def _pictures(folder):
    paths = sorted(path for path in folder.glob("*") if path.suffix in _TYPES)
    return [_figure(path.stem, path.read_bytes(), _TYPES[path.suffix]) for path in paths]


def _figure(name, data, kind):
    text = html.escape(name.replace("_", " "))
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>\n'


def _training_curves(logs):
    """Charts of the bound and its terms by epoch, from the event files."""
    parts = {name: events.scalars(logs / name) for name in ("train", "validation")}
    tags = [tag for tag in parts["train"] if tag.startswith("epoch_")]
    figures = []
    for tag in tags:
        lines = {name: scalars[tag] for name, scalars in parts.items() if tag in scalars}
        epochs = sorted({epoch for points in lines.values() for epoch in points})
        if len(epochs) < 2:
            continue
        curves = {
            name: [points.get(epoch, np.nan) for epoch in epochs] for name, points in lines.items()
        }
        picture = charts.curves(epochs, curves, x_label="epoch", from_zero=False)
        name = tag.removeprefix("epoch_")
        figures.append(_figure(name, images.encode_png(picture), "image/png"))
    return figures


def _stages(logs):
    """Pictures of validation sequences after a few epochs, from the event files."""
    figures = []
    for tag, drawn in events.images(logs).items():
        if all(data.startswith(b"\x89PNG") for data in drawn.values()):
            picture = images.encode_png(events.stages(drawn))
            figures.append(_figure(f"{tag.split('/')[-1]} by epoch", picture, "image/png"))
    return figures
