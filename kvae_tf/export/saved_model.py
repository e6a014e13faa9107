"""A trained model as a SavedModel that TensorFlow alone can load.

There is one signature for each query of ``supports``, with named inputs and outputs and dynamic
batch and time. Optional inputs have defaults: ``observed`` is 1, ``controls`` are 0, each broadcast
to its full shape, and ``num_objects`` is ``max_objects``. Models in continuous time take ``times``,
too, by default ``time_unit``: one number stands for frames so many seconds apart. ``_signatures``
lists the inputs of each signature. ``assertions`` refuses inputs that do not fit, when a graph
runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from kvae_tf.data import storage
from kvae_tf.export import assertions, streaming
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.inputs import Inputs

_DEFAULTS = {
    "observed": 1.0,
    "controls": 0.0,
    "num_steps": 1,
    "num_sequences": 1,
    "seed": 0,
}


class Exported(tf.Module):
    """The queries of a model as ``tf.function``s, with the variables they need.

    Properties of the model that the signatures do not show are kept in variables: ``control_size``,
    ``max_objects``, ``is_vector``, ``filter_warmup``, ``averages_frames``, ``variance_floor`` (0:
    none) and ``elbo_is_log_weight``; so is ``has_assertions``, which exports of earlier versions
    lack, and ``time_unit``, which models in continuous time have.

    Args:
      model: a built model.
    """

    def __init__(self, model: SequenceModel):
        super().__init__(name="exported")
        self.values = [variable.value for variable in model.variables]
        for name in (
            "control_size", "max_objects", "is_vector", "filter_warmup", "averages_frames",
            "elbo_is_log_weight",
        ):  # fmt: skip
            setattr(self, name, tf.Variable(int(getattr(model, name)), trainable=False))
        self.variance_floor = tf.Variable(model.variance_floor or 0.0, trainable=False)
        self.has_assertions = tf.Variable(1, trainable=False)
        if model.reads_times:
            self.time_unit = tf.Variable(model.time_unit, trainable=False)
        self._queries = _signatures(model) | streaming.signatures(model)
        for name, query in self._queries.items():
            setattr(self, name, query)

    @property
    def signatures_by_name(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """Name of a signature -> function; ``serving_default`` is ``impute`` where there is one."""
        default = "impute" if "impute" in self._queries else next(iter(self._queries))
        return self._queries | {"serving_default": self._queries[default]}


def export(model: SequenceModel, path: Path) -> None:
    """Writes the SavedModel; an existing folder is replaced when the new one is complete.

    Args:
      model: a built model; queries that it does not answer have no signature.
      path: folder of the version, for instance ``saved_models/pendulum/1``.
    """
    module = Exported(model)
    with storage.atomic_directory(path) as folder:
        tf.saved_model.save(module, str(folder), signatures=module.signatures_by_name)


def _signatures(model):
    """Name of a signature -> function, for all queries about whole sequences."""
    objects = ["num_objects"] if model.max_objects else []
    times = ["times"] if model.reads_times else []
    sequence = ["frames", "observed", "controls", *objects, *times]
    best = model.imputation_methods[0]

    def encode(frames):
        q = model.encode(frames)
        return {"encodings": q.mean, "encoding_stds": q.std}

    def bound(given, seed):
        batch = {name: x for name, x in given._asdict().items() if x is not None}
        result = model.elbo(batch, seed)
        return {model.bound_name: result.elbo, "num_frames": result.num_frames, **result.terms}

    def generate(controls, num_sequences, num_steps, seed, num_objects=None, times=None):
        found = model.generate(num_sequences, num_steps, controls, seed, num_objects, times)
        return _named(found)

    # Name of a signature -> query that the model must support, names of inputs, function. Where
    # inputs are a sequence, that is ``given``, and the checks of the model's public call are done.
    table = {
        "encode": ("encode", ["frames"], encode),
        "decode": (
            "decode",
            ["encodings", *objects],
            lambda **given: {"frames": model.decode(**given)},
        ),
        "filter": ("filter", sequence, lambda given: _named(model._filter(given))),
        "smooth": ("smooth", sequence, lambda given: _named(model._smooth(given))),
        "impute": ("impute", sequence, lambda given: _named(model._impute(given, best))),
        "impute_filter": (
            "impute",
            sequence,
            lambda given: _named(model._impute(given, "filter")),
        ),
        "forecast": (
            "forecast",
            [*sequence, "num_steps"],
            lambda given, num_steps: _named(model._forecast(given, num_steps)),
        ),
        "generate": (
            "generate",
            ["num_sequences", "num_steps", "controls", *objects, *times, "seed"],
            generate,
        ),
        "score": ("score", sequence, lambda given: _named(model._score(given))),
        "locate": ("locate", sequence, lambda given: _named(model._locate(given))),
        "components": (
            "components",
            sequence,
            lambda given: {"probabilities": model._components(given)},
        ),
        model.bound_name: ("", [*sequence, "seed"], bound),
    }
    if model.reads_times:
        for name, method in (("impute_at", best), ("impute_at_filter", "filter")):
            table[name] = (
                "impute",
                ["frames", "at", *sequence[1:]],
                lambda given, at, method=method: _named(model._impute_at(given, at, method)),
            )
    return {
        name: _declare(model, names, answer)
        for name, (query, names, answer) in table.items()
        if not query or query in model.supports
    }


def _named(answer):
    """The parts of an answer by name, without those that are None."""
    return {name: x for name, x in answer._asdict().items() if x is not None}


def _declare(model, names: list[str], answer: Callable):
    """A ``tf.function`` with these inputs, which calls ``answer`` with the checked ones."""
    specs = _specs(model)
    defaults = _DEFAULTS | {"num_objects": model.max_objects, "times": model.time_unit}
    signature = inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=tf.constant(defaults[name])
                if name in defaults
                else inspect.Parameter.empty,
            )
            for name in names
        ]
    )

    def call(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        given = {name: assertions.shaped(x, specs[name]) for name, x in given.items()}
        return answer(**_checked(model, given))

    call.__signature__ = signature  # for TensorFlow, and for callers of the loaded export
    return tf.function(call, input_signature=[specs[name] for name in names], autograph=False)


def _specs(model):
    """Name of an input -> ``tf.TensorSpec``, for the inputs of all signatures."""
    unknown = {
        "observed": tf.float32, "controls": tf.float32, "times": tf.float32,
        "num_objects": tf.int32,
    }  # fmt: skip
    scalars = ("num_steps", "num_sequences", "seed")
    return {
        "frames": tf.TensorSpec([None, None, *model.frame_shape], tf.float32, name="frames"),
        "at": tf.TensorSpec([None, None], tf.float32, name="at"),
        "encodings": tf.TensorSpec([None, None, model.encoding_size], tf.float32, name="encodings"),
        **{name: tf.TensorSpec(None, dtype, name=name) for name, dtype in unknown.items()},
        **{name: tf.TensorSpec([], tf.int32, name=name) for name in scalars},
    }


def _checked(model, given):
    """Inputs checked inside the graph, of full shapes; those of a sequence become ``Inputs``."""
    given = dict(given)
    for name in ("num_sequences", "num_steps"):
        if name in given:
            given[name] = assertions.size(name, given[name])
    like = given.get("frames", given.get("encodings"))
    shape = tf.stack([given["num_sequences"], 0]) if like is None else tf.shape(like)[:2]
    if "observed" in given:
        shape = assertions.size("frames: number of sequences, of frames", shape)
    if "frames" in given:
        observed = given.get("observed", tf.constant(1.0))
        frames, observed = assertions.frames(model, given["frames"], observed, shape)
    if "num_objects" in given:
        counts = assertions.counts(given["num_objects"], model.max_objects, shape[:1])
        given["num_objects"] = counts
    if "controls" in given:
        ahead = given.get("num_steps", 0)
        given["controls"] = _controls(given["controls"], shape[0], shape[1], ahead, model)
    if "times" in given:
        least = None if "num_steps" not in given else tf.maximum(shape[1], 1)
        num_steps = shape[1] + given.get("num_steps", 0)
        times = assertions.times(given["times"], [shape[0], num_steps], least, model.time_unit)
        if "at" in given:
            given["at"] = assertions.at(given["at"], times)
        given["times"] = tf.ensure_shape(times - times[:, :1], [None, None])
    if "observed" in given:
        given |= {"frames": frames, "observed": observed}
        parts = {name: given.pop(name) for name in Inputs._fields if name in given}
        given["given"] = Inputs(**parts)
    return given


def _controls(controls, B, T, ahead, model):
    """Controls ``[B, T + ahead, U]``; if steps lie ahead, those that are not given are 0."""
    U, num_steps = model.control_size, T + ahead
    least = None if isinstance(ahead, int) else tf.maximum(T - 1, 0)
    controls = assertions.controls(controls, [B, num_steps, U], least)
    if least is not None:
        missing = tf.maximum(num_steps - tf.shape(controls)[1], 0)
        controls = tf.pad(controls, [[0, 0], [0, missing], [0, 0]])[:, :num_steps]
    return tf.ensure_shape(controls, [None, None, U])
