"""Settings that nobody has given, chosen from the data: what a user's own data are trained with."""

from __future__ import annotations

from collections.abc import Mapping

from kvae_tf import data
from kvae_tf.data import framing
from kvae_tf.experiments.run import load_data
from kvae_tf.experiments.settings import Settings


def complete(
    values: Mapping[str, object], has_flagfile: bool = False
) -> tuple[Settings, data.Splits | None]:
    """All settings; where the recipe applies, what ``values`` do not say is chosen from the data.

    Videos get a frame size, colour and windows from ``data.framing``, the model its settings from
    its spec. What was chosen is printed, as flags.

    Args:
      values: settings by flag name.
      has_flagfile: whether a flagfile says how to train; False by default.

    Returns:
      The settings; and the data, where they had to be read.

    Raises:
      UserError: a value is wrong, or the data are refused.
    """
    values = dict(values)
    plain = Settings.from_dict(values)
    if not _applies(plain, has_flagfile):
        return plain, None
    given = set(values)
    if data.is_video(plain.data.dataset):
        chosen = framing.choose(plain.data.dataset, plain.data.crop, plain.data.max_memory)
        values |= _absent(chosen._asdict(), values)
    splits = load_data(Settings.from_dict(values))
    values |= _absent(plain.spec.recipe(splits.train, values), values)
    chosen = {name: value for name, value in values.items() if name not in given}
    if chosen:
        print(f"chosen from the data: {' '.join(map(_as_flag, chosen.items()))}")
    return Settings.from_dict(values), splits


def _applies(settings, has_flagfile):
    choice = settings.run.recipe
    own = settings.data.dataset not in data.WORLDS
    return own and not has_flagfile if choice == "auto" else choice == "on"


def _as_flag(setting):
    name, value = setting
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"


def _absent(chosen, values):
    return {name: value for name, value in chosen.items() if name not in values}
