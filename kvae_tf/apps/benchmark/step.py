"""What a training step spends where: the whole step, its frame networks alone, its dynamics.

The pendulum's step (MLP, batch 50 x 15 frames) is compiled as a whole. The box' (the paper's CNN,
batch 32 x 20 frames, all of them decoded) is not, as XLA's convolutions are slow on a CPU: there
only the dynamics are, as in training.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from kvae_tf import data, lgssm
from kvae_tf.apps.benchmark.timing import measure
from kvae_tf.models.kvae import KVAE


class _Case(NamedTuple):
    """A world's step: its model's options and its batch size."""

    batch_size: int
    options: dict[str, object]


_CASES = {
    "pendulum": _Case(
        50,
        {"units": (128, 128), "latent_size": 3, "num_modes": 2, "likelihood": "gaussian"},
    ),
    "box": _Case(32, {"network": "cnn", "units": (32, 32, 32)}),
}
_HALVES = "frame encoder and decoder, forward and backward"


def training_step(repeats: int = 30) -> dict[str, dict[str, float]]:
    """Prints what training steps on the pendulum and on box spend where.

    Args:
      repeats: calls to time.

    Returns:
      World -> milliseconds of the step and of its parts; percentages and ratios as they say.
    """
    return {"pendulum": _pendulum(repeats), "box": _box(repeats)}


def _pendulum(repeats):
    batch = _batch("pendulum")
    _title("pendulum", batch, repeats)
    # A compiled function inside a compiled step would be compiled again at every call.
    model, other = _model("pendulum", batch), _model("pendulum", batch, jit_engine=True)
    results = {
        "whole step, compiled": _time(model.train_step, [batch], repeats, True),
        "whole step, only the dynamics compiled": _time(other.train_step, [batch], repeats),
        "frame encoder and decoder, forward": _time(
            lambda frames: _reconstruct(model, frames), [batch["frames"]], repeats, True
        ),
        _HALVES: _time(*_both_halves(model, batch), repeats, True),
    }
    for name, (function, inputs) in _dynamics(model, batch).items():
        results[name] = _time(function, inputs, repeats, True)
    for name in [name for name in results if name.startswith("whole step")]:
        share = f"engine's share of the {name}, percent"
        results[share] = 100.0 * results["engine, log-likelihood and gradients"] / results[name]
    return _printed(results)


def _box(repeats):
    batch = _batch("box")
    _title("box", batch, repeats)
    results = {}
    for precision in ("float32", "mixed_bfloat16"):
        model = _model("box", batch, jit_engine=True, precision=precision)
        step = _time(model.train_step, [batch], repeats)
        halves = _time(*_both_halves(model, batch), repeats)
        results |= {
            f"{precision}: whole step": step,
            f"{precision}: {_HALVES}": halves,
            f"{precision}: step to frame networks alone, ratio": step / halves,
        }
    results["float32 step to mixed_bfloat16 step, ratio"] = (
        results["float32: whole step"] / results["mixed_bfloat16: whole step"]
    )
    few = _model("box", batch, jit_engine=True, decoded_frames=4)
    results["float32: whole step with --decoded_frames=4"] = _time(few.train_step, [batch], repeats)
    return _printed(results)


def _title(world, batch, repeats):
    B, T = batch["frames"].shape[:2]
    print(f"{world}: one CPU core, batch {B} x {T}, median of {repeats} calls, ms", flush=True)


def _printed(results):
    for name, value in results.items():
        print(f"{name:<76}{value:>9.3f}", flush=True)
    print()
    return results


def _time(function, inputs, repeats, jit=False):
    return measure(tf.function(function, jit_compile=jit), inputs, repeats).milliseconds


def _batch(world):
    """A training batch in which all frames are seen."""
    train = data.load(world, seed=0).train
    batch = next(iter(data.training_batches(train, _CASES[world].batch_size, seed=0)))
    del batch["observed"]  # training says so in the same way
    return batch


def _model(world, batch, **options):
    """The world's model with its optimiser."""
    model = KVAE(
        batch["frames"].shape[2:],
        batch["controls"].shape[-1],
        encoding_size=2,
        learn_noise=True,
        learn_initial=True,
        **_CASES[world].options,
        **options,
    )
    model.build()
    optimizer = keras.optimizers.Adam(0.003)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    return model


def _reconstruct(model, frames):
    a = model.encoder(frames).mean
    return tf.reduce_sum(model.likelihood.log_prob(model.decoder(a), frames))


def _both_halves(model, batch):
    """Reconstruction with its gradients, and its input."""
    layers = (model.encoder, model.decoder, model.likelihood)
    variables = [variable for layer in layers for variable in layer.trainable_variables]

    def call(frames):
        with tf.GradientTape() as tape:
            value = _reconstruct(model, frames)
        return value, tape.gradient(value, variables)

    return call, [batch["frames"]]


def _dynamics(model, batch):
    """Name -> (function, inputs) of the dynamics' parts, with gradients of what they are given."""
    encodings = model.encode(batch["frames"]).mean
    matrices = model.mixture(model.network(encodings).mode_weights, batch["controls"])

    def weigh(encodings):
        # Squares, as the weights themselves always sum to one.
        return tf.reduce_sum(tf.square(model.network(encodings).mode_weights))

    def both(encodings):
        with tf.GradientTape() as tape:
            tape.watch(encodings)
            value = weigh(encodings)
        return value, tape.gradient(value, [encodings, *model.network.trainable_variables])

    def likelihood(matrices, encodings):
        sources = [x for x in tf.nest.flatten((matrices, encodings)) if x is not None]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            value = tf.reduce_sum(lgssm.log_likelihood(matrices, encodings))
        return value, tape.gradient(value, sources)

    return {
        "dynamics network, forward": (weigh, [encodings]),
        "dynamics network, forward and backward": (both, [encodings]),
        "engine, log-likelihood and gradients": (likelihood, [matrices, encodings]),
    }
