"""The model card: a Markdown page beside an export that describes the model."""

from __future__ import annotations

import html
import re
from pathlib import Path

from kvae_tf.evaluation import format_value, paragraph
from kvae_tf.export.loading import LoadedModel
from kvae_tf.models.settings import ModelSettings
from kvae_tf.models.spec import ModelSpec

_CARD = """# {title}

{summary} ({paper}),
trained on {dataset}: frames {frame_shape}, {control_size} control(s), {parts};
{parameters:,} parameters.

{verdict}## Results on the test part

{results}

`{bound}` is in nats per frame (sum over pixels, mean over frames and sequences){floor}.
`missing_at_random` and `gap` are fractions of incorrect pixels on hidden frames, ± standard error.

## Use

TensorFlow is all that is needed, and the folder `1` beside this page:

```python
import tensorflow as tf

model = tf.saved_model.load("1")
filled = model.signatures["impute"](
    frames=frames,  # float32 [B, T, {frame}] in [0, 1]; anything where missing
    observed=observed,  # float32 [B, T], 1 = seen, 0 = missing; or tf.constant(1.0): all seen
{arguments})
filled["frames"], filled["encodings"], filled["encoding_stds"]
```

Batch and time are dynamic. Every input is a tensor, named and required, over REST too. Call
signatures, not `model.impute` and the like: after a bad call, these may block all other threads.

{checks}

| signature | inputs | outputs |
| --- | --- | --- |
{signatures}

## Training

```
{flags}
```
"""
_CHECKS = """A call whose inputs do not fit fails with a message that names the input. Checked are
shapes; `frames`, in [0, 1] where seen (a frame with NaN counts as missing; vectors are finite, or
NaN where missing); `observed`, 0 or 1; `controls`, finite; `num_objects`; numbers of sequences and
steps, from 1 on. XLA (`jit_compile=True`) leaves these checks out."""
_NO_CHECKS = """This export is of an earlier version: its signatures check nothing. `kvae_tf.load`
checks."""


def write(
    spec: ModelSpec,
    settings: ModelSettings,
    flags: dict[str, object],
    model: LoadedModel,
    metrics: dict[str, object],
) -> str:
    """The model card as Markdown text.

    Args:
      spec: spec of the model.
      settings: settings of the model, an instance of ``spec.settings``.
      flags: name of a flag -> value, for all settings that the card shows.
      model: the export.
      metrics: name of a metric -> value on the test part.
    """
    height, width, channels = model.frame_shape
    floor = metrics.get("test/variance_floor")
    U, most = model.control_size, model.max_objects
    arguments = "    controls=tf.constant(0.0),  # none\n"
    if U:
        arguments = (
            f"    controls=controls,  # float32 [B, T, {U}], acts from t to t + 1; or "
            "tf.constant(0.0): zeros\n"
        )
    if most:
        arguments += f"    num_objects=num_objects,  # int32 [B], 1 to {most}\n"
    return _CARD.format(
        title=f"{spec.title} on {_text(Path(str(flags['dataset'])).stem)}",
        summary=spec.summary,
        paper=spec.paper,
        dataset=_code(flags["dataset"]),
        frame_shape=f"{height}x{width}x{channels}",
        frame=f"{height}, {width}, {channels}",
        control_size=model.control_size,
        parts=spec.describe(settings),
        parameters=model.num_parameters,
        verdict=_verdict(metrics, flags),
        results=_results(metrics),
        floor="" if floor is None else f", with a variance floor of {floor:g}",
        bound=model.bound_name,
        arguments=arguments,
        checks=_CHECKS if model.has_assertions else _NO_CHECKS,
        signatures="\n".join(
            f"| {_code(name)} | {_names(inputs)} | {_names(outputs)} |"
            for name, (inputs, outputs) in model.signatures.items()
        ),
        flags="\n".join(f"--{name}={_flag(value)}" for name, value in flags.items()),
    )


def _verdict(metrics, flags):
    """A paragraph; empty where metrics hold no verdict."""
    words = paragraph(metrics, flags)
    return f"**Verdict: {_code(metrics['verdict'])}.** {_text(words)}\n\n" if words else ""


def _results(metrics):
    """A table of the single numbers, then one for each group of lists of equal length."""
    groups = {}
    for name, value in metrics.items():
        if isinstance(value, list):
            group, _, column = name.partition("/")
            groups.setdefault((group, len(value)), {})[column] = value
    curves = {key: columns for key, columns in groups.items() if len(columns) > 1}
    listed = {f"{group}/{column}" for (group, _), columns in curves.items() for column in columns}
    rows = [(name, format_value(x)) for name, x in metrics.items() if name not in listed]
    tables = [_table(("metric", "value"), rows)]
    for (group, _), columns in curves.items():
        names = [name for name in columns if name.removesuffix("_se") == name]
        lines = zip(*(_with_errors(columns, name) for name in names), strict=True)
        tables.append(f"### {_text(group)}\n\n{_table(names, lines)}")
    return "\n\n".join(tables)


def _with_errors(columns, name):
    """A column of numbers, each with its standard error where there is one."""
    values, errors = map(format_value, columns[name]), columns.get(f"{name}_se")
    if errors is None:
        return list(values)
    return [f"{value} ± {format_value(e)}" for value, e in zip(values, errors, strict=True)]


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_text, line))} |" for line in lines)


def _names(specs):
    return ", ".join(map(_code, specs)) or "none"


def _flag(value):
    return _one_line(",".join(map(str, value)) if isinstance(value, list) else value)


def _one_line(text):
    """Text without line breaks and other letters that cannot be seen, which become escapes."""
    letters = (x if x.isprintable() else x.encode("unicode_escape").decode() for x in str(text))
    return "".join(letters)


def _text(text):
    """Text that is neither Markdown nor HTML."""
    text = html.escape(_one_line(text), quote=False)
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", text)


def _code(text):
    """Text as a code span, whose marks are longer than any run of backticks in it."""
    text = _one_line(text) or " "
    longest = max(map(len, re.findall("`+", text)), default=0)
    space = " " if longest else ""
    return f"{'`' * (longest + 1)}{space}{text}{space}{'`' * (longest + 1)}"
