"""How long the engine takes beside TensorFlow Probability, and what a training step consists of.

Everything runs on one core, in one process, on the same inputs; times are medians, with results
forced. ``engine`` and ``training_step`` print as they go and return what they printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import data, lgssm
from kvae_tf.errors import UserError
from kvae_tf.models.kvae import KVAE

SIZES = ((32, 20), (256, 20), (32, 200), (1, 1000), (1, 10000))  # (B, T)
OBSERVATION_SIZE = 2
MISSING_RATE = 0.3
TASKS = ("forward", "gradients")
BATCH_SIZE = 50

_WARM_UP = 3  # calls
_SLOW_CALL, _SLOW_TOTAL = 0.5, 10.0  # seconds
_PARALLEL_LATENTS, _PLAIN_TFP_STEPS = 4, 1000
_HEADER = (
    f"{'n':>3}{'B':>5}{'T':>7}  {'task':<10}{'method':<12}{'jit':<5}{'ms/call':>10}{'calls':>7}"
    f"{'compile s':>11}{'max error':>11}{'TFP/ours':>10}"
)


class Timing(NamedTuple):
    """Times of one function.

    Attributes:
      milliseconds: median of the calls after the warm-up.
      calls: how many were timed.
      compile_seconds: the first call, with tracing and compilation.
    """

    milliseconds: float
    calls: int
    compile_seconds: float


def use_one_core() -> None:
    """One thread on one core, no GPU; call it before TensorFlow has run anything."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")


def measure(function: Callable, arguments: Sequence, repeats: int) -> Timing:
    """Times ``function(*arguments)``, whose smallest output is read each time.

    Args:
      function: returns a structure of tensors.
      arguments: what it is called with.
      repeats: calls to time; fewer (at least 3) where a call takes more than half a second.

    Returns:
      A ``Timing``.
    """

    def seconds():
        start = time.perf_counter()
        outputs = tf.nest.flatten(function(*arguments))
        min(outputs, key=lambda x: x.shape.num_elements()).numpy()
        return time.perf_counter() - start

    first = seconds()
    warm = min(seconds() for _ in range(_WARM_UP))
    if warm > _SLOW_CALL:
        repeats = min(repeats, max(3, round(_SLOW_TOTAL / warm)))
    times = [seconds() for _ in range(repeats)]
    return Timing(1e3 * float(np.median(times)), repeats, first)


# The engine against TFP.


def random_problem(
    batch_size: int, num_steps: int, latent_size: int, seed: int = 0
) -> tuple[lgssm.LGSSM, tf.Tensor, tf.Tensor]:
    """A time-varying model and a draw from it, float32.

    Args:
      batch_size: B.
      num_steps: T.
      latent_size: n.
      seed: of everything.

    Returns:
      The model with ``[B, T, ...]`` transitions, emissions and offsets, ``[n]`` and ``[m]`` noises;
      observations ``[B, T, m]``; observed ``[B, T]``, 1 = seen, 30 % of the steps missing.
    """
    rng = np.random.default_rng(seed)
    B, T, n, m = batch_size, num_steps, latent_size, OBSERVATION_SIZE
    A = 0.95 * np.eye(n) + 0.05 * rng.normal(size=(B, T, n, n))
    b = 0.1 * rng.normal(size=(B, T, n))
    C = 0.3 * rng.normal(size=(B, T, m, n))
    q, r, initial_variance = 0.08, 0.03, 20.0  # the released code's
    z = initial_variance**0.5 * rng.normal(size=(B, n))
    y = np.empty((B, T, m))
    for t in range(T):
        y[:, t] = np.einsum("bmn,bn->bm", C[:, t], z) + r**0.5 * rng.normal(size=(B, m))
        z = np.einsum("bij,bj->bi", A[:, t], z) + b[:, t] + q**0.5 * rng.normal(size=(B, n))
    observed = rng.random((B, T)) >= MISSING_RATE
    model = lgssm.LGSSM(
        A, b, np.full(n, q), C, np.full(m, r), np.zeros(n), initial_variance * np.eye(n)
    )
    model, y, observed = tf.nest.map_structure(
        lambda x: tf.constant(x, tf.float32), (model, y, observed.astype(np.float32))
    )
    return model, y, observed


def engine(
    sizes: Sequence[tuple[int, int]] = SIZES,
    latent_sizes: Sequence[int] = (4, 8, 16),
    methods: Sequence[str] = lgssm.METHODS,
    repeats: int = 30,
) -> list[dict[str, object]]:
    """Prints a table of times, compile times and errors of the engine's methods and TFP.

    ``forward`` is ``lgssm.smooth`` (log-likelihood, filtered and smoothed moments) against TFP's
    ``posterior_marginals`` (smoothed moments only); ``gradients`` is the log-likelihood with its
    gradients in A, C and y against TFP's ``log_prob`` with the same.

    Args:
      sizes: pairs (B, T).
      latent_sizes: n, each at all sizes.
      methods: out of ``lgssm.METHODS``; ``"parallel"`` is for n <= 4.
      repeats: calls to time.

    Returns:
      The rows of the table.

    Raises:
      UserError: a method is unknown or a number is not positive.
    """
    unknown = [method for method in methods if method not in lgssm.METHODS]
    if unknown:
        known = ", ".join(lgssm.METHODS)
        raise UserError(f"--methods has {unknown[0]!r}, expected some of {known}")
    for name, numbers in (
        ("sizes", [x for size in sizes for x in size]),
        ("latent_sizes", latent_sizes),
        ("repeats", [repeats]),
    ):
        if not numbers or min(numbers) < 1:
            raise UserError(f"--{name} is {list(numbers)}, expected positive whole numbers")
    methods = [method for method in ("tfp", "sequential", "parallel") if method in methods]
    print(
        f"one CPU core, float32, m = {OBSERVATION_SIZE}, {MISSING_RATE:.0%} of the steps missing, "
        f"A, C and offsets vary in time; median of {repeats} calls\n"
        f"(a call over {_SLOW_CALL} s: fewer, see calls); TFP: the better of jit and not, only jit "
        f"for T >= {_PLAIN_TFP_STEPS}; parallel: n <= {_PARALLEL_LATENTS}\n"
        "max error: against float64, relative to the largest entry of each output\n"
    )
    print(_HEADER, flush=True)
    rows = []
    for n in latent_sizes:
        for B, T in sizes:
            for task in TASKS:
                rows += _compare(B, T, n, task, methods, repeats)
    return rows


def _compare(B, T, n, task, methods, repeats):
    """Rows of one size and task; TFP comes first, so that the others have their ratio."""
    arguments = random_problem(B, T, n)
    exact = tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), arguments)
    reference = tf.function(_task(task, "sequential"))(*exact)
    rows, tfp_time = [], None
    for method in methods:
        if method == "parallel" and n > _PARALLEL_LATENTS:
            continue
        runs = []
        for jit in (True, False) if method == "tfp" and T < _PLAIN_TFP_STEPS else (True,):
            function = tf.function(_task(task, method), jit_compile=jit)
            timing = measure(function, arguments, repeats)
            error = _max_error(function(*arguments), reference)
            runs.append((timing.milliseconds, timing, error, jit))
        _, timing, error, jit = min(runs)
        if method == "tfp":
            tfp_time = timing.milliseconds
        row = {"n": n, "B": B, "T": T, "task": task, "method": method, "jit": jit}
        row |= timing._asdict() | {"max_error": error}
        if tfp_time and method != "tfp":
            row["tfp_ratio"] = tfp_time / timing.milliseconds
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _line(row):
    ratio = f"{row['tfp_ratio']:.1f}" if "tfp_ratio" in row else "-"
    return (
        f"{row['n']:>3}{row['B']:>5}{row['T']:>7}  {row['task']:<10}{row['method']:<12}"
        f"{'yes' if row['jit'] else 'no':<5}{row['milliseconds']:>10.3f}{row['calls']:>7}"
        f"{row['compile_seconds']:>11.1f}{row['max_error']:>11.1e}{ratio:>10}"
    )


def _task(task, method):
    """A function of (model, observations, observed) to named outputs."""

    def forward(model, y, observed):
        if method == "tfp":
            distribution = model.to_tfp(y.shape[1])
            means, covariances = distribution.posterior_marginals(y, mask=observed == 0)
            return {"smoothed_means": means, "smoothed_covariances": covariances}
        outputs = lgssm.smooth(model, y, observed, method=method)._asdict()
        return outputs | outputs.pop("filter")._asdict()

    def gradients(model, y, observed):
        sources = {"A": model.transition, "C": model.emission, "y": y}
        with tf.GradientTape() as tape:
            tape.watch(sources)
            if method == "tfp":
                result = model.to_tfp(y.shape[1]).log_prob(y, mask=observed == 0)
            else:
                result = lgssm.log_likelihood(model, y, observed, method=method)
        return tape.gradient(result, sources) | {"log_likelihood": result}

    return {"forward": forward, "gradients": gradients}[task]


def _max_error(outputs, reference):
    """The largest over outputs of max |output - reference| / max |reference|."""
    errors = []
    for name, output in outputs.items():
        if output.shape.num_elements():
            output, exact = output.numpy().astype(np.float64), reference[name].numpy()
            errors.append(np.max(np.abs(output - exact)) / np.max(np.abs(exact)))
    return float(np.max(errors))  # NaN stays NaN


# One training step.


def training_step(repeats: int = 30) -> dict[str, float]:
    """Prints what one training step on the pendulum (batch 50 x 15 frames) spends where.

    Args:
      repeats: calls to time.

    Returns:
      Milliseconds of the step and of its parts, and the engine's share of the step in percent.
    """
    train = data.load("pendulum", seed=0).train
    batch = next(iter(data.training_batches(train, BATCH_SIZE, seed=0)))
    del batch["observed"]  # all frames are seen, and training says so in the same way

    print(f"one CPU core, batch {BATCH_SIZE} x {train.num_steps}, median of {repeats} calls, ms")
    results = {}
    for name, (function, arguments, jit) in _parts(batch).items():
        timing = measure(tf.function(function, jit_compile=jit), arguments, repeats)
        results[name] = timing.milliseconds
        print(f"{name:<52}{timing.milliseconds:>9.3f}", flush=True)
    for name in [name for name in results if name.startswith("whole step")]:
        share = f"engine's share of the {name}, percent"
        results[share] = 100.0 * results["engine, log-likelihood and gradients"] / results[name]
        print(f"{share:<72}{results[share]:>9.1f}")
    return results


def _pendulum_model(jit_engine):
    """The model of configs/pendulum.cfg with its optimiser."""
    model = KVAE(
        (16, 16, 1),
        control_size=1,
        network="mlp",
        units=(128, 128),
        encoding_size=2,
        latent_size=3,
        num_modes=2,
        likelihood="gaussian",
        learn_noise=True,
        learn_initial=True,
        jit_engine=jit_engine,
    )
    model.build()
    optimizer = keras.optimizers.Adam(0.003)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    return model


def _parts(batch):
    """Name -> (function, arguments, whether it is compiled)."""
    # A compiled function inside a compiled step would be compiled again at every call.
    model, other = _pendulum_model(jit_engine=False), _pendulum_model(jit_engine=True)
    frames, controls = batch["frames"], batch["controls"]
    halves = (
        model.encoder.trainable_variables
        + model.decoder.trainable_variables
        + model.likelihood.trainable_variables
    )
    encodings = model.encode(frames).mean
    matrices = model.mixture(model.network(encodings).mode_weights, controls)

    def reconstruct(frames):
        a = model.encoder(frames).mean
        return tf.reduce_sum(model.likelihood.log_prob(model.decoder(a), frames))

    def weigh(encodings):
        # Squares, as the weights themselves always sum to one.
        return tf.reduce_sum(tf.square(model.network(encodings).mode_weights))

    def likelihood(sources):
        return tf.reduce_sum(lgssm.log_likelihood(*sources))

    def differentiated(function, variables, watch):
        def call(inputs):
            with tf.GradientTape() as tape:
                sources = list(variables)
                if watch:
                    tape.watch(inputs)
                    sources += [x for x in tf.nest.flatten(inputs) if x is not None]
                value = function(inputs)
            return value, tape.gradient(value, sources)

        return call

    # Frames need no gradient, but encodings and matrices pass theirs on.
    both_halves = differentiated(reconstruct, halves, watch=False)
    network = differentiated(weigh, model.network.trainable_variables, watch=True)
    return {
        "whole step, compiled": (model.train_step, [batch], True),
        "whole step, only the dynamics compiled": (other.train_step, [batch], False),
        "frame encoder and decoder, forward": (reconstruct, [frames], True),
        "frame encoder and decoder, forward and backward": (both_halves, [frames], True),
        "dynamics network, forward": (weigh, [encodings], True),
        "dynamics network, forward and backward": (network, [encodings], True),
        "engine, log-likelihood and gradients": (
            differentiated(likelihood, [], watch=True),
            [(matrices, encodings)],
            True,
        ),
    }
