"""The settings of a whole experiment.

Each group of settings is beside the code that uses it: ``data.settings``, the settings of the
chosen model, ``training.settings``; the folders of a run are here.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kvae_tf.data import storage
from kvae_tf.data.settings import DataSettings, check, setting
from kvae_tf.errors import UserError
from kvae_tf.models import registry
from kvae_tf.models.settings import ModelSettings
from kvae_tf.models.spec import ModelSpec
from kvae_tf.training.build import TrainingPlan
from kvae_tf.training.settings import TrainingSettings

# Settings of where a run is stored, not of what it computes.
PLACES = ("run_dir", "export_dir", "cache_dir", "resume", "overwrite")


@dataclass(frozen=True)
class RunSettings:
    """Folders of a run, and whether it resumes or replaces another one."""

    run_dir: str = setting("", "Folder for checkpoints, TensorBoard logs, metrics.json (required).")
    export_dir: str = setting("", "Folder of the SavedModel; empty: RUN_DIR/saved_model/1.")
    resume: bool = setting(False, "Go on from the last checkpoint in RUN_DIR, if there is one.")
    overwrite: bool = setting(False, "Start afresh where RUN_DIR holds another run.")
    recipe: str = setting(
        "auto",
        "Choose what is not set from the data, frame size and windows of videos, too; auto: where "
        "--dataset is no simulated world, and no --flagfile says how to train.",
        choices=("auto", "on", "off"),
    )

    def validate(self) -> None:
        """Raises a ``UserError`` where ``run_dir`` is empty."""
        check(self)
        if not self.run_dir:
            raise UserError("--run_dir is not set, expected a folder for the run's results")


@dataclass(frozen=True)
class Settings:
    """All settings of an experiment.

    Attributes:
      data: settings of the data.
      model: settings of the chosen model, an instance of ``spec.settings``.
      training: settings of optimiser and schedule.
      run: folders of the run.
      model_name: name of the chosen model, the value of ``--model``.

    Raises:
      UserError: a value is outside its limits.
    """

    data: DataSettings
    model: ModelSettings
    training: TrainingSettings
    run: RunSettings
    model_name: str = registry.DEFAULT

    def __post_init__(self):
        self.data.validate()
        self.training.validate()  # before the model, which looks at the number of epochs
        self.model.validate(self.training.epochs, from_scratch=not self.training.init_from)
        self.run.validate()

    @property
    def spec(self) -> ModelSpec:
        """The spec of the chosen model."""
        return registry.get(self.model_name)

    @property
    def plan(self) -> TrainingPlan:
        """The training part of the settings, without folders."""
        return TrainingPlan(self.data, self.spec, self.model, self.training)

    def to_dict(self) -> dict[str, object]:
        """Name of a flag -> value, for every setting; tuples as lists."""
        values = dataclasses.asdict(self.data) | {"model": self.model_name}
        for part in (self.model, self.training, self.run):
            values |= dataclasses.asdict(part)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> Settings:
        """Settings from values by flag name.

        Args:
          values: name of a flag -> value; absent settings keep their defaults, settings of other
            models than the chosen one are ignored.

        Raises:
          UserError: a name is unknown, or a value outside its limits.
        """
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        name = values.get("model", registry.DEFAULT)
        if not isinstance(name, str):
            raise UserError(f"--model is {name!r}, expected text")
        kinds = parts(name)  # an unknown model comes before settings that only it has
        unknown = sorted(set(values) - set(fields()))
        if unknown:
            raise UserError(f"unknown settings: {', '.join(map(_with_nearest, unknown))}")

        def part(kind):
            own = [field.name for field in dataclasses.fields(kind)]
            return kind(**{name: values[name] for name in own if name in values})

        return cls(*(part(kind) for kind in kinds.values()), model_name=name)


def read(path: Path, **changes) -> Settings:
    """The settings in a ``settings.json``.

    Args:
      path: the file.
      **changes: settings to replace, by flag name.

    Raises:
      UserError: the file is missing or holds no settings.
    """
    values = storage.read_json(path, "the settings of a run")
    try:
        return Settings.from_dict(values | changes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def check_own(model: str, names: Iterable[str]) -> None:
    """Raises a ``UserError`` where a setting is none of a model's own, but of another model.

    Args:
      model: name of the model, the value of ``--model``.
      names: names of settings that were given.
    """
    own = {"model"} | {f.name for kind in parts(model).values() for f in dataclasses.fields(kind)}
    for name in names:
        if name in fields() and name not in own:
            raise UserError(f"--{name} is set, but --model={model} has no such setting")


def parts(model: str) -> dict[str, type]:
    """The dataclasses of settings by group, for one model.

    Args:
      model: name of the model, the value of ``--model``.

    Raises:
      UserError: there is no such model.
    """
    return {
        "data": DataSettings,
        "model": registry.get(model).settings,
        "training": TrainingSettings,
        "run": RunSettings,
    }


def fields() -> dict[str, dataclasses.Field]:
    """Name of a flag -> field, for every setting of every model and for ``model`` itself.

    A name that several models share has one type and one default; the help text is that of the
    first model that has it.
    """
    choice = setting(registry.DEFAULT, "The model.", choices=tuple(registry.names()))
    choice.name, choice.type = "model", "str"
    known = {"model": choice}
    kinds = [DataSettings, *(spec.settings for spec in registry.specs())]
    for kind in (*kinds, TrainingSettings, RunSettings):
        for field in dataclasses.fields(kind):
            known.setdefault(field.name, field)
    return known


def _with_nearest(name):
    nearest = difflib.get_close_matches(name, fields(), n=1)
    return f"{name} (did you mean {nearest[0]}?)" if nearest else name
