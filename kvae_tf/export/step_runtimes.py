"""Files of ``filter_step`` in their own runtimes, without TensorFlow: LiteRT and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kvae_tf.errors import UserError
from kvae_tf.export.onnx_file import OUTPUT


class Step(NamedTuple):
    """A filtering step of one sequence, loaded.

    Attributes:
      inputs: name -> shape and dtype of an input.
      call: takes arrays by name and returns arrays by name; the state is the caller's to hand on.
    """

    inputs: dict[str, tuple[tuple[int, ...], np.dtype]]
    call: Callable[..., dict[str, np.ndarray]]

    def start(self) -> dict[str, np.ndarray]:
        """The state before the first frame: zeros."""
        return {
            name: np.zeros(shape, dtype)
            for name, (shape, dtype) in self.inputs.items()
            if name.startswith("state_")
        }


def load(path: Path) -> Step:
    """A step from ``filter_step.tflite`` or ``filter_step.onnx``, on one thread.

    Args:
      path: the file; its ending says which runtime it is for.

    Raises:
      UserError: the runtime is not installed.
    """
    try:
        return (_onnx if path.suffix == ".onnx" else _litert)(path)
    except ImportError as error:
        raise UserError(
            f"{path}: running it needs the package {error.name}: pip install 'kvae_tf[edge]'"
        ) from None


def _litert(path):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path), num_threads=1).get_signature_runner()
    inputs = {
        name: (tuple(detail["shape"]), np.dtype(detail["dtype"]))
        for name, detail in runner.get_input_details().items()
    }
    return Step(inputs, runner)


def _onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    dtypes = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
    inputs = {
        value.name: (tuple(value.shape), np.dtype(dtypes[value.type]))
        for value in session.get_inputs()
    }
    names = [value.name for value in session.get_outputs()]

    def call(**given):
        values = session.run(names, given)
        return {name.removeprefix(OUTPUT): x for name, x in zip(names, values, strict=True)}

    return Step(inputs, call)
