"""Times of ``lgssm`` and of TensorFlow Probability on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.apps.benchmark.timing import SLOW_CALL, measure
from kvae_tf.errors import UserError
from kvae_tf.lgssm import eager, probability

SIZES = ((32, 20), (256, 20), (32, 200), (1, 1000), (1, 10000))  # (B, T)
OBSERVATION_SIZE = 2
MISSING_RATE = 0.3
TASKS = ("forward", "gradients")
EAGER = "eager call"

_PARALLEL_LATENTS, _PLAIN_TFP_STEPS = 8, 1000
_HEADER = (
    f"{'n':>3}{'B':>5}{'T':>7}  {'task':<10}{'method':<12}{'jit':<5}{'ms/call':>10}{'calls':>7}"
    f"{'compile s':>11}{'max error':>11}{'TFP/ours':>10}"
)


def random_problem(
    batch_size: int,
    num_steps: int,
    latent_size: int,
    seed: int = 0,
    observation_size: int = OBSERVATION_SIZE,
) -> tuple[lgssm.LGSSM, tf.Tensor, tf.Tensor]:
    """A time-varying model and a draw from it, float32.

    Args:
      batch_size: number B of sequences.
      num_steps: number T of steps.
      latent_size: dimension n of a latent state.
      seed: seed of model, observations and mask, an int, 0 by default.
      observation_size: number m of numbers of an observation, 2 by default.

    Returns:
      The model with ``[B, T, ...]`` transitions, emissions and offsets, ``[n]`` and ``[m]`` noises;
      observations ``[B, T, m]``; observed ``[B, T]``, 1 = seen, 30 % of the steps missing.
    """
    rng = np.random.default_rng(seed)
    B, T, n, m = batch_size, num_steps, latent_size, observation_size
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
      sizes: pairs (B, T); by default ``SIZES``.
      latent_sizes: dimensions n, each of which is combined with all sizes; 4, 8 and 16 by default.
      methods: names out of ``lgssm.METHODS``, all by default; ``"parallel"`` is left out for n > 8.
      repeats: number of timed calls, 30 by default.

    Returns:
      The rows of the table, as dictionaries by column.

    Raises:
      UserError: a method is unknown, or needs a package that is not installed; or a number is not
        positive.
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
    if "tfp" in methods:
        probability.require("--methods=tfp")
    methods = [method for method in ("tfp", "sequential", "parallel") if method in methods]
    print(
        f"one CPU core, float32, m = {OBSERVATION_SIZE}, {MISSING_RATE:.0%} of the steps missing, "
        f"A, C and offsets vary in time; median of {repeats} calls\n"
        f"(a call over {SLOW_CALL} s: fewer, see calls); TFP: the better of jit and not, only jit "
        f"for T >= {_PLAIN_TFP_STEPS}; parallel: n <= {_PARALLEL_LATENTS}\n"
        "eager call: method sequential, called outside of a tf.function\n"
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
    """Rows of one size and task; TFP comes first, so that the other methods get a ratio."""
    arguments = random_problem(B, T, n)
    exact = tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), arguments)
    reference = tf.function(task_of(task, "sequential"), autograph=False)(*exact)
    rows, tfp_time = [], None
    for method in methods:
        if method == "parallel" and n > _PARALLEL_LATENTS:
            continue
        runs = []
        for jit in (True, False) if method == "tfp" and T < _PLAIN_TFP_STEPS else (True,):
            function = tf.function(task_of(task, method), jit_compile=jit, autograph=False)
            timing = measure(function, arguments, repeats)
            error = max_error(function(*arguments), reference)
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
    if "sequential" in methods:
        function = task_of(task, "sequential")
        timing = measure(function, arguments, repeats)
        row = {"n": n, "B": B, "T": T, "task": task, "method": EAGER, "jit": eager.compiles([])}
        row |= timing._asdict() | {"max_error": max_error(function(*arguments), reference)}
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


def task_of(task: str, method: str) -> Callable:
    """A function of (model, observations, observed) to named outputs.

    Args:
      task: out of ``TASKS``.
      method: out of ``lgssm.METHODS``.
    """

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


def max_error(outputs: Mapping[str, tf.Tensor], reference: Mapping[str, tf.Tensor]) -> float:
    """The largest over outputs of max |output - reference| / max |reference|; NaN stays NaN.

    Where the reference is 0 everywhere, it is max |output|.

    Args:
      outputs: name -> tensor.
      reference: name -> tensor of the same shape; there may be more of them.
    """
    errors = []
    for name, output in outputs.items():
        if output.shape.num_elements():
            output, exact = output.numpy().astype(np.float64), reference[name].numpy()
            scale = np.max(np.abs(exact)) or 1.0
            errors.append(np.max(np.abs(output - exact)) / scale)
    return float(np.max(errors))  # NaN stays NaN
