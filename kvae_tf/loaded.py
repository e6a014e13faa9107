"""An exported model behind the contract of the systems, so that evaluation takes it as one."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from kvae_tf import files
from kvae_tf.errors import UserError
from kvae_tf.layers import Encoding
from kvae_tf.models import batches
from kvae_tf.models.base import QUERIES, Bound, Frames, Latents

BOUNDS = ("elbo", "score", "log_likelihood")


class LoadedModel:
    """A SavedModel of ``export``.

    Args:
      path: the version's folder, with ``saved_model.pb``.

    Attributes:
      module: what TensorFlow loaded.
      frame_shape: ``(H, W, C)``.
      control_size: U.
      max_objects: of systems that know objects, the most in a sequence; else 0.
      bound_name: ``"elbo"``, or what the system has instead.
      elbo_is_log_weight: whether ``elbo`` is the logarithm of an importance weight.
      filter_warmup: number of steps at the start whose filtered states also depend on later frames.
      supports: the queries that it answers.
      imputation_methods: what ``impute`` can do, the best first.
      noise_seed: 0, the seed of the evaluation's noise.

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
        signatures = self.module.signatures
        if "decode" not in signatures or "impute" not in signatures:
            raise UserError(
                f"{path} has signatures {sorted(signatures)}, expected decode, impute …"
            )
        _, inputs = signatures["impute"].structured_input_signature
        self.frame_shape = tuple(inputs["frames"].shape[2:])
        self.control_size = int(self.module.control_size)
        self.max_objects = int(getattr(self.module, "max_objects", 0))
        self.bound_name = next(name for name in BOUNDS if name in signatures)
        # Exports from before they said this themselves have it in their settings.
        older = _settings(self.path.parent / "settings.json")
        self.elbo_is_log_weight = bool(
            getattr(self.module, "elbo_is_log_weight", _is_log_weight(older))
        )
        self.filter_warmup = int(getattr(self.module, "filter_warmup", _filter_warmup(older)))
        self.supports = frozenset(name for name in QUERIES if name in signatures)
        self.imputation_methods = ("smooth", "filter") if "smooth" in self.supports else ("filter",)

    def elbo(self, batch, seed):
        """The bound of each sequence; see ``SequenceModel.elbo``."""
        inputs = _given(*(batch.get(name) for name in ("frames", "observed", "controls")))
        known = {"num_objects": batch.get("num_objects")} if self.max_objects else {}
        bound = getattr(self.module, self.bound_name)
        found = dict(bound(*inputs, seed=tf.cast(seed[1], tf.int32), **_counts(known)))
        return Bound(found.pop(self.bound_name), num_frames=found.pop("num_frames"), terms=found)

    def encode(self, frames):
        """q(a | x) of each frame."""
        found = self.module.encode(tf.cast(frames, tf.float32))
        return Encoding(found["encodings"], found["encoding_stds"])

    def decode(self, encodings, **context):
        """Frame means of encodings."""
        return self.module.decode(tf.cast(encodings, tf.float32), **_counts(context))["frames"]

    def filter(self, frames, observed=None, controls=None, **context):
        """Moments of z_t given the frames up to t."""
        return Latents(
            **self.module.filter(*_given(frames, observed, controls), **_counts(context))
        )

    def smooth(self, frames, observed=None, controls=None, **context):
        """Moments of z_t given all frames."""
        return Latents(
            **self.module.smooth(*_given(frames, observed, controls), **_counts(context))
        )

    def impute(self, frames, observed=None, controls=None, method="smooth", **context):
        """Frames everywhere, also where they are missing."""
        batches.check_method(self, method)
        query = self.module.impute_filter if method == "filter" else self.module.impute
        return Frames(**query(*_given(frames, observed, controls), **_counts(context)))

    def forecast(self, frames, observed=None, controls=None, num_steps=1, **context):
        """The frames that follow."""
        inputs = _given(frames, observed, controls)
        steps = tf.constant(num_steps)
        return Frames(**self.module.forecast(*inputs, num_steps=steps, **_counts(context)))

    def generate(self, num_sequences, num_steps, controls=None, seed=0, **context):
        """Sequences from the prior."""
        controls = tf.constant(0.0) if controls is None else tf.cast(controls, tf.float32)
        return Frames(
            **self.module.generate(
                tf.constant(num_sequences),
                tf.constant(num_steps),
                controls,
                seed=tf.constant(seed),
                **_counts(context),
            )
        )


def _settings(path):
    """The settings beside an export, none where there is no such file."""
    return files.read_json(path, "the settings of an export") if path.exists() else {}


def _is_log_weight(settings):
    """``elbo_is_log_weight`` of the model that the settings describe; unknown is no."""
    name, posterior = settings.get("model"), settings.get("posterior")
    return name in ("kvae", "vae_rnn") or (name == "cannonball" and posterior == "smoothed")


def _filter_warmup(settings):
    """``filter_warmup`` of the model that the settings describe; unknown is 0."""
    return settings.get("initial_frames", 1) - 1 if settings.get("model") == "dvbf" else 0


def _given(frames, observed, controls):
    """The inputs of a query; scalars stand for what is absent."""
    return (
        tf.cast(frames, tf.float32),
        tf.constant(1.0) if observed is None else tf.cast(observed, tf.float32),
        tf.constant(0.0) if controls is None else tf.cast(controls, tf.float32),
    )


def _counts(context):
    """``num_objects`` where it is known; the export has a default."""
    return {name: tf.cast(x, tf.int32) for name, x in context.items() if x is not None}
