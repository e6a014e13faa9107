"""The named evaluations of a trained model: each writes NAME.json, NAME.csv and NAME.png.

A study takes an ``EvaluationTarget`` and gives a ``Report``; none knows which model it looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.studies import anomalies, frames, latents, long_filtering, objects
from kvae_tf.studies.report import EvaluationTarget, Report
from kvae_tf.visualisation import images

STUDIES: dict[str, Callable[[EvaluationTarget], Report]] = {
    study.__name__: study
    for study in (
        frames.missing_at_random,
        frames.gap,
        frames.trajectories,
        frames.modes,
        frames.generate,
        frames.forecast,
        frames.coverage,
        frames.quality,
        anomalies.anomalies,
        latents.regression,
        latents.walk,
        latents.controls,
        long_filtering.long_filtering,
        objects.objects,
        objects.continuations,
    )
}


def check(names: list[str]) -> None:
    """Raises a ``UserError`` where a name is not out of ``STUDIES``."""
    unknown = [name for name in names if name not in STUDIES]
    if unknown:
        raise UserError(
            f"--experiment has {', '.join(unknown)}, expected some of {', '.join(STUDIES)}"
        )


def run(names: list[str], target: EvaluationTarget, folder: Path) -> None:
    """Runs studies and writes their files.

    Args:
      names: out of ``STUDIES``; none: all that the model and the data allow.
      target: what to look at.
      folder: where the files go.

    Raises:
      UserError: an unknown name, or the model or the data do not allow a study that was named.
    """
    check(names)
    for name in names or target.studies or STUDIES:
        try:
            report = STUDIES[name](target)
        except UserError as error:
            if names:
                raise
            print(f"{name}: left out, {error}", flush=True)
            continue
        storage.write_json(folder / f"{name}.json", report.numbers)
        storage.write_csv(folder / f"{name}.csv", report.header, report.rows)
        images.save_png(folder / f"{name}.png", report.picture)
        if report.animation:
            storage.write_bytes(folder / f"{name}.gif", report.animation)
        print(f"{name}: {folder / name}.json, .csv, .png", flush=True)
