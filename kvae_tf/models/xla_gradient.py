"""A function compiled by XLA that is differentiated by code which is not compiled.

A backward pass outside of XLA cannot read the intermediate values of a compiled while loop. So the
backward pass is a second compiled call that runs the loop again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def compile_with_gradient(function: Callable, depends_on: Callable[[], Sequence]) -> Callable:
    """``function`` compiled, differentiable by its first argument and by its variables.

    Args:
      function: a function of tensors (or None) that returns one tensor, differentiable by its first
        argument.
      depends_on: returns the Keras variables that ``function`` depends on; called when ``function``
        is first traced, since variables are created after the constructor.

    Returns:
      A function of the same arguments; called eagerly, it is ``function`` itself.
    """
    forward = tf.function(function, jit_compile=True, autograph=False)

    @tf.function(jit_compile=True, autograph=False)
    def backward(upstream, first, *others):
        with tf.GradientTape() as tape:
            tape.watch(first)
            value = function(first, *others)
        sources = [first, *(variable.value for variable in depends_on())]
        return tape.gradient(
            value, sources, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    def call(first, *others):
        if tf.executing_eagerly():  # an eager tape would record the compiled loop itself
            return function(first, *others)

        @tf.custom_gradient
        def run(first):
            def gradient(upstream, variables=()):
                by_first, *by_variable = backward(upstream, first, *others)
                known = dict(zip((v.value.ref() for v in depends_on()), by_variable, strict=True))
                return by_first, [known[variable.ref()] for variable in variables]

            return forward(first, *others), gradient

        return run(first)

    return call
