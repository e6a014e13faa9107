"""Exported signatures that filter frame by frame, and look ahead from there.

The client keeps the filter's state between calls. All tensors of the state have names that start
with ``state_``, the same for inputs and outputs, so that a client passes the outputs of one call to
the next one.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.export import assertions
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.inputs import Inputs


def signatures(model: SequenceModel) -> dict[str, tf.types.experimental.GenericFunction]:
    """``filter_start``, ``filter_step`` and ``rollout``; none if the model lacks these queries.

    Args:
      model: a built model. Its filter's state is a NamedTuple of tensors and tuples of tensors.
    """
    if "filter_step" not in model.supports:
        return {}
    U = model.control_size
    one, zero = tf.constant(1.0), tf.constant(0.0)
    specs = [
        tf.TensorSpec([None, *model.frame_shape], tf.float32, name="frames"),
        tf.TensorSpec(None, tf.float32, name="observed"),
        tf.TensorSpec(None, tf.float32, name="controls"),
    ]
    interval_spec = tf.TensorSpec(None, tf.float32, name="interval")
    candidates = tf.TensorSpec([None, None, None, U], tf.float32, name="controls")
    like = model.filter_start(1)
    start = tf.function(
        lambda: named(model.filter_start(1), tf.zeros([1], tf.int32)), autograph=False
    )
    state_spec = {
        name: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, name=name)
        for name, spec in start.get_concrete_function().structured_outputs.items()
    }

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="batch_size")], autograph=False)
    def filter_start(batch_size):
        batch_size = assertions.shaped(batch_size, tf.TensorSpec([], tf.int32))
        batch_size = assertions.size("batch_size", batch_size)
        return named(model.filter_start(batch_size), tf.zeros([batch_size], tf.int32))

    def checked(state, frames, observed, controls, interval=None):
        frames = assertions.shaped(frames, specs[0])
        batch_size = tf.shape(frames)[0]
        state = {
            name: assertions.rows(
                name, assertions.shaped(value, state_spec[name]), batch_size, "frames"
            )
            for name, value in state.items()
        }
        frames, observed = assertions.frames(model, frames, observed, [batch_size])
        controls = assertions.controls(controls, [batch_size, U])
        controls = tf.ensure_shape(controls, [None, U])
        if interval is not None:
            interval = tf.ensure_shape(assertions.interval(interval, [batch_size]), [None])
        return state, Inputs(frames, observed, controls, times=interval)

    def step(state, *given):
        state, given = checked(state, *given)
        later, result = model._filter_step(of_names(state, like), given)
        return result | named(later, state["state_time"] + 1)

    if model.reads_times:
        unit = tf.constant(model.time_unit)

        @tf.function(input_signature=[state_spec, *specs, interval_spec], autograph=False)
        def filter_step(state, frames, observed=one, controls=zero, interval=unit):
            return step(state, frames, observed, controls, interval)

    else:

        @tf.function(input_signature=[state_spec, *specs], autograph=False)
        def filter_step(state, frames, observed=one, controls=zero):
            return step(state, frames, observed, controls)

    @tf.function(input_signature=[state_spec, specs[0], candidates, specs[1]], autograph=False)
    def rollout(state, frames, controls, observed=one):
        state, given = checked(state, frames, observed, zero)
        controls = assertions.shaped(controls, candidates)
        shape = tf.tensor_scatter_nd_update(tf.shape(controls), [[0]], [tf.shape(frames)[0]])
        controls = tf.ensure_shape(assertions.controls(controls, shape), candidates.shape)
        return model._rollout(of_names(state, like), given, controls)._asdict()

    found = {"filter_start": filter_start, "filter_step": filter_step}
    return found | ({"rollout": rollout} if "rollout" in model.supports else {})


def named(state: tuple, time: tf.Tensor) -> dict[str, tf.Tensor]:
    """The state as a flat dictionary, with ``state_time``.

    Args:
      state: a NamedTuple of tensors and tuples of tensors, each with a row for each sequence.
      time: ``[B]`` int32, the number of frames so far.
    """
    named = {"state_time": time}
    for field, value in state._asdict().items():
        if isinstance(value, tuple):
            named |= {f"state_{field}_{i}": x for i, x in enumerate(value)}
        else:
            named[f"state_{field}"] = value
    return named


def of_names(named: dict[str, tf.Tensor], like: tuple) -> tuple:
    """The state from a flat dictionary; inverse of ``named``.

    Args:
      named: tensors by name, ``state_time`` among them, which is no part of the state.
      like: a state of the same model.
    """
    fields = {
        field: tuple(named[f"state_{field}_{i}"] for i in range(len(value)))
        if isinstance(value, tuple)
        else named[f"state_{field}"]
        for field, value in like._asdict().items()
    }
    return type(like)(**fields)
