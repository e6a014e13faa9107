"""Frames per second of an export that filters frame by frame."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.export.loading import LoadedModel

BATCH_SIZES = (1, 64)
_WARM_UP = 20  # steps


def streaming(
    saved_model: str, batch_sizes: Sequence[int] = BATCH_SIZES, repeats: int = 1000
) -> dict[str, float]:
    """Times the signature ``filter_step``, results read after every step.

    Args:
      saved_model: folder of an export's version, with the signature ``filter_step``.
      batch_sizes: numbers of sequences that are filtered at once, 1 and 64 by default.
      repeats: number of timed steps, 1000 by default.

    Returns:
      Name with the batch size -> frames per second; also printed.

    Raises:
      UserError: there is no such export or signature, or a size is not positive.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise UserError(f"--batch_sizes is {list(batch_sizes)}, expected positive numbers")
    model = LoadedModel(saved_model)
    signatures = model.module.signatures
    if "filter_step" not in signatures:
        raise UserError(f"{saved_model} has no signature filter_step, expected a kvae's export")
    step, rates = signatures["filter_step"], {}
    for size in batch_sizes:
        rng = np.random.default_rng(0)
        state = signatures["filter_start"](batch_size=tf.constant(size))
        frames = tf.constant(rng.random((size, *model.frame_shape)), tf.float32)
        controls = tf.zeros([size, model.control_size])
        observed = [tf.constant([float(seen)] * size) for seen in (1, 1, 0)]
        for t in range(_WARM_UP + repeats):
            if t == _WARM_UP:
                start = time.perf_counter()
            outputs = step(frames=frames, observed=observed[t % 3], controls=controls, **state)
            state = {name: x for name, x in outputs.items() if name.startswith("state_")}
            outputs["encodings"].numpy()
        rate = size * repeats / (time.perf_counter() - start)
        rates[f"batch {size}: frames a second"] = rate
        print(f"batch {size}: {rate:,.0f} frames a second", flush=True)
    return rates
