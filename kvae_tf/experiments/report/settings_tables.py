"""The settings of a run by group, those that differ from their defaults first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kvae_tf.data.settings import DataSettings
from kvae_tf.experiments.settings import RunSettings, fields
from kvae_tf.training.settings import TrainingSettings
from kvae_tf.visualisation import page


def parts(settings: Mapping[str, object]) -> list[str]:
    """A table for each group of what differs from its default; below, folded, what does not.

    Args:
      settings: what ``settings.json`` says; settings that are unknown here are shown as they are,
        as the model's.
    """
    known, groups = fields(), {"data": [], "model": [], "training": [], "run": []}
    kinds = {"data": DataSettings, "training": TrainingSettings, "run": RunSettings}
    places = {
        field.name: group for group, kind in kinds.items() for field in dataclasses.fields(kind)
    }
    for name in settings:
        groups[places.get(name, "model")].append(name)
    tables = [page.paragraph("What differs from the flags' defaults.")]
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
        tables += [
            page.heading(group.capitalize()),
            page.table(("flag", "value", "default", "what it is"), rows, of_names=True)
            or page.paragraph("Nothing."),
            page.folded(
                f"{len(same)} at their defaults", page.table(("flag", "value"), same, of_names=True)
            )
            if same
            else "",
        ]
    return tables


def _flag(value):
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
