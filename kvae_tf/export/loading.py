"""An exported model behind the contract of the models: it answers what a live one does."""

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
    """A SavedModel of ``kvae_tf.export``; see ``kvae_tf.models.VideoModel``.

    Args:
      path: the version's folder, with ``saved_model.pb``.

    Attributes:
      module: what TensorFlow loaded.
      signatures: signature name -> the names of its inputs and of its outputs.
      num_parameters: how many numbers the variables of the model hold.

    Raises:
      UserError: the folder holds no SavedModel, or one that is not of this package.
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
        found = self.module.signatures
        if "decode" not in found or "impute" not in found:
            raise UserError(f"{path} has signatures {sorted(found)}, expected decode, impute …")
        self.signatures = {
            name: (
                sorted(signature.structured_input_signature[1], key=_place),
                sorted(signature.structured_outputs, key=_place),
            )
            for name, signature in sorted(found.items())
        }
        _, given = found["impute"].structured_input_signature
        self.frame_shape = tuple(given["frames"].shape[2:])
        self.encoding_size = found["decode"].structured_input_signature[1]["encodings"].shape[-1]
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
        self.imputation_methods = ("smooth", "filter") if "smooth" in found else ("filter",)

    def _fact(self, name, otherwise):
        """What the export says of itself; one of an earlier version does not say everything."""
        return getattr(self.module, name, otherwise[name])

    def _older_facts(self):
        """What the settings beside an export say of it."""
        path = self.path.parent / "settings.json"
        values = storage.read_json(path, "the settings of an export") if path.exists() else {}
        name = values.get("model")
        return registry.get(name).older_exports(values) if name in registry.names() else {}

    @property
    def supports(self) -> frozenset[str]:
        """The queries that the export answers, out of ``QUERIES``."""
        return frozenset(name for name in QUERIES if name in self.signatures)

    def elbo(self, batch, seed):
        """The bound of each sequence; see ``SequenceModel.elbo``."""
        given = self._given(inputs.of_batch(self, batch))
        seed = tf.cast(as_sampler(seed).seed[1], tf.int32)
        found = dict(getattr(self.module, self.bound_name)(**given, seed=seed))
        return Bound(found.pop(self.bound_name), num_frames=found.pop("num_frames"), terms=found)

    def _encode(self, frames):
        found = self.module.encode(tf.reshape(frames, [1, -1, *self.frame_shape]))
        leading = tf.shape(frames)[:-3]
        return Encoding(
            *(
                tf.reshape(found[name], tf.concat([leading, [self.encoding_size]], axis=0))
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
        found = self.module.filter_step(state, given.frames, seen, given.controls)
        later = {name: x for name, x in found.items() if name.startswith("state_")}
        return later, {name: x for name, x in found.items() if name not in later}

    def _locate(self, given):
        return Encoding(**self.module.locate(**self._given(given)))

    def _components(self, given):
        return self.module.components(**self._given(given))["probabilities"]

    def _given(self, given):
        """The inputs of a query by name; scalars stand for what is absent."""
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
