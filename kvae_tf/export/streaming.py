"""The exported queries for frames that come one by one: state in, state out; see ``export``.

All tensors of the state have names that start with ``state_``, the same at the input and at the
output, so that a client hands back what it got.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.layers import FilterState
from kvae_tf.models.base import SequenceModel


def queries(model: SequenceModel) -> dict[str, tf.types.experimental.GenericFunction]:
    """``filter_start`` and ``filter_step``; none of systems that have no such step.

    Args:
      model: a built system.
    """
    if not hasattr(model, "filter_step"):
        return {}
    U = model.control_size
    one, zero = tf.constant(1.0), tf.constant(0.0)
    specs = [
        tf.TensorSpec([None, *model.frame_shape], tf.float32, name="frames"),
        tf.TensorSpec(None, tf.float32, name="observed"),
        tf.TensorSpec(None, tf.float32, name="controls"),
    ]
    start = tf.function(lambda: _named(model.filter_start(1), tf.zeros([1], tf.int32)))
    state_spec = {
        name: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, name=name)
        for name, spec in start.get_concrete_function().structured_outputs.items()
    }

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="batch_size")])
    def filter_start(batch_size):
        return _named(model.filter_start(batch_size), tf.zeros([batch_size], tf.int32))

    @tf.function(input_signature=[state_spec, *specs])
    def filter_step(state, frames, observed=one, controls=zero):
        batch_size = tf.shape(frames)[0]
        observed = tf.ensure_shape(tf.broadcast_to(observed, [batch_size]), [None])
        controls = tf.ensure_shape(tf.broadcast_to(controls, [batch_size, U]), [None, U])
        later, found = model.filter_step(_state(state), frames, observed, controls)
        return found | _named(later, state["state_time"] + 1)

    return {"filter_start": filter_start, "filter_step": filter_step}


def _named(state: FilterState, time):
    """The state as a flat dictionary."""
    inner = {f"state_network_{i}": x for i, x in enumerate(state.network)}
    return {
        "state_mean": state.mean,
        "state_covariance": state.covariance,
        "state_mode_weights": state.mode_weights,
        "state_time": time,
        **inner,
    }


def _state(named):
    inner = sorted(name for name in named if name.startswith("state_network_"))
    return FilterState(
        named["state_mean"],
        named["state_covariance"],
        named["state_mode_weights"],
        tuple(named[name] for name in inner),
    )
