"""Graphs with weights as constants, for runtimes other than TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants


class FrozenGraph(NamedTuple):
    """A graph without variables and functions.

    Attributes:
      graph: the graph.
      inputs: name -> shape and dtype; the graph's placeholders have these names.
      outputs: name -> name of the graph's tensor.
    """

    graph: tf.compat.v1.GraphDef
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, str]

    def function(self) -> tf.types.experimental.ConcreteFunction:
        """The graph as a function of inputs by name, which returns outputs by name."""
        wrapped = tf.compat.v1.wrap_function(
            lambda: tf.graph_util.import_graph_def(self.graph, name=""), []
        )
        tensor = wrapped.graph.get_tensor_by_name
        pruned = wrapped.prune(
            [tensor(f"{name}:0") for name in self.inputs],
            {name: tensor(place) for name, place in self.outputs.items()},
        )
        call = tf.function(
            lambda **given: pruned(*(given[name] for name in self.inputs)), autograph=False
        )
        return call.get_concrete_function(**self.inputs)


def freeze(
    function: Callable[..., Mapping[str, tf.Tensor]], inputs: Mapping[str, tf.TensorSpec]
) -> FrozenGraph:
    """The graph of a function, with the present values of the variables that it reads.

    Args:
      function: takes tensors by name and returns tensors by name.
      inputs: name -> shape and dtype of an input.
    """
    inputs = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()
    }
    traced = tf.function(function, autograph=False).get_concrete_function(**inputs)
    frozen = convert_to_constants.convert_variables_to_constants_v2(traced)
    names = sorted(traced.structured_outputs)  # the order in which TensorFlow flattens them
    places = [tensor.name for tensor in frozen.outputs]
    return FrozenGraph(frozen.graph.as_graph_def(), inputs, dict(zip(names, places, strict=True)))
