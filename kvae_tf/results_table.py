"""The README's results table, made from metrics files."""

from __future__ import annotations

import json
from pathlib import Path

from kvae_tf import files
from kvae_tf.errors import UserError

_BEGIN, _END = "<!-- results -->", "<!-- /results -->"


def update(readme: Path, metrics: Path) -> None:
    """Replaces the table between the README's two markers.

    Args:
      readme: the Markdown file with the markers.
      metrics: a ``metrics.json``.

    Raises:
      UserError: a file or a marker is missing.
    """
    try:
        text, values = readme.read_text(encoding="utf-8"), json.loads(metrics.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {readme} or {metrics}: {error}") from None
    if _BEGIN not in text or _END not in text:
        raise UserError(f"{readme} lacks the markers {_BEGIN} and {_END}")
    head, rest = text.split(_BEGIN, 1)
    tail = rest.split(_END, 1)[1]
    rows = [
        f"| {name} | {value:.4f} |" if isinstance(value, float) else f"| {name} | {value} |"
        for name, value in values.items()
    ]
    table = "\n".join(["| metric | value |", "| --- | --- |", *rows])
    files.write_text(readme, f"{head}{_BEGIN}\n{table}\n{_END}{tail}")
