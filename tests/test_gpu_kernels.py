"""Training steps and exports can run on a GPU: each of their operations has a kernel for it.

TensorFlow registers its GPU kernels also where there is no GPU, if it was built with CUDA.
"""

from collections import Counter

import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels
from training_cases import build

from kvae_tf.export.saved_model import Exported

# Operations, with their types, that stay on the host, and why.
HOST_ONLY = {("Const", "string")}  # the messages of assertions

pytestmark = pytest.mark.skipif(
    not tf.test.is_built_with_cuda(), reason="TensorFlow without CUDA has no GPU kernels"
)


def nodes(graph_def):
    """The operations of a graph, those in its functions included."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def fits(kernel, node):
    """Whether a kernel is for the types of an operation."""
    for limit in kernel.constraint:
        allowed, value = limit.allowed_values.list.type, node.attr[limit.name]
        given = value.list.type or [value.type]
        if allowed and not set(given) <= set(allowed):
            return False
    return True


def without_gpu(graph_def):
    """Name of an operation, with its types, that has no kernel for a GPU -> how often."""
    functions = {function.signature.name for function in graph_def.library.function}
    found = Counter()
    for node in nodes(graph_def):
        if node.op in functions:
            continue
        known = [k for k in kernels.get_registered_kernels_for_op(node.op).kernel
                 if k.device_type in ("GPU", "DEFAULT")]  # fmt: skip
        if not any(fits(kernel, node) for kernel in known):
            types = sorted({tf.as_dtype(v.type).name for v in node.attr.values() if v.type})
            found[(node.op, *types)] += 1
    return found


@pytest.mark.parametrize(
    "case", ["kvae", "dkf", pytest.param("cannonball", marks=pytest.mark.slow)]
)
def test_a_training_step_has_gpu_kernels(case):
    model, batch = build(case)
    step = tf.function(model.train_step, autograph=False).get_concrete_function(batch)
    assert not without_gpu(step.graph.as_graph_def())


@pytest.mark.slow
@pytest.mark.parametrize("case", ["kvae", "dkf", "cannonball"])
def test_signatures_have_gpu_kernels(case, live):
    for name, query in Exported(live(case)).signatures_by_name.items():
        found = without_gpu(query.get_concrete_function().graph.as_graph_def())
        assert found.keys() <= HOST_ONLY, name


def test_what_has_no_gpu_kernel_is_found():
    """Inside of a function, by its name or by its types alone."""

    @tf.function
    def inner(x):
        return tf.unique(x)[0], tf.strings.as_string(x), tf.linalg.matmul(x[None], x[:, None])

    def outer(x):
        return inner(x), inner(tf.cast(x, tf.int32))

    graph = tf.function(outer).get_concrete_function(tf.TensorSpec([3])).graph.as_graph_def()
    found = without_gpu(graph)
    assert any(name == "AsString" for name, *_ in found)
    assert ("MatMul", "float32") not in found
    assert ("MatMul", "int32") in found
