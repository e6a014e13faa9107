"""Settings that nobody has given, chosen from the data: what a user's own data are trained with."""

from __future__ import annotations

from collections.abc import Mapping

from kvae_tf import data
from kvae_tf.data import framing
from kvae_tf.experiments import initial
from kvae_tf.experiments.run import load_data
from kvae_tf.experiments.settings import Settings


def complete(
    values: Mapping[str, object], is_configured: bool = False, splits: data.Splits | None = None
) -> tuple[Settings, data.Splits | None]:
    """All settings; where the recipe applies, what ``values`` do not say is chosen from the data.

    Videos get a frame size, colour and windows from ``data.framing``, the model its settings from
    its spec. What was chosen is printed, as flags. A model that starts from another one
    (``init_from``) has its settings.

    Args:
      values: settings by flag name.
      is_configured: whether a flagfile or a preset says how to train; False by default.
      splits: the data, where they are in memory; None: those that the settings name (default).

    Returns:
      The settings; and the data, where they are in memory or had to be read.

    Raises:
      UserError: a value is wrong, or the data are refused.
    """
    values = initial.complete(dict(values))
    plain = Settings.from_dict(values)
    if not _applies(plain, is_configured):
        return plain, splits
    given = set(values)
    if data.is_video(plain.data.dataset):
        chosen = framing.choose(plain.data.dataset, plain.data.crop, plain.data.max_memory)
        values |= _absent(chosen._asdict(), values)
    if splits is None:
        splits = load_data(Settings.from_dict(values))
    values |= _absent(plain.spec.recipe(splits.train, values), values)
    chosen = {name: value for name, value in values.items() if name not in given}
    if chosen:
        print(f"chosen from the data: {' '.join(map(_as_flag, chosen.items()))}")
    return Settings.from_dict(values), splits


def _applies(settings, is_configured):
    if settings.run.recipe != "auto":
        return settings.run.recipe == "on"
    own = settings.data.dataset not in data.WORLDS
    return own and not is_configured and not settings.training.init_from


def _as_flag(setting):
    name, value = setting
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"


def _absent(chosen, values):
    return {name: value for name, value in chosen.items() if name not in values}
