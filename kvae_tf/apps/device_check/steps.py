"""One training step of a config on the default device, and on the CPU.

With ``--jit=on`` the CPU's step is compiled, too: XLA draws other noise than TensorFlow does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from kvae_tf import data
from kvae_tf.apps.device_check.rows import CPU, Row, compare, default_device, rounded_products
from kvae_tf.experiments import presets
from kvae_tf.training import build

_COMPARED = ("loss", "gradient_norm")
_TOLERANCES = {"float32": 1e-3, "mixed_bfloat16": 5e-2, "mixed_float16": 1e-2}
_ROUNDED_TOLERANCE = 2e-2  # of float32 with TensorFloat-32


def default_configs() -> list[str]:
    """The first config, by name, of each pair of model and frame network."""
    chosen = {}
    for name in presets.names():
        plan = presets.settings(name).plan
        chosen.setdefault((plan.spec.name, getattr(plan.model, "network", "")), name)
    return sorted(chosen.values())


def rows(
    configs: Sequence[str], precision_config: str, batch_size: int, repeats: int
) -> Iterator[Row]:
    """The rows of the training steps: the loss and the norm of the gradients are compared.

    Args:
      configs: names of configs.
      precision_config: the one of them that is also run in mixed precision; empty: none.
      batch_size: number of sequences in a batch; 0: as the config says.
      repeats: the most calls to time.
    """
    for config in configs:
        starts = {
            jit: functools.cache(functools.partial(_reference, config, batch_size, jit))
            for jit in ("off", "on")
        }
        variants = [("float32", "off"), ("float32", "on")]
        if config == precision_config:
            variants += [("mixed_bfloat16", "off"), ("mixed_float16", "off")]
        for precision, jit in variants:
            tolerance = _TOLERANCES[precision]
            if rounded_products(default_device()):
                tolerance = max(tolerance, _ROUNDED_TOLERANCE)
            yield compare(
                f"{config}: step, {precision}, --jit={jit}",
                functools.partial(_like, starts[jit], config, batch_size, precision, jit),
                lambda start=starts[jit]: start()[0],
                tolerance,
                repeats,
            )


def _reference(config, batch_size, jit):
    """Loss and norm on the CPU, and the variables from which the step began."""
    with tf.device(CPU):
        model, batch = _case(config, batch_size, "float32", "on")  # no part is compiled on its own
        before = [variable.numpy() for variable in model.variables]
        return _step(model, batch, jit == "on")(), before


def _like(start, config, batch_size, precision, jit):
    """A step on the current device that begins from the variables of the reference."""
    model, batch = _case(config, batch_size, precision, jit)
    for variable, value in zip(model.variables, start()[1], strict=True):
        variable.assign(value)
    return _step(model, batch, jit == "on")


def _step(model, batch, jit):
    step = tf.function(model.train_step, jit_compile=jit, autograph=False)

    def call():
        logs = step(batch)
        return {name: logs[name] for name in _COMPARED}

    return call


def _case(config, batch_size, precision, jit):
    """A config's model, in the phase of its training that moves most, and a batch."""
    settings = presets.settings(config, precision=precision, jit=jit)
    plan = settings.plan
    size = batch_size or plan.training.batch_size
    train = _sequences(plan.data.dataset, size)
    model = build.build(plan, train)
    model.compile(optimizer=build.optimizer(model, plan, train))
    phases = model.phases
    moved = [len(phase.variables) for phase in phases]
    updates = sum(phase.updates for phase in phases[: int(np.argmax(moved))])
    model.optimizer.iterations.assign(updates)
    given = plan.data
    batches = data.training_batches(
        train, size, plan.training.seed, missing_rate=given.missing_rate,
        first_seen=given.first_seen, mixed_rates=given.mixed_rates,
    )  # fmt: skip
    batch = next(iter(batches))
    if not given.missing_rate:  # as in training where all frames are seen
        batch.pop("observed")
    return model, batch


@functools.cache
def _sequences(dataset, size):
    return data.WORLDS[dataset].splits(0, num_sequences=(size, 1, 1)).train
