"""Times of a training step: the whole step, its frame networks alone, its dynamics.

For the pendulum (MLP, batch of 50 x 15 frames) the whole step is compiled. For box (the paper's
CNN, batch of 32 x 20 frames, all of them decoded) only the dynamics are compiled, as in training,
since XLA's convolutions are slow on a CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from kvae_tf import data, lgssm
from kvae_tf.apps.benchmark.timing import measure
from kvae_tf.models.kvae import KVAE


class _Case(NamedTuple):
    """Batch size and model options of a world's training step."""

    batch_size: int
    options: dict[str, object]


_CASES = {
    "pendulum": _Case(
        50,
        {"units": (128, 128), "latent_size": 3, "num_modes": 2, "likelihood": "gaussian"},
    ),
    "box": _Case(32, {"network": "cnn", "units": (32, 32, 32)}),
}
_NETWORKS = "frame encoder and decoder, forward and backward"


def training_step(repeats: int = 30) -> dict[str, dict[str, float]]:
    """Prints the times of training steps on pendulum and box, and of their parts.

    Args:
      repeats: number of timed calls, 30 by default.

    Returns:
      Name of a world -> name of a part -> milliseconds; the names of percentages and ratios say so.
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
        _NETWORKS: _time(*_frame_networks(model, batch), repeats, True),
    }
    for name, (function, inputs) in _dynamics(model, batch).items():
        results[name] = _time(function, inputs, repeats, True)
    results["impute, an eager call, a third of the frames missing"] = _impute(model, batch, repeats)
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
        networks = _time(*_frame_networks(model, batch), repeats)
        results |= {
            f"{precision}: whole step": step,
            f"{precision}: {_NETWORKS}": networks,
            f"{precision}: step to frame networks alone, ratio": step / networks,
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
    return measure(
        tf.function(function, jit_compile=jit, autograph=False), inputs, repeats
    ).milliseconds


def _batch(world):
    """A training batch in which all frames are seen."""
    train = data.load(world, seed=0).train
    batch = next(iter(data.training_batches(train, _CASES[world].batch_size, seed=0)))
    del batch["observed"]  # as in training where all frames are seen
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


def _impute(model, batch, repeats):
    """Milliseconds of ``impute`` outside of any ``tf.function``."""
    B, T = batch["frames"].shape[:2]
    observed = tf.tile([[float(t % 3 != 2) for t in range(T)]], [B, 1])
    inputs = [batch["frames"], observed, batch["controls"]]
    return measure(lambda *given: model.impute(*given).frames, inputs, repeats).milliseconds


def _reconstruct(model, frames):
    a = model.encoder(frames).mean
    return tf.reduce_sum(model.likelihood.log_prob(model.decoder(a), frames))


def _frame_networks(model, batch):
    """A function of the reconstruction and its gradients, and its inputs."""
    layers = (model.encoder, model.decoder, model.likelihood)
    variables = [variable for layer in layers for variable in layer.trainable_variables]

    def call(frames):
        with tf.GradientTape() as tape:
            value = _reconstruct(model, frames)
        return value, tape.gradient(value, variables)

    return call, [batch["frames"]]


def _dynamics(model, batch):
    """Name of a part of the dynamics -> function with gradients by its inputs, and the inputs."""
    encodings = model.encode(batch["frames"]).mean
    matrices = model.mixture(model.network(encodings).mode_weights, batch["controls"])

    def weight_modes(encodings):
        # Squares, as the weights themselves always sum to one.
        return tf.reduce_sum(tf.square(model.network(encodings).mode_weights))

    def both(encodings):
        with tf.GradientTape() as tape:
            tape.watch(encodings)
            value = weight_modes(encodings)
        return value, tape.gradient(value, [encodings, *model.network.trainable_variables])

    def likelihood(matrices, encodings):
        sources = [x for x in tf.nest.flatten((matrices, encodings)) if x is not None]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            value = tf.reduce_sum(lgssm.log_likelihood(matrices, encodings))
        return value, tape.gradient(value, sources)

    return {
        "dynamics network, forward": (weight_modes, [encodings]),
        "dynamics network, forward and backward": (both, [encodings]),
        "engine, log-likelihood and gradients": (likelihood, [matrices, encodings]),
    }
