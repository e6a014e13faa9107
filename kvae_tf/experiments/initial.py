"""Trainings that start from the weights of a trained model, ``--init_from``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from kvae_tf.data import SequenceData, storage
from kvae_tf.errors import UserError
from kvae_tf.experiments import live, sources
from kvae_tf.experiments.settings import Settings
from kvae_tf.experiments.sources import Source
from kvae_tf.export import weights
from kvae_tf.models import registry
from kvae_tf.models.base import SequenceModel
from kvae_tf.training.build import build


def complete(values: dict[str, object]) -> dict[str, object]:
    """Settings that were given, with those of the model that a training starts from.

    Where ``init_from`` is set, the model and its settings are those of the trained model; numbers
    of epochs are not. A run that is resumed has them from its own folder.

    Args:
      values: name of a flag -> value, as far as they were given.

    Raises:
      UserError: there is no such model, or a setting that was given is another one than the trained
        model has.
    """
    what = values.get("init_from")
    if not isinstance(what, str):  # absent, or refused by the settings
        return values
    source = _described(values)
    if source is None:
        return values
    description = live.describe(source)
    theirs = storage.read_json(source.folder / "settings.json", "the settings of a model")
    theirs |= {"model": description.model}
    fields = [
        field
        for field in dataclasses.fields(registry.get(description.model).settings)
        if field.name in description.arguments or field.metadata["after_training"]
    ]
    known = {f.name: _plain(theirs.get(f.name, f.default)) for f in fields}
    known["model"] = description.model
    free = {field.name for field in fields if field.metadata["of_training"]}
    for name, value in known.items():
        if name in values and name not in free and _plain(values[name]) != value:
            raise UserError(
                f"--{name} is {_text(values[name])}, but --init_from={what} has {_text(value)}: "
                f"expected the same, or no --{name}"
            )
    return known | values


def build_model(
    settings: Settings, train: SequenceData, with_weights: bool = True
) -> SequenceModel:
    """The model of the settings for some data, which may start from the weights of another one.

    Args:
      settings: the whole experiment.
      train: the training part of the data.
      with_weights: set the weights that ``init_from`` names; False: a checkpoint will do it. True
        by default.

    Raises:
      UserError: the model does not fit the data, or the weights do not fit the model.
    """
    what = settings.training.init_from
    if not what:
        return build(settings.plan, train)
    source = _described(settings.to_dict())
    arguments = {}
    if source is not None:
        description = live.describe(source)
        for name in ("frame_shape", "control_size", "is_vector"):
            mine, expected = getattr(train, name), getattr(description, name)
            if mine != expected:
                raise UserError(
                    f"--dataset={settings.data.dataset} has {name} {mine}, but "
                    f"--init_from={what} has {expected}: expected the same"
                )
        given = description.arguments
        arguments = {n: given[n] for n in settings.spec.from_data if n in given}
    model = build(settings.plan, train, arguments=arguments)
    if with_weights:
        _set_weights(model, what)
    return model


def _set_weights(model, what):
    source = sources.find(what)
    if source.kind == "weights" and not (source.folder / weights.MODEL).exists():
        weights.read(source.weights, model)
    else:
        for mine, theirs in _pairs(model, live.from_source(source)):
            if mine.shape != theirs.shape:
                raise UserError(
                    f"--init_from={what} has weights of shape {theirs.shape}, expected {mine.shape}"
                )
            mine.assign(theirs)
    print(f"starting from the weights of {what}")


def _pairs(model, trained):
    """Variables of both models; those of layers that the trained one lacks keep their start."""
    mine, theirs = model.weights, trained.weights
    if len(mine) > len(theirs):
        known = {_path(variable) for variable in theirs}
        mine = [variable for variable in mine if _path(variable) in known]
    return zip(mine, theirs, strict=True)


def _path(variable):
    """Without the name of the model."""
    return variable.path.split("/", 1)[-1]


def _described(values) -> Source | None:
    """Where the description of the model is that a training starts from; None: nowhere."""
    what, run_dir = values.get("init_from"), Path(str(values.get("run_dir") or ""))
    if not what:
        return None
    if values.get("resume") and (run_dir / weights.MODEL).exists():
        return Source("run", run_dir)
    try:
        source = sources.find(what)
    except UserError as error:  # it begins with the name or path
        raise UserError(f"--init_from={error}") from None
    alone = source.kind == "weights" and not (source.folder / weights.MODEL).exists()
    return None if alone else source


def _plain(value):
    return tuple(value) if isinstance(value, list) else value


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
