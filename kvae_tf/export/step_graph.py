"""``filter_step`` as one plain graph, for runtimes other than TensorFlow.

One sequence, one frame: all shapes are fixed. Inputs are not checked.
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.export import streaming
from kvae_tf.export.frozen import FrozenGraph, freeze
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.inputs import Inputs


def trace(model: SequenceModel, single_precision: bool = False) -> FrozenGraph:
    """The graph of a model's ``filter_step``.

    Inputs are ``frames [1, H, W, C]`` float32, ``observed [1]`` float32 (1 = seen, 0 = missing:
    then the frame may hold anything), ``controls [1, U]`` where the model has controls, and the
    tensors of the state, whose names begin with ``state_``. A state of zeros is that before the
    first frame. Outputs are those of the signature ``filter_step``, the next state among them.

    Args:
      model: a built, live model.
      single_precision: compute in float32 what ``lgssm`` computes in float64, for LiteRT, which
        calculates in nothing else; the state is float32 between frames in any case. False by
        default.

    Raises:
      UserError: the model does not filter frame by frame, or is in continuous time.
    """
    if "filter_step" not in model.supports:
        raise UserError(f"a {type(model).__name__} does not filter frame by frame, expected a KVAE")
    if model.reads_times:
        raise UserError(
            "a model in continuous time has no file of its steps, expected a discrete one"
        )
    like = model.filter_start(1)
    start = {name: x.numpy() for name, x in streaming.named(like, tf.zeros([1], tf.int32)).items()}
    inputs = {name: tf.TensorSpec(x.shape, x.dtype) for name, x in start.items()}
    inputs["frames"] = tf.TensorSpec([1, *model.frame_shape])
    inputs["observed"] = tf.TensorSpec([1])
    if model.control_size:
        inputs["controls"] = tf.TensorSpec([1, model.control_size])

    def step(**given):
        time, seen = given["state_time"], given["observed"]
        state = {
            name: tf.where(tf.reshape(time, [1] * x.ndim) > 0, given[name], x)
            for name, x in start.items()
        }
        frames = tf.where(seen[:, tf.newaxis, tf.newaxis, tf.newaxis] > 0, given["frames"], 0.0)
        controls = given.get("controls", tf.zeros([1, 0]))
        later, result = model._filter_step(
            streaming.of_names(state, like), Inputs(frames, seen, controls)
        )
        return result | streaming.named(later, time + 1)

    frozen = freeze(step, inputs)
    _simplify(frozen.graph)
    if single_precision:
        _to_single_precision(frozen.graph)
    return frozen


def _simplify(graph):
    """Operations that tf2onnx gets wrong or does not know become plainer ones.

    Slices that keep all elements become reshapes, since tf2onnx takes an empty ``...`` for an axis.
    log1p(x) becomes log(1 + x); in the models x is between 0 and 1.
    """
    with tf.Graph().as_default() as shaped:
        tf.graph_util.import_graph_def(graph, name="")
    for node in list(graph.node):
        operation = shaped.get_operation_by_name(node.name)
        if node.op == "StridedSlice" and _keeps_all(operation):
            shape = operation.outputs[0].shape.as_list()
            node.op, kind = "Reshape", node.attr["T"].type
            node.input[:] = [node.input[0], _constant(graph, f"{node.name}/shape", shape, tf.int32)]
            node.attr.clear()
            node.attr["T"].type, node.attr["Tshape"].type = kind, tf.int32.as_datatype_enum
        elif node.op == "Log1p":
            one = _constant(graph, f"{node.name}/one", 1.0, operation.inputs[0].dtype)
            total = graph.node.add(name=f"{node.name}/sum", op="AddV2", input=[node.input[0], one])
            total.attr["T"].type = node.attr["T"].type
            node.op = "Log"
            node.input[:] = [total.name]


def _keeps_all(slice_operation):
    source, _, _, strides = slice_operation.inputs
    same = source.shape.num_elements() == slice_operation.outputs[0].shape.num_elements()
    return same and (tf.get_static_value(strides) == 1).all()


def _constant(graph, name, value, dtype):
    """Adds a constant to a graph; returns its name."""
    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = dtype.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype))
    return name


def _to_single_precision(graph):
    """Every float64 of a graph becomes float32: types of operations, and constants."""
    double, single = tf.float64.as_datatype_enum, tf.float32.as_datatype_enum
    for node in graph.node:
        for value in node.attr.values():
            kind = value.WhichOneof("value")
            if kind == "type" and value.type == double:
                value.type = single
            elif kind == "list":
                value.list.type[:] = [single if x == double else x for x in value.list.type]
            elif kind == "tensor" and value.tensor.dtype == double:
                array = tf.make_ndarray(value.tensor).astype("float32")
                value.tensor.CopyFrom(tf.make_tensor_proto(array))
