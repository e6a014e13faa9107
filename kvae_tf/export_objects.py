"""The exported queries of systems that know several objects; see ``export``.

They are those of all systems, and take how many objects each sequence shows: ``num_objects``, a
scalar or ``[B]``, by default as many as the system knows.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.models.base import SequenceModel


def queries(model: SequenceModel) -> dict[str, tf.types.experimental.GenericFunction]:
    """Signature name -> function.

    Args:
      model: a built system with ``max_objects`` and without controls.
    """
    frame_shape = list(model.frame_shape)
    frames_spec = tf.TensorSpec([None, None, *frame_shape], tf.float32, name="frames")
    observed_spec = tf.TensorSpec(None, tf.float32, name="observed")
    # Nothing acts on objects; so that all exports are called in one way it is taken nevertheless.
    controls_spec = tf.TensorSpec(None, tf.float32, name="controls")
    objects_spec = tf.TensorSpec(None, tf.int32, name="num_objects")
    steps_spec = tf.TensorSpec([], tf.int32, name="num_steps")
    seed_spec = tf.TensorSpec([], tf.int32, name="seed")
    one, zero, all_objects = tf.constant(1.0), tf.constant(0.0), tf.constant(model.max_objects)
    one_step, one_sequence, default_seed = tf.constant(1), tf.constant(1), tf.constant(0)
    sequence = [frames_spec, observed_spec, controls_spec, objects_spec]
    encodings_spec = tf.TensorSpec([None, None, model.encoding_size], tf.float32, name="encodings")

    def counts(num_objects, like):
        num_objects = tf.broadcast_to(num_objects, tf.shape(like)[:1])
        return tf.ensure_shape(num_objects, [None])

    def full(frames, observed, num_objects):
        observed = tf.broadcast_to(observed, tf.shape(frames)[:2])
        observed = tf.ensure_shape(observed, [None, None])
        return {
            "frames": frames,
            "observed": observed,
            "num_objects": counts(num_objects, frames),
        }

    @tf.function(input_signature=sequence)
    def locate(frames, observed=one, controls=zero, num_objects=all_objects):
        return model.locate(**full(frames, observed, num_objects))._asdict()

    @tf.function(input_signature=sequence)
    def components(frames, observed=one, controls=zero, num_objects=all_objects):
        return {"probabilities": model.components(**full(frames, observed, num_objects))}

    @tf.function(input_signature=[encodings_spec, objects_spec])
    def decode(encodings, num_objects=all_objects):
        return {"frames": model.decode(encodings, counts(num_objects, encodings))}

    @tf.function(input_signature=sequence)
    def filter(frames, observed=one, controls=zero, num_objects=all_objects):
        return model.filter(**full(frames, observed, num_objects))._asdict()

    @tf.function(input_signature=sequence)
    def smooth(frames, observed=one, controls=zero, num_objects=all_objects):
        return model.smooth(**full(frames, observed, num_objects))._asdict()

    @tf.function(input_signature=sequence)
    def impute(frames, observed=one, controls=zero, num_objects=all_objects):
        return model.impute(**full(frames, observed, num_objects), method="smooth")._asdict()

    @tf.function(input_signature=sequence)
    def impute_filter(frames, observed=one, controls=zero, num_objects=all_objects):
        return model.impute(**full(frames, observed, num_objects), method="filter")._asdict()

    @tf.function(input_signature=[*sequence, steps_spec])
    def forecast(
        frames, observed=one, controls=zero, num_objects=all_objects, num_steps=one_step
    ):  # fmt: skip
        given = full(frames, observed, num_objects)
        return model.forecast(**given, num_steps=num_steps)._asdict()

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.int32, name="num_sequences"),
            steps_spec,
            controls_spec,
            objects_spec,
            seed_spec,
        ]
    )
    def generate(
        num_sequences=one_sequence,
        num_steps=one_step,
        controls=zero,
        num_objects=all_objects,
        seed=default_seed,
    ):
        num_objects = counts(num_objects, tf.zeros([num_sequences]))
        return model.generate(
            num_sequences, num_steps, seed=seed, num_objects=num_objects
        )._asdict()

    @tf.function(input_signature=[*sequence, seed_spec])
    def elbo(frames, observed=one, controls=zero, num_objects=all_objects, seed=default_seed):
        batch = full(frames, observed, num_objects)
        found = model.elbo(batch, seed)
        return {"elbo": found.elbo, "num_frames": found.num_frames, **found.terms}

    return {
        "locate": locate,
        "components": components,
        "decode": decode,
        "filter": filter,
        "smooth": smooth,
        "impute": impute,
        "impute_filter": impute_filter,
        "forecast": forecast,
        "generate": generate,
        "elbo": elbo,
    }
