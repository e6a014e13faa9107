"""The settings of a whole experiment.

Each part stands beside the code that it is about: ``data.settings``, the chosen model's own
settings, ``training.settings``, and where the results go, here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from kvae_tf.data.settings import DataSettings, check, setting
from kvae_tf.errors import UserError
from kvae_tf.models import registry
from kvae_tf.models.settings import ModelSettings
from kvae_tf.models.spec import ModelSpec
from kvae_tf.training.build import TrainingPlan
from kvae_tf.training.settings import TrainingSettings

# Settings that say where a run lies, not what it is.
PLACES = ("run_dir", "export_dir", "cache_dir", "resume", "overwrite")


@dataclass(frozen=True)
class RunSettings:
    """Where a run leaves its results."""

    run_dir: str = setting("", "Folder for checkpoints, TensorBoard logs, metrics.json (required).")
    export_dir: str = setting("", "Folder of the SavedModel; empty: RUN_DIR/saved_model/1.")
    resume: bool = setting(False, "Go on from the last checkpoint in RUN_DIR, if there is one.")
    overwrite: bool = setting(False, "Start afresh where RUN_DIR holds another run.")

    def validate(self) -> None:
        """Raises a ``UserError`` where there is no folder."""
        check(self)
        if not self.run_dir:
            raise UserError("--run_dir is not set, expected a folder for the run's results")


@dataclass(frozen=True)
class Settings:
    """All settings of an experiment.

    Attributes:
      data: where sequences come from.
      model: the settings of the chosen model, an instance of ``spec.settings``.
      training: optimiser and schedule.
      run: where results go.
      model_name: what ``--model`` says.

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
        self.model.validate(self.training.epochs)
        self.training.validate()
        self.run.validate()

    @property
    def spec(self) -> ModelSpec:
        """The chosen model's spec."""
        return registry.get(self.model_name)

    @property
    def plan(self) -> TrainingPlan:
        """What the training follows."""
        return TrainingPlan(self.data, self.spec, self.model, self.training)

    def to_dict(self) -> dict[str, object]:
        """Every setting by its flag's name."""
        values = dataclasses.asdict(self.data) | {"model": self.model_name}
        for part in (self.model, self.training, self.run):
            values |= dataclasses.asdict(part)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> Settings:
        """Settings from values by flag name; what is absent keeps its default.

        Settings of other models than the chosen one are left out: files may hold them all.

        Raises:
          UserError: an unknown name, or a value outside its limits.
        """
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        name = values.get("model", registry.DEFAULT)
        kinds = parts(name)  # an unknown model comes before settings that only it has
        unknown = sorted(set(values) - set(fields()))
        if unknown:
            raise UserError(f"unknown settings: {', '.join(unknown)}")

        def part(kind):
            own = [field.name for field in dataclasses.fields(kind)]
            return kind(**{name: values[name] for name in own if name in values})

        return cls(*(part(kind) for kind in kinds.values()), model_name=name)


def parts(model: str) -> dict[str, type]:
    """The dataclasses of settings by group, for one model.

    Args:
      model: what ``--model`` says.

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
    """Every setting of every model by its flag's name; ``model`` itself included.

    A name that several models share has one type and one default; its help text is that of the
    first of them.
    """
    choice = setting(registry.DEFAULT, "The model.", choices=tuple(registry.names()))
    choice.name, choice.type = "model", "str"
    known = {"model": choice}
    kinds = [DataSettings, *(spec.settings for spec in registry.specs())]
    for kind in (*kinds, TrainingSettings, RunSettings):
        for field in dataclasses.fields(kind):
            known.setdefault(field.name, field)
    return known
