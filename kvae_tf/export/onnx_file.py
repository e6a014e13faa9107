"""``filter_step`` of a model as an ONNX file."""

from __future__ import annotations

from pathlib import Path

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.export import step_graph
from kvae_tf.models.base import SequenceModel

OUTPUT = "out_"  # before the names of outputs: inputs and outputs of ONNX share one name space
_OPSET = 18


def convert_step(model: SequenceModel, path: Path) -> None:
    """Writes ``filter_step`` for one sequence, see ``step_graph.trace``.

    Inputs have their names, outputs have ``out_`` before theirs.

    Args:
      model: a built, live model.
      path: the file.

    Raises:
      UserError: the model does not filter frame by frame, ONNX lacks one of its operations, or
        tf2onnx is not installed.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise UserError(
            f"{path}: writing ONNX needs the packages onnx and tf2onnx: pip install "
            f"'kvae_tf[edge]' ({error})"
        ) from None
    step = step_graph.trace(model)
    names = {f"{name}:0": name for name in step.inputs}
    names |= {place: f"{OUTPUT}{name}" for name, place in step.outputs.items()}
    converted, _ = tf2onnx.convert.from_graph_def(
        step.graph,
        name="filter_step",
        input_names=[f"{name}:0" for name in step.inputs],
        output_names=list(step.outputs.values()),
        opset=_OPSET,
        tensors_to_rename=names,
        custom_rewriter=[_select_without_products],
    )
    try:  # tf2onnx keeps operations that it does not know
        onnx.checker.check_model(converted)
    except onnx.checker.ValidationError as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: the model's filter_step has no ONNX form ({words})") from None
    storage.write_bytes(path, converted.SerializeToString())


def _select_without_products(graph, nodes):
    """Else tf2onnx selects by products with 0 and 1, and a NaN that is not selected stays."""
    for node in nodes:
        if node.type in ("Select", "SelectV2"):
            node.set_attr("handles_nan", True)
    return graph.get_nodes()
