r"""The filter of a KVAE over sequences with missing frames, jointly with the mode weights.

Where frame t is missing there is no a_t, but alpha_{t+1} needs one: the mean of its prediction,
C_t x_{t|t-1}, takes its place (Fraccaro et al. 2017, equations 11 and 12). The filter and the
dynamics parameter network then depend on each other and run in one loop:

    predict a_t -> take a_t or its prediction -> update where seen -> alpha_{t+1} -> predict z_{t+1}

The loop is the Kalman filter of ``lgssm.steps``, in float64 as all of ``lgssm``; the networks keep
their dtype. After it all matrices are known, and ``lgssm`` can smooth, draw and forecast.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kvae_tf.layers.dynamics_network import DynamicsParameterNetwork, Parameters
from kvae_tf.layers.mode_mixture import ModeMixture
from kvae_tf.lgssm import steps
from kvae_tf.lgssm.sequential import scan
from kvae_tf.lgssm.steps import batch_first, batch_last, cast, psd_factor


class JointFilterResult(NamedTuple):
    """Encodings without gaps, and the parameters and states that follow from them.

    Attributes:
      encodings: ``[B, T, m]``; where it is missing, the mean of its prediction.
      parameters: mode weights and learned controls of all T + 1 steps.
      filtered_means: ``[B, T, n]``, E[z_t | a_{1:t}].
      step_log_likelihoods: ``[B, T]``, log p(a_t | a_{1:t-1}), nats; 0 where nothing was seen.
    """

    encodings: tf.Tensor
    parameters: Parameters
    filtered_means: tf.Tensor
    step_log_likelihoods: tf.Tensor


class FilterState(NamedTuple):
    """The filter's state before frame t, given all earlier frames.

    Attributes:
      mean: ``[B, n]``, predicted mean of z_t.
      covariance: ``[B, n, n]``, predicted covariance of z_t.
      mode_weights: ``[B, K]``, alpha_t.
      network: state of the dynamics parameter network, a tuple of ``[B, ·]``.
    """

    mean: tf.Tensor
    covariance: tf.Tensor
    mode_weights: tf.Tensor
    network: tuple[tf.Tensor, ...]


class FilterStep(NamedTuple):
    """Result of filtering one frame.

    Attributes:
      encoding: ``[B, m]``; where the frame is missing, the mean of its prediction.
      mean: ``[B, n]``, filtered mean of z_t.
      covariance: ``[B, n, n]``, filtered covariance of z_t.
      emission: ``[B, m, n]``, C_t.
      log_likelihood: ``[B]``, log p(a_t | a_{1:t-1}), nats; 0 where the frame is missing.
    """

    encoding: tf.Tensor
    mean: tf.Tensor
    covariance: tf.Tensor
    emission: tf.Tensor
    log_likelihood: tf.Tensor


def joint_filter(
    network: DynamicsParameterNetwork,
    mixture: ModeMixture,
    encodings: tf.Tensor,
    observed: tf.Tensor,
    controls: tf.Tensor,
    variances: tf.Tensor | None = None,
    draws: tf.Tensor | None = None,
    intervals: tf.Tensor | None = None,
) -> JointFilterResult:
    """Filters a batch of sequences and computes the mode weights in the same loop.

    Args:
      network: the dynamics parameter network.
      mixture: the modes.
      encodings: ``[B, T, m]``; any finite value where the frame is missing.
      observed: ``[B, T]``, or ``[B, T, m]`` where single entries may be missing; 1 = seen.
      controls: ``[B, T, U]``, without the learned controls.
      variances: ``[B, T, m]``, of errors with which the encodings are read, beside the emission
        noise; None: 0 (default).
      draws: ``[B, T, n]``, standard normal; for a network that reads latents: the weights are those
        of a latent state that is drawn with them, not of its filtered mean; its gradient is
        that of the mean. None: of the mean (default).
      intervals: ``[B, T]``, time from each step to the next, for modes in continuous time; None
        (default) for others.

    Returns:
      A ``JointFilterResult``.
    """
    batch = encodings.shape[0]
    n, m = mixture.settings["latent_size"], mixture.settings["encoding_size"]
    first, start = first_carry(network, mixture, tf.shape(encodings)[0])
    step = _stepper(network, mixture)

    def body(carry, inputs):
        carry, encoding, later, filtered, _ = step(
            carry, *inputs[:4], **dict(zip(more, inputs[4:], strict=True))
        )
        likelihood = log_likelihood(filtered, inputs[1])
        moments = cast((filtered.mean, likelihood), encoding.dtype)
        return carry, (encoding, *later, *moments)

    variances = tf.zeros_like(encodings) if variances is None else variances
    inputs = (
        tf.transpose(encodings, [1, 0, 2]),
        tf.transpose(observed, [1, 0, 2][: len(observed.shape)]),
        tf.transpose(controls, [1, 0, 2]),
        tf.transpose(variances, [1, 0, 2]),
    )
    more = {"draw": draws, "interval": intervals}
    more = {name: x for name, x in more.items() if x is not None}
    inputs += tuple(tf.transpose(x, [1, 0, 2][: len(x.shape)]) for x in more.values())
    shapes = [[batch, m], *([batch, x.shape[-1]] for x in first), [n, batch], [batch]]
    _, (filled, *later, means, likelihoods) = scan(
        body, start, inputs, shapes, dtype=encodings.dtype
    )
    parameters = first.followed_by(Parameters(*(tf.transpose(x, [1, 0, 2]) for x in later)))
    return JointFilterResult(
        tf.transpose(filled, [1, 0, 2]), parameters, batch_first(means), tf.transpose(likelihoods)
    )


def filter_start(network, mixture, batch_size) -> FilterState:
    """The filter's state before the first frame.

    Args:
      network: the dynamics parameter network.
      mixture: the modes.
      batch_size: B.
    """
    _, (mean, covariance, weights, *state) = first_carry(network, mixture, batch_size)
    mean, covariance = cast((mean, covariance), mixture.initial_mean.dtype)
    return FilterState(batch_first(mean), batch_first(covariance), weights, tuple(state))


def filter_step(
    network: DynamicsParameterNetwork,
    mixture: ModeMixture,
    state: FilterState,
    encoding: tf.Tensor,
    seen: tf.Tensor,
    control: tf.Tensor,
    variance: tf.Tensor | None = None,
) -> tuple[FilterState, FilterStep]:
    """One step of ``joint_filter``, to filter frame by frame.

    Args:
      network: the dynamics parameter network.
      mixture: the modes.
      state: the filter's state before this frame.
      encoding: ``[B, m]``; any finite value where the frame is missing.
      seen: ``[B]`` or ``[B, m]``, 1 = seen.
      control: ``[B, U]``, acts from this frame to the next.
      variance: ``[B, m]``, of the error with which the encoding is read; None: 0 (default).

    Returns:
      The state before the next frame, and the ``FilterStep`` of this frame.
    """
    mean, covariance, weights, inner = state
    moments = cast((batch_last(mean), batch_last(covariance)), tf.float64)
    carry = (*moments, weights, *inner)
    variance = tf.zeros_like(encoding) if variance is None else variance
    carry, encoding, _, filtered, emission = _stepper(network, mixture)(
        carry, encoding, seen, control, variance
    )
    mean, covariance, weights, *inner = carry
    dtype = state.mean.dtype
    mean, covariance = cast((mean, covariance), dtype)
    likelihood = log_likelihood(filtered, seen)
    moments = cast((filtered.mean, filtered.covariance, emission, likelihood), dtype)
    result = FilterStep(encoding, *map(batch_first, moments))
    return FilterState(batch_first(mean), batch_first(covariance), weights, tuple(inner)), result


def rollout(
    network: DynamicsParameterNetwork,
    mixture: ModeMixture,
    state: FilterState,
    controls: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Means of the K steps after a frame, under each of N candidate sequences of controls.

    They are those of ``filter_step`` over missing frames, without the covariances: the controls
    move the means only, and the mode weights follow these.

    Args:
      network: the dynamics parameter network.
      mixture: the modes.
      state: the filter's state after ``filter_step`` of the frame, with controls of 0.
      controls: ``[B, N, K, U]``; ``controls[:, :, 0]`` acts from the frame to the next.

    Returns:
      Encodings ``[B, N, K, m]`` and latents ``[B, N, K, n]``.
    """
    B, N, K, U = *tf.unstack(tf.shape(controls)[:3]), controls.shape[3]
    n, m = mixture.settings["latent_size"], mixture.settings["encoding_size"]

    def each(x):
        return tf.repeat(x, N, axis=0)

    steps_first = tf.transpose(tf.reshape(controls, [B * N, K, U]), [1, 0, 2])
    weights = each(state.mode_weights)
    control = mixture.mix(mixture.control[..., :U], weights)
    mean = each(state.mean) + tf.linalg.matvec(control, steps_first[0])

    def step(carry, inputs):
        mean, weights, *inner = carry
        encoding = tf.linalg.matvec(mixture.mix(mixture.emission, weights), mean)
        reached = (encoding, mean)
        read = mean if network.reads_latents else encoding
        (weights, learned), inner = network.step(read, tuple(inner))
        mean = tf.linalg.matvec(mixture.mix(mixture.transition, weights), mean)
        if mixture.has_offset:
            mean += mixture.offset(weights, tf.concat([inputs[0], learned], axis=1))
        return (mean, weights, *inner), reached

    # The last step's control leads beyond the K steps.
    later = tf.concat([steps_first[1:], steps_first[:1]], axis=0)
    start = (mean, weights, *map(each, state.network))
    _, reached = scan(step, start, (later,), [[None, m], [None, n]])
    return tuple(tf.reshape(tf.transpose(x, [1, 0, 2]), [B, N, K, x.shape[-1]]) for x in reached)


def first_carry(network, mixture, batch_size):
    """The first step's ``Parameters``; and the first carry: moments batch-last, network state."""
    first, state = network.start(batch_size)
    mean, covariance = _double((mixture.initial_mean, mixture.initial_covariance))
    return first, (
        tf.repeat(mean[:, tf.newaxis], batch_size, axis=1),
        tf.repeat(covariance[:, :, tf.newaxis], batch_size, axis=2),
        first.mode_weights,
        *state,
    )


def _stepper(network, mixture):
    """The loop's body: returns carry, encoding, next ``Parameters``, update and emission."""
    see, move = updating(network, mixture), moving(network, mixture)

    def step(carry, encoding, seen, control, variance, draw=None, interval=None):
        mean, covariance, weights, *state = carry
        result, encoding, read, emission = see(
            mean, covariance, weights, encoding, seen, variance, draw
        )
        carry, later = move(result.mean, result.covariance, state, read, control, interval)
        return carry, encoding, later, result, emission

    return step


def updating(network, mixture):
    """The half of a step that sees a frame, moments batch-last in float64.

    It is a function of the predicted moments, the mode weights, encoding ``[B, m]``, mask,
    variance of its error, and a draw or None. It returns the update, the encoding (where it is
    missing its prediction), what the network reads of it, and the emission.
    """
    m = mixture.settings["encoding_size"]
    r = _double(mixture.emission_noise[:, tf.newaxis])

    def see(mean, covariance, weights, encoding, seen, variance, draw=None):
        emission = _double(batch_last(mixture.mix(mixture.emission, weights)))
        predicted = tf.cast(tf.transpose(steps.matvec(emission, mean)), encoding.dtype)
        mask = seen if len(seen.shape) == 2 else tf.repeat(seen[:, tf.newaxis], m, axis=1)
        encoding = tf.where(mask > 0, encoding, predicted)
        observation, mask = _double((tf.transpose(encoding), tf.transpose(mask)))
        noise = r + _double(tf.transpose(variance))
        result = steps.update(mean, covariance, observation, mask, emission, noise)
        read = encoding
        if network.reads_latents:
            read = tf.cast(tf.transpose(result.mean), encoding.dtype)
            if draw is not None:
                # Gradients of a factor are large where a variance is small.
                factor = tf.stop_gradient(psd_factor(batch_first(result.covariance)))
                read += tf.cast(tf.linalg.matvec(factor, _double(draw)), encoding.dtype)
        return result, encoding, read, emission

    return see


def moving(network, mixture):
    """The half of a step that moves on, moments batch-last in float64.

    It is a function of the filtered moments, the network's state, what it reads of the frame, the
    control and the interval, None in discrete time. It returns the loop's carry and the
    ``Parameters`` of the next step.
    """
    has_offset, mode_noise = mixture.has_offset, mixture.settings["mode_noise"]
    same_q = None if mode_noise else _double(mixture.transition_noise[:, tf.newaxis])

    def move(mean, covariance, state, read, control, interval=None):
        later, state = network.step(read, tuple(state), interval)
        weights, learned = later
        if mixture.is_continuous:
            moved = mixture.step(weights, tf.concat([control, learned], axis=1), interval)
            mean = steps.matvec(moved.transition, mean) + moved.offset
            covariance = steps.congruence(moved.transition, covariance) + moved.noise
            return (mean, covariance, weights, *state), later
        transition = _double(batch_last(mixture.mix(mixture.transition, weights)))
        if has_offset:
            control = tf.concat([control, learned], axis=1)
            offset = _double(tf.transpose(mixture.offset(weights, control)))
        else:
            offset = tf.zeros_like(mean)
        q = _double(tf.transpose(mixture.noise(weights))) if mode_noise else same_q
        mean, covariance = steps.predict(mean, covariance, transition, offset, q)
        return (mean, covariance, weights, *state), later

    return move


def log_likelihood(filtered, seen):
    """log p(a_t | a_{1:t-1}) ``[B]`` of an update, nats, in float64."""
    mask = tf.transpose(seen) if len(seen.shape) == 2 else seen[tf.newaxis]
    return steps.log_likelihoods(filtered.innovations, filtered.variances, _double(mask))


def _double(tensors):
    return cast(tensors, tf.float64)
