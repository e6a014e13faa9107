r"""The filter and the smoother as associative scans: depth log T instead of T.

Square roots of covariances, Yaghoobi, Corenflos, Hassan and Särkkä (2022): joining long stretches
of time loses half as many digits as with covariances, and no process noise is needed. Step t is
the element (A, U, Z) that describes, as functions of z_{t-1} and y_t,

    cov(z_t | y_t, z_{t-1}) = U Uᵀ,    E[z_t | y_t, z_{t-1}] = A z_{t-1} + ...
    p(y_t | z_{t-1})        ∝ exp(-½ z_{t-1}ᵀ Z Zᵀ z_{t-1} + ...)

and two neighbours join into one element of the same form. The prefix products hold roots of the
filtered covariances, hence the gains K_t. Given the gains, the filter is affine,

    x_t <- F_t x_{t-1} + (I - K_t C_t) b_t + K_t y_t,    F_t = (I - K_t C_t) A_t
    P_t <- F_t P_{t-1} F_tᵀ + (I - K_t C_t) Q_t (I - K_t C_t)ᵀ + K_t R_t K_tᵀ

and so is the smoother, given G and L of ``sequential``; affine maps are joined by products alone.
P is least at the best gains, so its derivative needs none of theirs: the scan of roots is not
differentiated, only what follows from it. Results are differentiable once.

Missing observations are rows of zeros in C_t with unit noise. Everything is batch-first,
``[B, T, ...]``, and float64, out of TensorFloat-32's reach.
"""

from __future__ import annotations

import math

import tensorflow as tf

from kvae_tf.lgssm import sequential
from kvae_tf.lgssm.model import LGSSM
from kvae_tf.lgssm.results import FilterResult, SmoothResult
from kvae_tf.lgssm.steps import batch_first, batch_last, psd_factor


def filter(model: LGSSM, observations: tf.Tensor, observed: tf.Tensor) -> FilterResult:
    """The Kalman filter by prefix scans.

    Args:
      model: float64, broadcast to ``[B, T, ...]``.
      observations: ``[B, T, m]``, finite.
      observed: ``[B, T, m]``, 1 = seen.

    Returns:
      A ``FilterResult``.
    """
    return _filter(model, observations, observed)[0]


def log_likelihood(model: LGSSM, observations: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
    """log p(y) with the analytic gradient of ``gradient``, for all m numbers of a step at once.

    Its recursion is affine too. With L_t = A_t (I - K_t C_t), and r, N of step t+1 on the right,

        r <- C_tᵀ S_t⁻¹ v_t + L_tᵀ r,    N <- C_tᵀ S_t⁻¹ C_t + L_tᵀ N L_t

    Args:
      model: float64, broadcast to ``[B, T, ...]``.
      observations: ``[B, T, m]``, finite.
      observed: ``[B, T, m]``, 1 = seen.

    Returns:
      ``[B]``, nats.
    """

    @tf.custom_gradient
    def evaluate(*fields):
        model, observations = LGSSM(*fields[:-1]), fields[-1]
        result, root, gains = _filter(model, observations, observed)

        def gradient(upstream):
            return _gradients(model, observations, observed, result, root, gains, upstream)

        return result.log_likelihood, gradient

    return evaluate(*model, observations)


def _gradients(model, observations, observed, result, root, gains, upstream):
    """Gradients of ``sum(upstream * log p(y))`` in the fields of the model and in y."""
    C, _ = _masked_emission(model, observed)
    A, P = model.transition, result.filtered_covariances
    v = observations - _mv(C, result.predicted_means)
    weighted = tf.linalg.cholesky_solve(root, v[..., tf.newaxis])[..., 0]  # S⁻¹ v
    back = _t(A @ (_eye_like(A) - gains @ C))
    seen = _congruence(_t(tf.linalg.triangular_solve(root, C)))
    maps = (back, _mv(_t(C), weighted), seen)
    _, r, N = _scan(_join_moments, tuple(tf.reverse(x, axis=[1]) for x in maps))
    r, N = tf.reverse(r, axis=[1]), tf.reverse(N, axis=[1])
    # The adjoint of step t+1, zero after the last step.
    r_next, N_next = (tf.concat([x[:, 1:], tf.zeros_like(x[:, :1])], axis=1) for x in (r, N))
    pull, NA = _mv(_t(A), r_next), N_next @ A
    smoothed = result.filtered_means + _mv(P, pull)
    e = weighted - _mv(_t(gains), pull)
    KN = _t(gains) @ (_t(A) @ NA)
    precision = _diagonal_of_inverse(root) + tf.reduce_sum(KN * _t(gains), axis=-1)
    fields = LGSSM(
        transition=_outer(r_next, smoothed) - NA @ P,
        transition_offset=r_next,
        transition_noise=0.5 * (tf.square(r_next) - tf.linalg.diag_part(N_next)),
        emission=(_outer(e, smoothed) - _t(gains) + KN @ P) * observed[..., tf.newaxis],
        emission_noise=0.5 * (tf.square(e) - precision) * observed,
        initial_mean=r[:, 0],
        initial_covariance=0.5 * (_outer(r[:, 0], r[:, 0]) - N[:, 0]),
    )
    weigh = lambda x: x * tf.reshape(upstream, [-1] + [1] * (x.shape.rank - 1))  # noqa: E731
    return [weigh(x) for x in (*fields, -e)]


def _diagonal_of_inverse(root):
    """The diagonal of (root rootᵀ)⁻¹."""
    eye = tf.linalg.diag(tf.ones_like(root[..., 0]))
    return tf.reduce_sum(tf.square(tf.linalg.triangular_solve(root, eye)), axis=-2)


def _outer(x, y):
    return x[..., :, tf.newaxis] * y[..., tf.newaxis, :]


def _filter(model, observations, observed):
    """A ``FilterResult``, a root of S and the gains."""
    C, r = _masked_emission(model, observed)
    A, b, Q = _arrivals(model)
    root, fixed = _gains(*(tf.stop_gradient(x) for x in (*_roots(model), C, r)))
    fixed *= observed[:, :, tf.newaxis]
    keep = _eye_like(A) - fixed @ C
    spread = _congruence(keep, Q) + _congruence(fixed * tf.sqrt(r)[:, :, tf.newaxis])
    _, covariances = _scan(_join_covariances, (keep @ A, spread))
    predicted_covariances = _congruence(A, _shift(covariances)) + Q
    # Values of S and K come from the roots, derivatives from S = C P Cᵀ + R and K S = P Cᵀ.
    S = _congruence(C, predicted_covariances) + tf.linalg.diag(r)
    error = _change(C @ predicted_covariances - S @ _t(fixed))
    gains = fixed + _t(tf.linalg.cholesky_solve(root, error))
    keep = _eye_like(A) - gains @ C
    _, means = _scan(_join_means, (keep @ A, _mv(keep, b) + _mv(gains, observations)))
    predicted_means = _mv(A, _shift(means)) + b
    # log N(v; 0, S) of the innovations. A masked row has v = 0 and variance 1.
    v = observations - _mv(C, predicted_means)
    weighted = tf.linalg.cholesky_solve(root, v[..., tf.newaxis])[..., 0]
    held = tf.stop_gradient(weighted)
    square = tf.reduce_sum(v * weighted - held * _mv(_change(S), held), axis=2)
    pivots = 2.0 * tf.math.log(tf.abs(tf.linalg.diag_part(root)))
    log_det = tf.reduce_sum(observed * pivots, axis=2) + tf.linalg.trace(
        tf.linalg.cholesky_solve(root, _change(S))
    )
    constant = math.log(2.0 * math.pi) * tf.reduce_sum(observed, axis=2)
    step_log_likelihoods = -0.5 * (square + log_det + constant)  # [B, T]
    result = FilterResult(
        tf.reduce_sum(step_log_likelihoods, axis=1),
        means,
        covariances,
        predicted_means,
        predicted_covariances,
        step_log_likelihoods,
    )
    return result, root, fixed


def smooth(model: LGSSM, observations: tf.Tensor, observed: tf.Tensor) -> SmoothResult:
    """The Kalman smoother by prefix and suffix scans.

    Args:
      model: float64, broadcast to ``[B, T, ...]``.
      observations: ``[B, T, m]``, finite.
      observed: ``[B, T, m]``, 1 = seen.

    Returns:
      A ``SmoothResult``.
    """
    result = filter(model, observations, observed)
    x, P = result.filtered_means, result.filtered_covariances
    # All steps as one batch: G and L of a step need no other step.
    flat = [
        batch_last(tf.reshape(value[:, :-1], [-1, *value.shape[2:]]))
        for value in (P, model.transition, model.transition_noise)
    ]
    gain, _ = sequential.smoother_gains(*flat)
    residual = sequential.joseph_residual(gain, *flat)
    gain, residual = (
        tf.reshape(batch_first(value), tf.shape(P[:, :-1])) for value in (gain, residual)
    )
    anchor = x[:, :-1] - _mv(gain, result.predicted_means[:, 1:])
    # The last step has no successor: its smoothed moments are the filtered ones.
    maps = (
        tf.concat([gain, tf.zeros_like(P[:, -1:])], axis=1),
        tf.concat([anchor, x[:, -1:]], axis=1),
        tf.concat([residual, P[:, -1:]], axis=1),
    )
    _, means, covariances = (
        tf.reverse(value, axis=[1])
        for value in _scan(_join_moments, tuple(tf.reverse(value, axis=[1]) for value in maps))
    )
    cross = gain @ covariances[:, 1:]
    return SmoothResult(result.log_likelihood, means, covariances, cross, result)


def _arrivals(model):
    """A, b and Q that lead to step t; at the first step zero and the initial moments."""
    start = model.initial_mean[:, tf.newaxis]
    covariance = 0.5 * (model.initial_covariance + _t(model.initial_covariance))[:, tf.newaxis]
    return (
        _shift(model.transition),
        tf.concat([start, model.transition_offset[:, :-1]], axis=1),
        tf.concat([covariance, tf.linalg.diag(model.transition_noise[:, :-1])], axis=1),
    )


def _roots(model):
    """A that leads to step t, and a root of its Q."""
    root = psd_factor(model.initial_covariance)[:, tf.newaxis]
    noise = tf.linalg.diag(tf.sqrt(model.transition_noise[:, :-1]))
    return _shift(model.transition), tf.concat([root, noise], axis=1)


def _gains(A, Q_root, C, r):
    """A root of S ``[B, T, m, m]`` and the gains ``[B, T, n, m]``, by a scan over square roots."""
    n, m = C.shape[-1], C.shape[-2]
    r_root = tf.linalg.diag(tf.sqrt(r))

    def see(root):
        """Of z with covariance root rootᵀ: the root of S, the gain, and z's root after y."""
        joint = _triangle(
            tf.concat([C @ root, root], axis=-2),
            tf.concat([r_root, tf.zeros_like(_t(C))], axis=-2),
        )
        S_root, tail = joint[..., :m, :m], joint[..., m:, :m]
        gain = _t(tf.linalg.triangular_solve(S_root, _t(tail), adjoint=True))
        return S_root, gain, joint[..., m:, m:]

    S_root, gain, U = see(Q_root)
    Z = _t(tf.linalg.triangular_solve(S_root, C @ A))
    Z = tf.pad(Z, [[0, 0]] * 3 + [[0, n - m]]) if m < n else _triangle(Z)
    _, U, _ = _scan(_join_roots, (A - gain @ (C @ A), U, Z))
    # At the first step A is 0, so the predicted root is that of the initial covariance.
    return see(tf.concat([A @ _shift(U), Q_root], axis=-1))[:2]


def _join_roots(first, second):
    """The element of two stretches of time, ``first`` before ``second``."""
    A1, U1, Z1 = first
    A2, U2, Z2 = second
    n = A1.shape[-1]
    across = _t(U1) @ Z2
    eye = tf.linalg.diag(tf.ones_like(across[..., 0]))
    joint = _triangle(
        tf.concat([across, Z2], axis=-2), tf.concat([eye, tf.zeros_like(eye)], axis=-2)
    )
    corner, tail = joint[..., :n, :n], joint[..., n:, :n]
    # With C = U Uᵀ and J = Z Zᵀ: W tailᵀ = C1 J2 (I + C1 J2)⁻¹ and W Wᵀ = (I + C1 J2)⁻¹ C1.
    W = _t(tf.linalg.triangular_solve(corner, _t(U1)))
    return (
        A2 @ (A1 - W @ (_t(tail) @ A1)),
        _triangle(A2 @ W, U2),
        _triangle(_t(A1) @ joint[..., n:, n:], Z1),
    )


def _join_covariances(first, second):
    (F1, P1), (F2, P2) = first, second
    return F2 @ F1, _congruence(F2, P1) + P2


def _join_means(first, second):
    (F1, x1), (F2, x2) = first, second
    return F2 @ F1, _mv(F2, x1) + x2


def _join_moments(first, second):
    (F1, x1, P1), (F2, x2, P2) = first, second
    return F2 @ F1, _mv(F2, x1) + x2, _congruence(F2, P1) + P2


def _scan(join, elements):
    """All prefix products along the time axis of a tuple of ``[B, T, ...]`` tensors."""
    if elements[0].shape[1] is not None:
        return _scan_halves(join, elements)
    # Halves need the length; by doubling, the depth is the same at log T times the work.
    steps = tf.range(tf.shape(elements[0])[1])

    def double(distance, elements):
        source = tf.maximum(steps - distance, 0)
        earlier = tf.nest.map_structure(lambda x: tf.gather(x, source, axis=1), elements)
        joined = join(earlier, elements)

        def pick(new, old):
            reached = tf.reshape(steps >= distance, [1, -1] + [1] * (old.shape.rank - 2))
            return tf.ensure_shape(tf.where(reached, new, old), old.shape)

        return 2 * distance, tf.nest.map_structure(pick, joined, elements)

    _, elements = tf.while_loop(
        lambda distance, _: distance < tf.size(steps), double, (tf.constant(1), elements)
    )
    return elements


def _scan_halves(join, elements):
    """``_scan`` where the number T of steps is known: the scan of pairs of neighbours gives half.

    Ladner and Fischer (1980), "Parallel prefix computation": depth 2 log T, fewer than 2 T joins.
    """
    T = elements[0].shape[1]
    if T == 1:
        return elements
    pairs = join(tuple(x[:, 0 : T - 1 : 2] for x in elements), tuple(x[:, 1::2] for x in elements))
    odd = _scan_halves(join, pairs)
    even = tuple(x[:, :1] for x in elements)
    if T > 2:
        others = tuple(x[:, 2::2] for x in elements)
        others = join(tuple(x[:, : (T - 1) // 2] for x in odd), others)
        even = tuple(tf.concat(parts, axis=1) for parts in zip(even, others, strict=True))
    return tuple(_interleave(*parts) for parts in zip(even, odd, strict=True))


def _interleave(even, odd):
    """Steps 0, 2, … and steps 1, 3, … as one ``[B, T, ...]``."""
    half = odd.shape[1]
    both = tf.stack([even[:, :half], odd], axis=2)  # [B, T // 2, 2, ...]
    both = tf.reshape(both, [-1, 2 * half, *odd.shape[2:]])
    return both if half == even.shape[1] else tf.concat([both, even[:, half:]], axis=1)


def _triangle(*blocks):
    """A lower triangular L with L Lᵀ = M Mᵀ, for M of the blocks side by side."""
    return _t(tf.linalg.qr(_t(tf.concat(blocks, axis=-1))).r)


def _change(x):
    """Zeros with the derivative of x."""
    return x - tf.stop_gradient(x)


def _masked_emission(model, observed):
    emission = model.emission * observed[..., tf.newaxis]
    noise = tf.where(observed > 0, model.emission_noise, tf.ones_like(model.emission_noise))
    return emission, noise


def _shift(x):
    """The values of the step before, zero at the first step."""
    return tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], axis=1)


def _congruence(a, p=None):
    """a p aᵀ for a symmetric p (None: the identity), symmetric to the bit."""
    product = tf.matmul(a if p is None else a @ p, a, transpose_b=True)
    return 0.5 * (product + _t(product))


def _mv(a, x):
    return tf.linalg.matvec(a, x)


def _t(a):
    return tf.linalg.matrix_transpose(a)


def _eye_like(a):
    return tf.eye(a.shape[-1], dtype=a.dtype)
