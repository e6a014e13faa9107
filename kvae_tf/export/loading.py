"""Exported models, which answer the same queries as live ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.layers import Encoding
from kvae_tf.lgssm import as_sampler
from kvae_tf.models import inputs, registry
from kvae_tf.models.contract import QUERIES, Bound, Frames, Latents, Rollout, Scores
from kvae_tf.models.queries import Queries

# Names of inputs and outputs in the order in which people read them; others follow.
_ORDER = (
    "state_mean", "frames", "stds", "encodings", "encoding_stds", "latents", "mode_weights",
    "observed", "controls", "times", "at", "interval", "num_objects",
    "num_sequences", "num_steps", "seed",
)  # fmt: skip
_SEQUENCE = {"frames", "observed", "controls"}
# Inputs of the signatures that every export has, and of some that it may have; for models with
# objects, num_objects comes on top.
_NEEDED = {"decode": {"encodings"}, "impute": _SEQUENCE}
_OPTIONAL = {
    "forecast": _SEQUENCE | {"num_steps"},
    "encode": {"frames"},
    "filter": _SEQUENCE,
    "smooth": _SEQUENCE,
    "impute_filter": _SEQUENCE,
    "score": _SEQUENCE,
    "generate": {"num_sequences", "num_steps", "controls", "seed"},
}
_LONGEST = 200  # letters of a foreign error
_FACTS = {
    "max_objects": 0,
    "is_vector": False,
    "filter_warmup": 0,
    "averages_frames": False,
    "elbo_is_log_weight": False,
    "variance_floor": 0.0,
}


class LoadedModel(Queries):
    """A SavedModel of this package with the calls of ``kvae_tf.models.VideoModel``.

    Args:
      path: folder of a version, with ``saved_model.pb``.

    Attributes:
      module: the module that ``tf.saved_model.load`` returned.
      signatures: name of a signature -> names of its inputs, names of its outputs.
      num_parameters: number of all entries of the model's variables.
      has_assertions: whether the graphs check their inputs; those of earlier versions do not.

    Raises:
      UserError: the folder holds no SavedModel, or one that this package did not write.
    """

    noise_seed = 0

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / "saved_model.pb").exists():
            raise UserError(f"{path} holds no saved_model.pb, expected an export's version folder")
        facts = _FACTS | self._older_facts()
        try:
            self.module = tf.saved_model.load(str(path))
        except Exception as error:  # whatever TensorFlow makes of a foreign file
            words = " ".join(str(error).split())[:_LONGEST]
            raise UserError(
                f"{path} cannot be loaded, expected an export of kvae_tf ({words})"
            ) from None
        self._signatures = self.module.signatures
        self._inputs = _inputs(self.module, path)
        self.signatures = {
            name: (
                sorted(self._inputs[name], key=_place),
                sorted(signature.structured_outputs, key=_place),
            )
            for name, signature in sorted(self._signatures.items())
        }
        self.frame_shape = tuple(self._inputs["impute"]["frames"].shape[2:])
        self.encoding_size = self._inputs["decode"]["encodings"].shape[-1]
        self.bound_name = next(
            name for name, signature in sorted(self._signatures.items()) if _is_bound(signature)
        )
        self.num_parameters = sum(math.prod(value.shape) for value in self.module.values)
        self.control_size = int(self.module.control_size)
        self.has_assertions = hasattr(self.module, "has_assertions")
        self.max_objects = int(self._fact("max_objects", facts))
        self.is_vector = bool(self._fact("is_vector", facts))
        self.filter_warmup = int(self._fact("filter_warmup", facts))
        self.averages_frames = bool(self._fact("averages_frames", facts))
        self.elbo_is_log_weight = bool(self._fact("elbo_is_log_weight", facts))
        self.variance_floor = float(self._fact("variance_floor", facts)) or None
        self.reads_times = "times" in self._inputs["impute"]
        if self.reads_times:
            self.time_unit = float(self.module.time_unit)
        self.imputation_methods = (
            ("smooth", "filter") if "smooth" in self.signatures else ("filter",)
        )

    def _fact(self, name, otherwise):
        """A variable of the export, or ``otherwise[name]`` where an earlier version lacks it."""
        return getattr(self.module, name, otherwise[name])

    def _older_facts(self):
        """Facts about an export of an earlier version, from the settings beside it."""
        path = self.path.parent / "settings.json"
        values = storage.read_json(path, "the settings of an export") if path.exists() else {}
        name = values.get("model")
        if name not in registry.names():
            return {}
        try:
            return registry.get(name).older_exports(values)
        except TypeError as error:
            raise UserError(f"{path} does not hold the settings of an export: {error}") from None

    @property
    def supports(self) -> frozenset[str]:
        """Names of the queries that the export answers, out of ``QUERIES``."""
        return frozenset(QUERIES) & (self.signatures.keys() - {self.bound_name})

    def elbo(self, batch, seed):
        """The bound of each sequence of a batch.

        Args:
          batch: ``frames [B, T, H, W, C]`` float32 in [0, 1], and optionally ``observed [B, T]``
            (1 = seen), ``controls [B, T, U]`` and ``num_objects [B]``.
          seed: an int, a stateless pair, or a ``Sampler``.

        Returns:
          A ``Bound``.
        """
        given = self._given(inputs.of_batch(self, batch))
        seed = tf.cast(as_sampler(seed).seed[1], tf.int32)
        terms = dict(self._call(self.bound_name, **given, seed=seed))
        return Bound(terms.pop(self.bound_name), num_frames=terms.pop("num_frames"), terms=terms)

    def _encode(self, frames):
        moments = self._call("encode", frames=tf.reshape(frames, [1, -1, *self.frame_shape]))
        leading = tf.shape(frames)[:-3]
        return Encoding(
            *(
                tf.reshape(moments[name], tf.concat([leading, [self.encoding_size]], axis=0))
                for name in ("encodings", "encoding_stds")
            )
        )

    def _decode(self, encodings, num_objects):
        if num_objects is not None:
            return self._call("decode", encodings=encodings, num_objects=num_objects)["frames"]
        flat = tf.reshape(encodings, [1, -1, self.encoding_size])
        shape = tf.concat([tf.shape(encodings)[:-1], self.frame_shape], axis=0)
        return tf.reshape(self._call("decode", encodings=flat)["frames"], shape)

    def _filter(self, given):
        return Latents(**self._call("filter", **self._given(given)))

    def _smooth(self, given):
        return Latents(**self._call("smooth", **self._given(given)))

    def _impute(self, given, method):
        # The signature ``impute`` has the model's best method.
        query = "impute" if method == self.imputation_methods[0] else "impute_filter"
        return Frames(**self._call(query, **self._given(given)))

    def _forecast(self, given, num_steps):
        num_steps = tf.cast(num_steps, tf.int32)
        return Frames(**self._call("forecast", **self._given(given), num_steps=num_steps))

    def _impute_at(self, given, at, method):
        query = "impute_at" if method == self.imputation_methods[0] else "impute_at_filter"
        return Frames(**self._call(query, **self._given(given), at=at))

    def _generate(self, controls, num_steps, sampler, num_objects, times=None):
        return Frames(
            **self._call(
                "generate",
                num_sequences=tf.shape(controls)[0],
                num_steps=tf.cast(num_steps, tf.int32),
                controls=controls if self.control_size else tf.constant(0.0),
                seed=tf.cast(sampler.seed[1], tf.int32),
                **_counts(num_objects),
                **self._times(times),
            )
        )

    def _score(self, given):
        return Scores(**self._call("score", **self._given(given)))

    def _filter_start(self, batch_size):
        return self._call("filter_start", batch_size=tf.cast(batch_size, tf.int32))

    def _filter_step(self, state, given):
        named = self._given(given)
        if self.reads_times:
            named["interval"] = named.pop("times")
        result = self._call("filter_step", **self._state(state), **named)
        later = {name: x for name, x in result.items() if name.startswith("state_")}
        return later, {name: x for name, x in result.items() if name not in later}

    def _rollout(self, state, given, controls):
        given = self._given(given) | {"controls": controls}
        return Rollout(**self._call("rollout", **self._state(state), **given))

    def _locate(self, given):
        return Encoding(**self._call("locate", **self._given(given)))

    def _components(self, given):
        return self._call("components", **self._given(given))["probabilities"]

    def _call(self, name, **given):
        """The outputs of a signature by name.

        Not by the function of the same name in ``module``: TensorFlow takes the lock of a function
        before it binds the inputs, and keeps it for good if they do not fit.
        """
        return self._signatures[name](**given)

    def _state(self, state):
        """The state of a filter by name, of the shapes and types that ``filter_step`` wants."""
        specs = {n: x for n, x in self._inputs["filter_step"].items() if n.startswith("state_")}
        if not isinstance(state, Mapping) or state.keys() != specs.keys():
            raise UserError(
                f"state has {sorted(state) if isinstance(state, Mapping) else type(state)}, "
                f"expected {sorted(specs)}, as filter_start and filter_step give it"
            )
        for name, spec in specs.items():
            value = tf.convert_to_tensor(state[name])
            if value.dtype != spec.dtype or not spec.shape.is_compatible_with(value.shape):
                raise UserError(
                    f"state has {name} of shape {value.shape} and {value.dtype.name}, expected "
                    f"{spec.shape} and {spec.dtype.name}"
                )
        return {name: tf.convert_to_tensor(value) for name, value in state.items()}

    def _given(self, given):
        """Inputs of a signature by name; scalars stand for masks and controls that are absent."""
        return {
            "frames": given.frames,
            "observed": tf.constant(1.0) if given.observed is None else given.observed,
            "controls": given.controls if self.control_size else tf.constant(0.0),
            **_counts(given.num_objects),
            **self._times(given.times),
        }

    def _times(self, times):
        if not self.reads_times:
            return {}
        return {"times": tf.constant(self.time_unit) if times is None else times}


def _inputs(module, path):
    """Name of a signature -> its ``tf.TensorSpec``s by name; all are those of an export of ours."""
    signatures = module.signatures
    found = {name: s.structured_input_signature[1] for name, s in signatures.items()}
    for name in _NEEDED.keys() - found.keys():
        raise UserError(
            f"{path} has signatures {sorted(found)}, expected those of an export of kvae_tf, "
            f"{name} among them"
        )
    for name, wanted in (_NEEDED | _OPTIONAL).items():
        own = set(found.get(name, wanted)) - {"num_objects", "times"}
        if own != wanted and not _is_bound(signatures[name]):
            raise UserError(
                f"{path} has a signature {name} of {sorted(own)}, expected {sorted(wanted)}"
            )
    for name, text, rank in (
        ("frames", "[B, T, H, W, C]", 5),
        ("encodings", "[B, T, m]", 3),
    ):
        spec = found["impute" if name == "frames" else "decode"][name]
        if spec.shape.rank != rank or not spec.shape[2:].is_fully_defined():
            raise UserError(f"{path} takes {name} of shape {spec.shape}, expected {text}")
    has_bound = any(map(_is_bound, signatures.values()))
    if not (has_bound and hasattr(module, "values") and hasattr(module, "control_size")):
        raise UserError(f"{path} has no bound or no variables, expected an export of kvae_tf")
    return found


def _is_bound(signature):
    """Whether this is the bound: some earlier versions named it ``score``, as a query is now."""
    return "num_frames" in signature.structured_outputs


def _counts(num_objects):
    return {} if num_objects is None else {"num_objects": num_objects}


def _place(name):
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)
