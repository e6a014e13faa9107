"""Slow, clear NumPy float64 oracles for the linear-Gaussian state-space model.

The model, for one sequence and t = 0 … T-1 (letters as in the paper):

    z_0 ~ N(μ, Σ)
    z_{t+1} = A_t z_t + b_t + w_t,    w_t ~ N(0, diag(q_t))
    y_t     = C_t z_t + v_t,          v_t ~ N(0, diag(r_t))

Two oracles that share no arithmetic: `dense_posterior` writes all latents and observations as one
Gaussian vector and conditions on the observed entries; `loop_smoother` is the textbook Kalman
filter and Rauch-Tung-Striebel smoother, one sequence and one step at a time. `exact_smoother` is
the second in 60 digits.
"""

import decimal
from typing import NamedTuple

import numpy as np
from scipy import stats


class Model(NamedTuple):
    """The arguments of `kvae_tf.lgssm.LGSSM`, in its order, as NumPy arrays."""

    transition: np.ndarray  # [B, T, n, n] or [n, n]
    transition_offset: np.ndarray | None  # [B, T, n]
    transition_noise: np.ndarray  # [B, T, n] or [n], variances
    emission: np.ndarray  # [B, T, m, n] or [m, n]
    emission_noise: np.ndarray  # [B, T, m] or [m], variances
    initial_mean: np.ndarray  # [B, n] or [n]
    initial_covariance: np.ndarray  # [B, n, n] or [n, n]

    def cast(self, dtype) -> "Model":
        """The same model with every array in `dtype`."""
        return Model(*(None if x is None else np.asarray(x, dtype) for x in self))

    def expand(self, B: int, T: int) -> "Model":
        """Every array with its batch and time axes written out, the offset too."""
        n, m = self.initial_mean.shape[-1], self.emission.shape[-2]
        offset = np.zeros(n) if self.transition_offset is None else self.transition_offset
        return Model(
            np.broadcast_to(self.transition, (B, T, n, n)),
            np.broadcast_to(offset, (B, T, n)),
            np.broadcast_to(self.transition_noise, (B, T, n)),
            np.broadcast_to(self.emission, (B, T, m, n)),
            np.broadcast_to(self.emission_noise, (B, T, m)),
            np.broadcast_to(self.initial_mean, (B, n)),
            np.broadcast_to(self.initial_covariance, (B, n, n)),
        )


class Filtered(NamedTuple):
    """What a filter knows; fields named as in `kvae_tf.lgssm.FilterResult`."""

    log_likelihood: np.ndarray  # [B]
    filtered_means: np.ndarray  # [B, T, n]
    filtered_covariances: np.ndarray  # [B, T, n, n]
    predicted_means: np.ndarray  # [B, T, n], of z_t given y_{<t}
    predicted_covariances: np.ndarray  # [B, T, n, n]
    step_log_likelihoods: np.ndarray  # [B, T], log p(observed y_t | observed y_{<t})


class Smoothed(NamedTuple):
    """What a smoother knows; fields named as in `kvae_tf.lgssm.SmoothResult`."""

    log_likelihood: np.ndarray  # [B]
    smoothed_means: np.ndarray  # [B, T, n]
    smoothed_covariances: np.ndarray  # [B, T, n, n]
    smoothed_cross_covariances: np.ndarray  # [B, T-1, n, n], Cov(z_t, z_{t+1} | y)
    filter: Filtered


def random_model(
    rng: np.random.Generator,
    B: int,
    T: int,
    n: int,
    m: int,
    *,
    time_invariant: bool = False,
    step_noises: bool = False,
    offset: bool = True,
    batched_initial: bool = True,
) -> Model:
    """A random stable model: every A is a random rotation times gains in (0.5, 1).

    A and C are `[B, T, ...]` unless `time_invariant`, the noises only with `step_noises`, the
    initial moments `[B, ...]` only with `batched_initial`.
    """
    steps = () if time_invariant else (B, T)
    noise_steps = (B, T) if step_noises else ()
    rows = (B,) if batched_initial else ()
    rotations = np.linalg.qr(rng.normal(size=(*steps, n, n)))[0]
    root = rng.normal(size=(*rows, n, n))
    return Model(
        transition=rotations * rng.uniform(0.5, 1.0, size=(*steps, 1, n)),
        transition_offset=rng.normal(size=(B, T, n)) if offset else None,
        transition_noise=np.exp(rng.uniform(-3.0, 0.0, size=(*noise_steps, n))),
        emission=rng.normal(size=(*steps, m, n)),
        emission_noise=np.exp(rng.uniform(-3.0, 0.0, size=(*noise_steps, m))),
        initial_mean=rng.normal(size=(*rows, n)),
        initial_covariance=root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(n),
    )


MASKS = ("none", "all_seen", "all_missing", "per_step", "per_dimension", "row_missing")


def random_mask(rng: np.random.Generator, kind: str, B: int, T: int, m: int):
    """A mask, 1 = seen, of a kind in `MASKS`; None for "none".

    "per_dimension" is `[B, T, m]`, the others are `[B, T]`; "row_missing" is "per_step" with the
    whole last sequence missing.
    """
    if kind == "none":
        return None
    if kind in ("all_seen", "all_missing"):
        return np.full((B, T), float(kind == "all_seen"))
    shape = (B, T, m) if kind == "per_dimension" else (B, T)
    mask = rng.binomial(1, 0.6, size=shape).astype(float)
    if kind == "row_missing":
        mask[-1] = 0.0
    return mask


def simulate(rng: np.random.Generator, model: Model, B: int, T: int):
    """Draws latents `[B, T, n]` and observations `[B, T, m]` from the model's equations."""
    A, b, q, C, r, mean, covariance = model.expand(B, T)
    z = np.zeros(b.shape)
    for row in range(B):
        z[row, 0] = rng.multivariate_normal(mean[row], covariance[row])
        for t in range(T - 1):
            w = np.sqrt(q[row, t]) * rng.normal(size=q.shape[-1])
            z[row, t + 1] = A[row, t] @ z[row, t] + b[row, t] + w
    return z, np.einsum("btij,btj->bti", C, z) + np.sqrt(r) * rng.normal(size=r.shape)


def seen_entries(observations: np.ndarray, observed: np.ndarray | None) -> np.ndarray:
    """The mask as booleans of the observations' own shape `[B, T, m]`."""
    if observed is None:
        return np.ones(observations.shape, bool)
    observed = observed[..., None] if observed.ndim == 2 else observed
    return np.broadcast_to(observed > 0, observations.shape)


def hide(observations: np.ndarray, observed: np.ndarray | None, value=np.nan) -> np.ndarray:
    """The observations with `value` wherever they are missing."""
    return np.where(seen_entries(observations, observed), observations, value)


def dense_joint(model: Model, B: int, T: int):
    """The Gaussian of (z_0 … z_{T-1}, y_0 … y_{T-1}) as one vector for each sequence.

    Unrolled, every latent is a sum over the independent noises e_0 = z_0 and e_{s+1} = b_s + w_s:

        z_t = Σ_{s ≤ t} A_{t-1} ⋯ A_s e_s,    i.e.  z = F e,   Cov z = F D Fᵀ
        y = H z + v,   H = blockdiag(C_t),    Cov(z, y) = Cov(z) Hᵀ,   Cov y = H Cov(z) Hᵀ + R

    Returns:
        means `[B, T n + T m]` and covariances `[B, T n + T m, T n + T m]`.
    """
    A, b, q, C, r, mean, covariance = model.expand(B, T)
    n, m = b.shape[-1], r.shape[-1]
    means = np.zeros((B, T * (n + m)))
    covariances = np.zeros((B, T * (n + m), T * (n + m)))
    for row in range(B):
        F = np.zeros((T, n, T, n))
        for s in range(T):
            F[s, :, s, :] = np.eye(n)
            for t in range(s, T - 1):
                F[t + 1, :, s, :] = A[row, t] @ F[t, :, s, :]
        F = F.reshape(T * n, T * n)
        D = np.zeros((T, n, T, n))
        H = np.zeros((T, m, T, n))
        D[0, :, 0, :] = covariance[row]
        for t in range(T):
            H[t, :, t, :] = C[row, t]
            if t > 0:
                D[t, :, t, :] = np.diag(q[row, t - 1])
        H = H.reshape(T * m, T * n)
        e_mean = np.concatenate([mean[row][None], b[row, :-1]]).reshape(-1)
        z_mean, P = F @ e_mean, F @ D.reshape(T * n, T * n) @ F.T
        means[row] = np.concatenate([z_mean, H @ z_mean])
        R = np.diag(r[row].reshape(-1))
        covariances[row] = np.block([[P, P @ H.T], [H @ P, H @ P @ H.T + R]])
    return means, covariances


def condition(mean: np.ndarray, covariance: np.ndarray, known: np.ndarray, values: np.ndarray):
    """Mean and covariance of x given x_known = values, and log p(x_known).

    E[x | x_k]   = μ + Σ_{·k} Σ_kk⁻¹ (x_k − μ_k)
    Cov(x | x_k) = Σ − Σ_{·k} Σ_kk⁻¹ Σ_{k·},    log p = log N(x_k; μ_k, Σ_kk)
    """
    if len(known) == 0:
        return mean, covariance, 0.0
    S = covariance[np.ix_(known, known)]
    v = values - mean[known]
    gain = np.linalg.solve(S, covariance[known]).T
    log_prob = -0.5 * (v @ np.linalg.solve(S, v) + np.linalg.slogdet(2 * np.pi * S)[1])
    return mean + gain @ v, covariance - gain @ covariance[known], log_prob


def dense_trajectory(model: Model, observations: np.ndarray, observed=None):
    """The posterior of the whole latent trajectory as one Gaussian vector for each sequence.

    Returns:
        means `[B, T n]`, covariances `[B, T n, T n]` and log-likelihoods `[B]`.
    """
    B, T, m = observations.shape
    n = model.initial_mean.shape[-1]
    seen = seen_entries(observations, observed).reshape(B, -1)
    rows = []
    for row, (mean, covariance) in enumerate(zip(*dense_joint(model, B, T), strict=True)):
        known = np.flatnonzero(seen[row])
        values = observations[row].reshape(-1)[known]
        mean, covariance, log_prob = condition(mean, covariance, T * n + known, values)
        rows.append((mean[: T * n], covariance[: T * n, : T * n], log_prob))
    return tuple(np.array(x) for x in zip(*rows, strict=True))


def dense_posterior(model: Model, observations: np.ndarray, observed=None) -> Smoothed:
    """Every moment by conditioning one big Gaussian vector: for small T n only.

    The smoothed moments condition on all observed entries, the filtered moments of z_t on those
    of y_0 … y_t, the predicted ones on those of y_0 … y_{t-1}. Values under a zero are not read.
    """
    B, T, _ = observations.shape
    n = model.initial_mean.shape[-1]
    steps = np.arange(T)
    seen = seen_entries(observations, observed)

    def given_prefix(length):  # means [B, T, n] and covariances [B, T, T, n, n] given y_{<length}
        prefix = seen & (steps < length)[:, None]
        means, covariances, log_prob = dense_trajectory(model, observations, prefix)
        blocks = covariances.reshape(B, T, n, T, n).swapaxes(2, 3)
        return means.reshape(B, T, n), blocks, log_prob

    prefixes = [given_prefix(length) for length in range(T + 1)]
    means, covariances, log_likelihood = prefixes[T]
    filtered = Filtered(
        log_likelihood,
        np.stack([prefixes[t + 1][0][:, t] for t in steps], 1),
        np.stack([prefixes[t + 1][1][:, t, t] for t in steps], 1),
        np.stack([prefixes[t][0][:, t] for t in steps], 1),
        np.stack([prefixes[t][1][:, t, t] for t in steps], 1),
        np.diff([log_prob for _, _, log_prob in prefixes], axis=0).T,
    )
    cross = covariances[:, steps[:-1], steps[1:]]
    return Smoothed(log_likelihood, means, covariances[:, steps, steps], cross, filtered)


def joint_log_density(model: Model, latents: np.ndarray, observations: np.ndarray, observed=None):
    """log p(z, observed y), `[B]`, by SciPy's multivariate normal on `dense_joint`."""
    B, T, n = latents.shape
    seen = seen_entries(observations, observed).reshape(B, -1)
    means, covariances = dense_joint(model, B, T)
    log_prob = np.zeros(B)
    for row in range(B):
        keep = np.concatenate([np.arange(T * n), T * n + np.flatnonzero(seen[row])])
        x = np.concatenate([latents[row].reshape(-1), observations[row].reshape(-1)])
        cov = covariances[row][np.ix_(keep, keep)]
        log_prob[row] = stats.multivariate_normal(means[row][keep], cov).logpdf(x[keep])
    return log_prob


def loop_filter(model: Model, observations: np.ndarray, observed=None) -> Filtered:
    """The textbook Kalman filter with the observed rows of C_t, r_t and y_t.

    S = C P Cᵀ + R,   K = P Cᵀ S⁻¹,   v = y − C x                      (innovation)
    x ← x + K v,      P ← P − K S Kᵀ                                   (update)
    log p(y_t | y_{<t}) = log N(v; 0, S)
    x ← A x + b,      P ← A P Aᵀ + Q                                   (predict)
    """
    B, T, m = observations.shape
    A, b, q, C, r, mean, covariance = model.expand(B, T)
    seen = seen_entries(observations, observed)
    n = b.shape[-1]
    log_likelihoods = np.zeros((B, T))
    means, predicted_means = np.zeros((2, B, T, n))
    covariances, predicted_covariances = np.zeros((2, B, T, n, n))
    for row in range(B):
        x, P = mean[row], covariance[row]
        for t in range(T):
            predicted_means[row, t], predicted_covariances[row, t] = x, P
            rows = np.flatnonzero(seen[row, t])
            if len(rows) > 0:
                c = C[row, t][rows]
                S = c @ P @ c.T + np.diag(r[row, t][rows])
                K = np.linalg.solve(S, c @ P).T
                v = observations[row, t][rows] - c @ x
                x, P = x + K @ v, P - K @ S @ K.T
                log_det = np.linalg.slogdet(2 * np.pi * S)[1]
                log_likelihoods[row, t] = -0.5 * (v @ np.linalg.solve(S, v) + log_det)
            means[row, t], covariances[row, t] = x, P
            x, P = A[row, t] @ x + b[row, t], A[row, t] @ P @ A[row, t].T + np.diag(q[row, t])
    predicted = predicted_means, predicted_covariances
    return Filtered(log_likelihoods.sum(1), means, covariances, *predicted, log_likelihoods)


def loop_smoother(model: Model, observations: np.ndarray, observed=None) -> Smoothed:
    """The textbook Rauch-Tung-Striebel smoother.

    G_t = P_{t|t} A_tᵀ P_{t+1|t}⁻¹
    x_{t|T} = x_{t|t} + G_t (x_{t+1|T} − x_{t+1|t})
    P_{t|T} = P_{t|t} + G_t (P_{t+1|T} − P_{t+1|t}) G_tᵀ
    Cov(z_t, z_{t+1} | y) = G_t P_{t+1|T}
    """
    B, T, _ = observations.shape
    A = model.expand(B, T).transition
    filtered = loop_filter(model, observations, observed)
    _, x, P, x_next, P_next, _ = filtered
    means, covariances = x.copy(), P.copy()
    cross = np.zeros((B, T - 1, *P.shape[2:]))
    for row in range(B):
        for t in range(T - 2, -1, -1):
            G = np.linalg.solve(P_next[row, t + 1], A[row, t] @ P[row, t]).T
            means[row, t] += G @ (means[row, t + 1] - x_next[row, t + 1])
            covariances[row, t] += G @ (covariances[row, t + 1] - P_next[row, t + 1]) @ G.T
            cross[row, t] = G @ covariances[row, t + 1]
    return Smoothed(filtered.log_likelihood, means, covariances, cross, filtered)


def exact_smoother(model: Model, observations: np.ndarray, observed=None) -> Smoothed:
    """`loop_smoother` in 60 decimal digits, for models whose matrices are nearly singular.

    Observations are seen one number at a time, so the filter needs no matrix inverse.
    """
    with decimal.localcontext(prec=60):
        return _exact_smoother(model, observations, observed)


def _decimals(x):
    return np.vectorize(lambda value: decimal.Decimal(float(value)), otypes=[object])(x)


def _solve_decimals(a, b):
    """a⁻¹ b by elimination with row pivots."""
    a, b = a.copy(), b.copy()
    for i in range(len(a)):
        rows = [i, i + int(np.argmax(np.abs(a[i:, i])))]
        a[rows], b[rows] = a[rows[::-1]], b[rows[::-1]]
        for j in set(range(len(a))) - {i}:
            factor = a[j, i] / a[i, i]
            a[j], b[j] = a[j] - factor * a[i], b[j] - factor * b[i]
    return b / np.diag(a)[:, None]


def _exact_smoother(model, observations, observed):
    B, T, m = observations.shape
    A, b, q, C, r, mean, covariance = map(_decimals, model.expand(B, T))
    seen = seen_entries(observations, observed)
    tau = decimal.Decimal("6.28318530717958647692528676655900576839433879875021164194989")
    rows = []
    for row in range(B):
        x, P, filtered = mean[row], covariance[row], []
        for t in range(T):
            predicted, log_likelihood = (x, P), decimal.Decimal(0)
            for i in np.flatnonzero(seen[row, t]):
                c = C[row, t, i]
                s = c @ P @ c + r[row, t, i]
                v = decimal.Decimal(float(observations[row, t, i])) - c @ x
                k = P @ c / s
                x, P = x + k * v, P - np.outer(k, k) * s
                log_likelihood -= ((tau * s).ln() + v * v / s) / 2
            filtered.append((x, P, *predicted, log_likelihood))
            x, P = A[row, t] @ x + b[row, t], A[row, t] @ P @ A[row, t].T + np.diag(q[row, t])
        smoothed, cross = [filtered[-1][:2]], []
        for t in reversed(range(T - 1)):
            x, P = filtered[t][:2]
            x_next, P_next = filtered[t + 1][2:4]
            G = _solve_decimals(P_next, A[row, t] @ P).T
            mean_next, covariance_next = smoothed[-1]
            cross.append(G @ covariance_next)
            smoothed.append(
                (x + G @ (mean_next - x_next), P + G @ (covariance_next - P_next) @ G.T)
            )
        means, covariances = zip(*smoothed[::-1], strict=True)
        log_likelihood = sum(step[-1] for step in filtered)
        rows.append([log_likelihood, means, covariances, cross[::-1], *zip(*filtered, strict=True)])
    fields = [np.array(field, dtype=np.float64) for field in zip(*rows, strict=True)]
    return Smoothed(*fields[:4], Filtered(fields[0], *fields[4:]))


def scaled_error(actual, expected) -> float:
    """max |actual − expected| / max |expected|; the absolute error where all expected are 0.

    Other shapes and values that are not finite are assertion errors.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    assert np.all(np.isfinite(actual)), "values that are not finite"
    if expected.size == 0:
        return 0.0
    return float(np.max(np.abs(actual - expected)) / (np.max(np.abs(expected)) or 1.0))


def assert_moments_close(actual, expected, tolerance: float) -> None:
    """Compares two results field by field, by name, with `scaled_error`."""
    for name in expected._fields:
        if name == "filter":
            assert_moments_close(actual.filter, expected.filter, tolerance)
        else:
            error = scaled_error(getattr(actual, name), getattr(expected, name))
            assert error <= tolerance, f"{name}: error {error:.2e} exceeds {tolerance:.0e}"


def assert_sample_moments(samples: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Mean and covariance of samples `[S, D]` are within five standard errors, entry by entry."""
    variances = np.diag(covariance)
    standard_error = np.sqrt(variances / len(samples))
    assert np.all(np.abs(samples.mean(0) - mean) < 5 * standard_error)
    standard_error = np.sqrt((np.outer(variances, variances) + covariance**2) / len(samples))
    assert np.all(np.abs(np.cov(samples.T) - covariance) < 5 * standard_error)
