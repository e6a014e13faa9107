r"""Expectation maximisation (EM) for one linear Gaussian state-space model of vectors.

The start is in closed form. Gaps are filled by linear interpolation. k = n - D states are common
factors f: the first principal components, scaled to variance 1; D states are what factors leave of
each series, u. Each state starts as an autoregression of order 1 of its own:

    x_t = L f_t + u_t + v_t,    (f, u)_{t+1} = diag(a) (f, u)_t + w_t

For n = D there are no factors, for n < D there are n factors and no u. From there A is a full
matrix, so that each state may move each other one.

With velocities (f, u) are the first half of the states. The second half are their velocities,
which start as autoregressions of order 1 of the differences in time, and are added to (f, u) at
each step.

A round of EM (Shumway and Stoffer 1982; with missing entries Banbura and Modugno 2014) finds the
most probable parameters given the smoothed moments and a prior, without which a table of a few
hundred rows leaves a full A undetermined:

- An entry of A away from the diagonal is Gaussian around 0, with the precision of 300 rows in which
  its state has its usual variance; on the diagonal around its last value, with that of one row
  (the idea of the Minnesota prior, Litterman 1986). With velocities it is the precision of 3000
  rows, and the entries that add a velocity to its state stay 1.
  No eigenvalue of A is above 1: A is scaled down. For n <= D a round goes from the last A towards
  the most probable one as far as that allows, so that it still climbs (generalised EM).
- A loading on a factor is Gaussian around 0, with variance 0.1 for a factor of variance 1. It does
  not count in rows: of series with hardly any noise a few rows say more than it. A loading on u is
  1 for its own series and 0 for others.
- Noises are as if two rows had been seen before: with half of the start's residual variance for Q,
  and 0.3 of the residual variance of the series' own u for R.
- Mean and covariance of z_1 are as if 20 series had been seen before, of mean 0 and twice the
  start's variance, so that one series does not make them sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.models.kvae.linear import LinearKVAE

ROUNDS = 5  # per epoch
_CROSS, _OWN = 300.0, 1.0  # rows
_CROSS_OF_VELOCITIES, _FIXED = 3000.0, 1e6  # rows
_LOADING = 0.1  # variance
_NOISE = 2.0  # rows
_SERIES = 20.0
_LEAST = 1e-6  # variance
_WINDOW, _ROWS = 2000, 20000  # most rows of a series, and of all


class Observations(NamedTuple):
    """The series that EM reads.

    Attributes:
      entries: ``[N, T, D]`` float64, standardised, 0 where missing.
      there: ``[N, T, D]`` float64, 1 = not missing.
      inside: ``[N, T]`` float64, 1 up to the last row with an entry, 0 in the padding after it.
      controls: ``[N, T, U]`` float64.
    """

    entries: np.ndarray
    there: np.ndarray
    inside: np.ndarray
    controls: np.ndarray


class Start(NamedTuple):
    """A start in closed form, and what the prior needs of it.

    Attributes:
      model: the LGSSM, arrays without batch and time.
      control: ``[n, U]``, B; zeros.
      transition_noise: ``[n]``, what Q is drawn to.
      emission_noise: ``[D]``, what R is drawn to.
      velocities: whether the second half of the states are velocities of the first.
    """

    model: lgssm.LGSSM
    control: np.ndarray
    transition_noise: np.ndarray
    emission_noise: np.ndarray
    velocities: bool = False


class LinearEM(keras.callbacks.Callback):
    """Runs ``ROUNDS`` rounds of EM before each of the first epochs.

    Args:
      train: training sequences, vectors.
      epochs: number of these epochs.
      velocities: whether half of the states are velocities.
    """

    def __init__(self, train: SequenceData, epochs: int, velocities: bool = False):
        super().__init__()
        self.train = train
        self.epochs = epochs
        self.velocities = velocities

    def on_epoch_begin(self, epoch, logs=None):
        if epoch < self.epochs:
            fit(self.model, self.train, ROUNDS, self.velocities)


def initialise(model: LinearKVAE, train: SequenceData, velocities: bool = False) -> None:
    """Sets all modes of a built model to the start in closed form.

    Args:
      model: a built model.
      train: training sequences, vectors.
      velocities: whether half of the states are velocities.
    """
    data = observations(train, model.encoder.standardise)
    first = start(data, model.mixture.settings["latent_size"], velocities)
    model.mixture.assign(first.model)


def fit(model: LinearKVAE, train: SequenceData, rounds: int, velocities: bool = False) -> None:
    """Runs EM from the present values of a model with one mode.

    Args:
      model: a built model; its dynamics are changed.
      train: training sequences, vectors.
      rounds: number of rounds.
      velocities: whether half of the states are velocities.
    """
    data = observations(train, model.encoder.standardise)
    first = start(data, model.mixture.settings["latent_size"], velocities)
    mixture = model.mixture
    current = lgssm.LGSSM(
        mixture.transition[0],
        None,
        mixture.transition_noise,
        mixture.emission[0],
        mixture.emission_noise,
        mixture.initial_mean,
        mixture.initial_covariance,
    )
    current = lgssm.LGSSM(*(None if x is None else np.asarray(x, np.float64) for x in current))
    control = np.asarray(mixture.control[0], np.float64)
    for _ in range(rounds):
        current, control = improve(current, control, data, first)
    mixture.assign(current, control)


def observations(train: SequenceData, moments: Sequence[Sequence[float]]) -> Observations:
    """What EM reads of the training sequences: long ones in windows, and not all of very many.

    Args:
      train: training sequences, vectors.
      moments: means and standard deviations of the D entries.
    """
    T = train.num_steps
    pieces = -(-T // _WINDOW)
    length = -(-T // pieces)
    count = max(_ROWS // (length * pieces), 1)
    chosen = train.select(evenly(len(train), count))
    offset, scale = (np.asarray(x, np.float64) for x in moments)
    entries = (chosen.frames[:, :, 0, :, 0] - offset) / scale
    there = ~np.isnan(entries) & (chosen.observed[..., np.newaxis] > 0)
    entries = np.where(there, entries, 0.0)
    controls = chosen.controls.astype(np.float64)

    def cut(x):
        x = np.pad(x, [(0, 0), (0, pieces * length - T)] + [(0, 0)] * (x.ndim - 2))
        return x.reshape(len(x) * pieces, length, *x.shape[2:])

    entries, there, controls = cut(entries), cut(there), cut(controls)
    rows = there.any(axis=2)
    inside = np.maximum.accumulate(rows[:, ::-1], axis=1)[:, ::-1]
    kept = rows.any(axis=1)
    return Observations(*(x[kept].astype(np.float64) for x in (entries, there, inside, controls)))


def evenly(count: int, most: int) -> np.ndarray:
    """Indices of at most ``most`` out of ``count`` series, as far apart as possible."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))


def start(data: Observations, latent_size: int, velocities: bool = False) -> Start:
    """The start in closed form, see the module's docstring.

    Args:
      data: the series.
      latent_size: n.
      velocities: whether half of the states are velocities.

    Raises:
      UserError: there are to be velocities, and n is odd or below 2 D.
    """
    D = data.entries.shape[2]
    if velocities:
        if latent_size % 2 or latent_size < 2 * D:
            raise UserError(
                f"--latent_size is {latent_size}, expected an even number of at least {2 * D} with "
                f"--velocities, for vectors of {D} entries"
            )
        latent_size //= 2
    rows = data.inside > 0
    loadings, states, own = _states(data, latent_size)
    k = loadings.shape[1]
    both = rows[:, 1:] & rows[:, :-1]
    past, present = states[:, :-1][both], states[:, 1:][both]
    slope = (past * present).sum(0) / (np.square(past).sum(0) + 1e-3 * max(len(past), 1))
    slope = np.clip(slope, -0.98, 0.98)
    residual = np.square(present - slope * past).mean(0) if len(past) else np.ones(latent_size)
    residual = np.maximum(residual, 1e-4)
    variance = np.maximum(np.square(states[rows]).mean(0), 1e-3)
    if latent_size >= D:
        emission = np.concatenate([loadings, np.eye(D)], axis=1)
        emission_noise = 0.3 * residual[k:]
    else:
        emission = loadings
        emission_noise = np.maximum(np.square(own[rows]).mean(0), 1e-4)
    model = lgssm.LGSSM(
        transition=np.diag(slope),
        transition_offset=None,
        transition_noise=np.maximum(residual, 1e-3),
        emission=emission,
        emission_noise=np.maximum(emission_noise, 0.1),
        initial_mean=np.zeros(latent_size),
        initial_covariance=np.diag(2.0 * variance),
    )
    control = np.zeros((latent_size, data.controls.shape[2]))
    first = Start(model, control, 0.5 * residual, emission_noise)
    return _with_velocities(first, states, rows) if velocities else first


def _states(data, n):
    """Loadings ``[D, k]``, states ``[N, T, n]``, and what factors leave of the filled series."""
    D = data.entries.shape[2]
    k = n - D if n > D else n if n < D else 0
    filled = _interpolated(data)
    stacked = filled[data.inside > 0]
    _, values, directions = np.linalg.svd(stacked, full_matrices=False)
    k_there = min(k, len(values))
    scales = np.maximum(values[:k_there] / np.sqrt(len(stacked)), 1e-3)
    loadings = np.zeros((D, k))
    loadings[:, :k_there] = directions[:k_there].T * scales
    factors = np.zeros((*filled.shape[:2], k))
    factors[..., :k_there] = filled @ directions[:k_there].T / scales
    own = filled - factors @ loadings.T
    states = np.concatenate([factors, own], axis=2) if n >= D else factors
    return loadings, states, own


def _with_velocities(first, states, rows):
    """A start whose states have velocities, from one without and the states it read."""
    n = states.shape[2]
    speeds = np.diff(states, axis=1)
    past, present = speeds[:, :-1], speeds[:, 1:]
    there = rows[:, 2:] & rows[:, 1:-1] & rows[:, :-2]
    past, present = past[there], present[there]
    slope = (past * present).sum(0) / (np.square(past).sum(0) + 1e-9)
    slope = np.clip(slope, 0.3, 0.95)
    variance = np.square(past).mean(0) if len(past) else np.ones(n)
    noise = np.maximum(0.5 * variance * (1.0 - slope**2), 1e-5)
    transition = np.kron([[0.99, 1.0], [0.0, 0.0]], np.eye(n))
    transition[n:, n:] = np.diag(slope)
    residual = 2.0 * first.transition_noise
    model = first.model._replace(
        transition=transition,
        transition_noise=np.concatenate([np.maximum(residual, 1e-3), np.maximum(noise, 1e-4)]),
        emission=np.pad(first.model.emission, [(0, 0), (0, n)]),
        initial_mean=np.zeros(2 * n),
        initial_covariance=np.diag(
            np.concatenate([
                np.diag(first.model.initial_covariance), 2.0 * np.maximum(variance, 1e-4)
            ])
        ),
    )  # fmt: skip
    return first._replace(
        model=model,
        control=np.pad(first.control, [(0, n), (0, 0)]),
        transition_noise=np.concatenate([0.25 * residual, noise]),
        velocities=True,
    )


def improve(
    model: lgssm.LGSSM, control: np.ndarray, data: Observations, first: Start
) -> tuple[lgssm.LGSSM, np.ndarray]:
    """One round of EM.

    Args:
      model: float64 arrays without batch and time, no offset.
      control: ``[n, U]``, B.
      data: the series.
      first: the start, for the prior.

    Returns:
      The model and B after the round.
    """
    means, covariances, cross = (x.numpy() for x in _smoothed(model, control, data)[1:4])
    A, B, Q = _maximise_dynamics(model, data, first, means, covariances, cross)
    C, R = _maximise_emission(model, data, first, means, covariances)
    count = len(means) + _SERIES
    mean = means[:, 0].sum(0) / count
    deviations = means[:, 0] - mean
    covariance = (
        _SERIES * (first.model.initial_covariance + np.outer(mean, mean))
        + covariances[:, 0].sum(0)
        + deviations.T @ deviations
    ) / count
    return lgssm.LGSSM(A, None, Q, C, R, mean, covariance), B


def _maximise_dynamics(model, data, first, means, covariances, cross):
    """A, B and Q: for each state a ridge regression on all states and controls one step before."""
    n, U = first.control.shape
    weight = data.inside[:, 1:]
    past = np.concatenate([means[:, :-1], data.controls[:, :-1]], axis=2)
    count = weight.sum()
    gram = np.einsum("bt,bti,btj->ij", weight, past, past)
    gram[:n, :n] += np.einsum("bt,btij->ij", weight, covariances[:, :-1])
    with_next = np.einsum("bt,bti,btj->ij", weight, means[:, 1:], past)
    with_next[:, :n] += np.einsum("bt,btij->ji", weight, cross)
    square = np.einsum("bt,bti->i", weight, np.square(means[:, 1:]))
    square += np.einsum("bt,btii->i", weight, covariances[:, 1:])
    usual = np.diag(gram) / max(count, 1.0)
    coefficients, free = np.zeros((n, n + U)), np.zeros(n)
    for i in range(n):
        rows = np.full(n + U, _CROSS_OF_VELOCITIES if first.velocities else _CROSS)
        rows[n:] = _OWN
        rows[i] = _OWN
        centre = np.zeros(n + U)
        centre[i] = model.transition[i, i]
        if first.velocities and i < n // 2:
            rows[n // 2 + i], centre[n // 2 + i] = _FIXED, 1.0
        precision = rows * usual + 1e-9
        posterior = gram + np.diag(precision)
        coefficients[i] = np.linalg.solve(posterior, with_next[i] + precision * centre)
        free[i] = np.trace(np.linalg.solve(posterior, gram))
    # No state may grow without limit: a gap of a few rows would be filled with huge numbers.
    stable = _scaled(coefficients[:, :n])
    if n <= data.entries.shape[2]:
        # Without factors beside u, scaling lowers the likelihood at each round, without end.
        stable = _stable_step(_scaled(model.transition), coefficients[:, :n])
        coefficients[:, :n] = stable
    residual = square - 2.0 * (coefficients * with_next).sum(1)
    residual += ((coefficients @ gram) * coefficients).sum(1)
    rows = zip(residual, first.transition_noise, free, strict=True)
    Q = np.array([_variance(r, usual, count, f) for r, usual, f in rows])
    return stable, coefficients[:, n:], np.maximum(Q, _LEAST)


def _scaled(A):
    """A, scaled down where its largest eigenvalue is above 1."""
    return A / max(_largest_eigenvalue(A), 1.0)


def _stable_step(A, best):
    """As far from A towards ``best``, by halves, as leaves no eigenvalue above 1."""
    for step in 0.5 ** np.arange(8):
        between = A + step * (best - A)
        if _largest_eigenvalue(between) <= 1.0:
            return between
    return A


def _largest_eigenvalue(A):
    return np.abs(np.linalg.eigvals(A)).max()


def _maximise_emission(model, data, first, means, covariances):
    """C and R: for each series a ridge regression on the factors, where the series is there."""
    D, n = model.emission.shape
    C, R = np.zeros((D, n)), np.zeros(D)
    n = n // 2 if first.velocities else n  # nothing is seen of velocities
    means, covariances = means[..., :n], covariances[..., :n, :n]
    has_own = n >= D
    k = n - D if has_own else n
    for d in range(D):
        weight = data.there[:, :, d]
        count = weight.sum()
        gram = np.einsum("bt,bti,btj->ij", weight, means, means, optimize=True)
        gram += np.einsum("bt,btij->ij", weight, covariances)
        product = np.einsum("bt,bt,bti->i", weight, data.entries[:, :, d], means)
        square = (weight * np.square(data.entries[:, :, d])).sum()
        c = np.zeros(n)
        if has_own:
            c[k + d] = 1.0
        usual = np.diag(gram)[:k] / max(count, 1.0)
        precision = model.emission_noise[d] / _LOADING * usual + 1e-9
        posterior = gram[:k, :k] + np.diag(precision)
        c[:k] = np.linalg.solve(posterior, (product - gram @ c)[:k])
        free = np.trace(np.linalg.solve(posterior, gram[:k, :k]))
        residual = square - 2.0 * c @ product + c @ gram @ c
        C[d, :n] = c
        R[d] = _variance(residual, first.emission_noise[d], count, free)
    return C, np.maximum(R, _LEAST)


def _variance(residual, usual, count, free):
    """A noise variance from a sum of squares of ``count`` rows that ``free`` coefficients fit."""
    return (max(residual, 0.0) + _NOISE * usual) / max(count + _NOISE - free, 1.0)


def _interpolated(data):
    """Entries ``[N, T, D]`` with gaps filled by linear interpolation in time."""
    filled = np.zeros_like(data.entries)
    steps = np.arange(filled.shape[1])
    for series, there, out in zip(data.entries, data.there, filled, strict=True):
        for d in range(filled.shape[2]):
            known = np.flatnonzero(there[:, d])
            if len(known):
                out[:, d] = np.interp(steps, known, series[known, d])
    return filled


def prediction(model: lgssm.LGSSM, control: np.ndarray, data: Observations) -> np.ndarray:
    """Mean ``[N, T, D]`` of every entry, given those that are there.

    Args:
      model: float64 arrays without batch and time, no offset.
      control: ``[n, U]``, B.
      data: the series.
    """
    return _smoothed(model, control, data)[1].numpy() @ model.emission.T


def _smoothed(model, control, data):
    """What ``_smooth`` returns, with B u as offset."""
    offset = data.controls @ control.T
    return _smooth(model._replace(transition_offset=offset), data.entries, data.there)


@tf.function(jit_compile=True, autograph=False)
def _smooth(model, entries, there):
    result = lgssm.smooth(model, entries, there)
    return result[:4]
