"""Exported models, which answer the same queries as live ones."""

from __future__ import annotations

import math
from pathlib import Path

import tensorflow as tf

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.layers import Encoding
from kvae_tf.lgssm import as_sampler
from kvae_tf.models import inputs, registry
from kvae_tf.models.contract import QUERIES, Bound, Frames, Latents
from kvae_tf.models.queries import Queries

# Names of inputs and outputs in the order in which people read them; others follow.
_ORDER = (
    "state_mean", "frames", "encodings", "encoding_stds", "latents", "mode_weights", "observed",
    "controls", "num_objects", "num_sequences", "num_steps", "seed",
)  # fmt: skip
_FACTS = {
    "max_objects": 0,
    "is_vector": False,
    "filter_warmup": 0,
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

    Raises:
      UserError: the folder holds no SavedModel, or one that this package did not write.
    """

    noise_seed = 0

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / "saved_model.pb").exists():
            raise UserError(f"{path} holds no saved_model.pb, expected an export's version folder")
        try:
            self.module = tf.saved_model.load(str(path))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{path} cannot be loaded: {error}") from None
        signatures = self.module.signatures
        if "decode" not in signatures or "impute" not in signatures:
            names = sorted(signatures)
            raise UserError(f"{path} has signatures {names}, expected decode, impute …")
        self.signatures = {
            name: (
                sorted(signature.structured_input_signature[1], key=_place),
                sorted(signature.structured_outputs, key=_place),
            )
            for name, signature in sorted(signatures.items())
        }
        _, given = signatures["impute"].structured_input_signature
        self.frame_shape = tuple(given["frames"].shape[2:])
        _, decoded = signatures["decode"].structured_input_signature
        self.encoding_size = decoded["encodings"].shape[-1]
        self.bound_name = next(
            name for name, (_, outputs) in self.signatures.items() if "num_frames" in outputs
        )
        self.num_parameters = sum(math.prod(value.shape) for value in self.module.values)
        self.control_size = int(self.module.control_size)
        facts = _FACTS | self._older_facts()
        self.max_objects = int(self._fact("max_objects", facts))
        self.is_vector = bool(self._fact("is_vector", facts))
        self.filter_warmup = int(self._fact("filter_warmup", facts))
        self.elbo_is_log_weight = bool(self._fact("elbo_is_log_weight", facts))
        self.variance_floor = float(self._fact("variance_floor", facts)) or None
        self.imputation_methods = ("smooth", "filter") if "smooth" in signatures else ("filter",)

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
        return frozenset(name for name in QUERIES if name in self.signatures)

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
        terms = dict(getattr(self.module, self.bound_name)(**given, seed=seed))
        return Bound(terms.pop(self.bound_name), num_frames=terms.pop("num_frames"), terms=terms)

    def _encode(self, frames):
        moments = self.module.encode(tf.reshape(frames, [1, -1, *self.frame_shape]))
        leading = tf.shape(frames)[:-3]
        return Encoding(
            *(
                tf.reshape(moments[name], tf.concat([leading, [self.encoding_size]], axis=0))
                for name in ("encodings", "encoding_stds")
            )
        )

    def _decode(self, encodings, num_objects):
        if num_objects is not None:
            return self.module.decode(encodings, num_objects=num_objects)["frames"]
        flat = tf.reshape(encodings, [1, -1, self.encoding_size])
        shape = tf.concat([tf.shape(encodings)[:-1], self.frame_shape], axis=0)
        return tf.reshape(self.module.decode(flat)["frames"], shape)

    def _filter(self, given):
        return Latents(**self.module.filter(**self._given(given)))

    def _smooth(self, given):
        return Latents(**self.module.smooth(**self._given(given)))

    def _impute(self, given, method):
        # The signature ``impute`` has the model's best method.
        query = self.module.impute
        if method != self.imputation_methods[0]:
            query = self.module.impute_filter
        return Frames(**query(**self._given(given)))

    def _forecast(self, given, num_steps):
        return Frames(
            **self.module.forecast(**self._given(given), num_steps=tf.constant(num_steps))
        )

    def _generate(self, controls, num_steps, sampler, num_objects):
        return Frames(
            **self.module.generate(
                num_sequences=tf.shape(controls)[0],
                num_steps=tf.constant(num_steps),
                controls=controls if self.control_size else tf.constant(0.0),
                seed=tf.cast(sampler.seed[1], tf.int32),
                **_counts(num_objects),
            )
        )

    def _filter_start(self, batch_size):
        return self.module.filter_start(tf.constant(batch_size))

    def _filter_step(self, state, given):
        seen = tf.constant(1.0) if given.observed is None else given.observed
        result = self.module.filter_step(state, given.frames, seen, given.controls)
        later = {name: x for name, x in result.items() if name.startswith("state_")}
        return later, {name: x for name, x in result.items() if name not in later}

    def _locate(self, given):
        return Encoding(**self.module.locate(**self._given(given)))

    def _components(self, given):
        return self.module.components(**self._given(given))["probabilities"]

    def _given(self, given):
        """Inputs of a signature by name; scalars stand for masks and controls that are absent."""
        return {
            "frames": given.frames,
            "observed": tf.constant(1.0) if given.observed is None else given.observed,
            "controls": given.controls if self.control_size else tf.constant(0.0),
            **_counts(given.num_objects),
        }


def _counts(num_objects):
    return {} if num_objects is None else {"num_objects": num_objects}


def _place(name):
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)
