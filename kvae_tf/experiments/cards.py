"""Rewriting of the model card beside an export, after a change of the card or of a metric."""

from __future__ import annotations

from pathlib import Path

from kvae_tf import evaluation
from kvae_tf.data import storage
from kvae_tf.experiments import run
from kvae_tf.experiments import settings as experiment_settings
from kvae_tf.experiments.settings import PLACES
from kvae_tf.export import model_card
from kvae_tf.export.loading import LoadedModel


def rewrite(version_dir: Path, measure: bool = False) -> Path:
    """Writes README.md beside an export from its settings, signatures and metrics.

    Args:
      version_dir: the export's version folder; ``settings.json`` and ``metrics.json`` lie beside.
      measure: first evaluate the export on the test part and replace ``metrics.json``.

    Returns:
      The card.

    Raises:
      UserError: there is no such export, or files beside it are missing.
    """
    folder, model = version_dir.parent, LoadedModel(version_dir)
    settings = experiment_settings.read(folder / "settings.json", run_dir="unused")
    metrics = evaluation.read(folder / "metrics.json", "the metrics of an export")
    if measure:
        splits = run.load_data(settings)
        test = splits.test.select(slice(0, settings.data.test_sequences or None))
        # What only the training knew is kept.
        metrics |= evaluation.evaluate(model, test, splits.train)
        storage.write_json(folder / "metrics.json", metrics)
    shown = {name: value for name, value in settings.to_dict().items() if name not in PLACES}
    card = model_card.write(settings.spec, settings.model, shown, model, metrics)
    storage.write_text(folder / "README.md", card)
    return folder / "README.md"
