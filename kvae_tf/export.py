"""A trained model as a SavedModel that TensorFlow alone can load.

One signature a query, inputs and outputs by name, batch and time dynamic. What a caller need not
give has a default: ``observed`` is 1, ``controls`` are 0, each broadcast to its full shape.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from kvae_tf import export_objects, export_stream, files
from kvae_tf.models import batches
from kvae_tf.models.base import SequenceModel

_VECTORS = ("encodings", "encoding_stds", "latents", "mode_weights")


class Exported(tf.Module):
    """The queries of a model as ``tf.function``s, with the variables they need."""

    def __init__(self, model: SequenceModel):
        super().__init__(name="exported")
        self.values = [variable.value for variable in model.variables]
        self.control_size = tf.Variable(model.control_size, trainable=False)
        self.max_objects = tf.Variable(model.max_objects, trainable=False)
        framewise = export_objects.queries if model.max_objects else _queries
        self.elbo_is_log_weight = tf.Variable(model.elbo_is_log_weight, trainable=False)
        self.filter_warmup = tf.Variable(model.filter_warmup, trainable=False)
        self._queries = framewise(model) | export_stream.queries(model)
        for name, query in self._queries.items():
            setattr(self, name, query)

    @property
    def signatures_by_name(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """Signature name -> function; ``serving_default`` fills in missing frames."""
        default = "impute" if "impute" in self._queries else next(iter(self._queries))
        return self._queries | {"serving_default": self._queries[default]}


def export(model: SequenceModel, path: Path) -> None:
    """Writes the SavedModel; a folder that is there already is replaced when the new one is whole.

    Args:
      model: a built model; what it cannot answer has no signature.
      path: the version's folder, for instance ``saved_models/pendulum/1``.
    """
    module = Exported(model)
    with files.whole_folder(path) as folder:
        tf.saved_model.save(module, str(folder), signatures=module.signatures_by_name)


def _queries(model):
    frame_shape, U = list(model.frame_shape), model.control_size
    frames_spec = tf.TensorSpec([None, None, *frame_shape], tf.float32, name="frames")
    observed_spec = tf.TensorSpec(None, tf.float32, name="observed")
    controls_spec = tf.TensorSpec(None, tf.float32, name="controls")
    steps_spec = tf.TensorSpec([], tf.int32, name="num_steps")
    one, zero = tf.constant(1.0), tf.constant(0.0)
    one_step, one_sequence, default_seed = tf.constant(1), tf.constant(1), tf.constant(0)
    sequence = [frames_spec, observed_spec, controls_spec]
    m = model.encoding_size

    def full(frames, observed, controls, extra=0):
        shape = tf.shape(frames)
        observed = tf.broadcast_to(observed, shape[:2])
        observed.set_shape([None, None])
        # A scalar stands for controls that are absent; others may also be shorter than T + extra.
        controls = tf.cond(
            tf.rank(controls) > 0,
            lambda: tf.reshape(controls, [shape[0], -1, U]) if U else tf.zeros([shape[0], 0, 0]),
            lambda: tf.fill([shape[0], shape[1] + extra, U], tf.reshape(controls, [])),
        )
        missing = tf.maximum(shape[1] + extra - tf.shape(controls)[1], 0)
        controls = tf.pad(controls, [[0, 0], [0, missing], [0, 0]])[:, : shape[1] + extra]
        controls.set_shape([None, None, U])
        return frames, observed, controls

    def named(result):
        return result._asdict()

    @tf.function(input_signature=[frames_spec])
    def encode(frames):
        q = model.encode(frames)
        return {"encodings": q.mean, "encoding_stds": q.std}

    @tf.function(input_signature=[tf.TensorSpec([None, None, m], tf.float32, name="encodings")])
    def decode(encodings):
        return {"frames": model.decode(encodings)}

    @tf.function(input_signature=sequence)
    def filter(frames, observed=one, controls=zero):
        return named(model.filter(*full(frames, observed, controls)))

    @tf.function(input_signature=sequence)
    def smooth(frames, observed=one, controls=zero):
        return named(model.smooth(*full(frames, observed, controls)))

    @tf.function(input_signature=sequence)
    def impute(frames, observed=one, controls=zero):
        best = model.imputation_methods[0]
        return named(model.impute(*full(frames, observed, controls), method=best))

    @tf.function(input_signature=sequence)
    def impute_filter(frames, observed=one, controls=zero):
        return named(model.impute(*full(frames, observed, controls), method="filter"))

    @tf.function(
        input_signature=[*sequence, tf.TensorSpec([], tf.int32, name="seed")],
    )
    def bound(frames, observed=one, controls=zero, seed=default_seed):
        frames, observed, controls = full(frames, observed, controls)
        batch = {"frames": frames, "observed": observed, "controls": controls}
        found = model.elbo(batch, batches.pair(seed))
        return {model.bound_name: found.elbo, "num_frames": found.num_frames, **found.terms}

    @tf.function(input_signature=[*sequence, steps_spec])
    def forecast(frames, observed=one, controls=zero, num_steps=one_step):
        frames, observed, controls = full(frames, observed, controls, extra=num_steps)
        return named(model.forecast(frames, observed, controls, num_steps=num_steps))

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.int32, name="num_sequences"),
            steps_spec,
            controls_spec,
            tf.TensorSpec([], tf.int32, name="seed"),
        ]
    )
    def generate(
        num_sequences=one_sequence,
        num_steps=one_step,
        controls=zero,
        seed=default_seed,
    ):
        blank = tf.zeros([num_sequences, num_steps, *frame_shape])
        _, _, controls = full(blank, one, controls)
        return named(model.generate(num_sequences, num_steps, controls, seed))

    found = {
        "encode": encode,
        "decode": decode,
        "filter": filter,
        "smooth": smooth,
        "impute": impute,
        "forecast": forecast,
        "generate": generate,
    }
    found = {name: query for name, query in found.items() if name in model.supports}
    if "impute" in found:
        found["impute_filter"] = impute_filter
    return found | {model.bound_name: bound}
