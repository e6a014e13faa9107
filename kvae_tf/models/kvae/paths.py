r"""Several paths of a KVAE whose modes are weighted by the latent state.

The modes follow the latent state, which is not known exactly. Along a path they are those of states
that are drawn, one a step, from the path's own filter; given its modes a path is linear and
Gaussian, and is filtered or smoothed exactly (a Rao-Blackwellised particle filter without
resampling; Doucet et al. 2000). The first path's modes are those of the filtered means.

With draws e, p(a | u) = E_e[p(a | u, e)]. The mean over S paths estimates it without bias; the
logarithm of that mean is a lower bound of log p(a | u) on average, the tighter the larger S (Burda
et al. 2016).

Here a batch of B sequences with S paths each is ``[B S, ...]``, the paths of a sequence in a row.
"""

from __future__ import annotations

import math

import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.layers import Encoding, JointFilterResult, joint_filter
from kvae_tf.models import inputs
from kvae_tf.models.contract import Frames
from kvae_tf.models.inputs import Inputs
from kvae_tf.models.kvae.dynamics import Steps
from kvae_tf.models.kvae.moments import completed

_SCALE = 0.5  # of the draws; chosen on validation


def log_prob(model, steps: Steps, paths: int, sampler: lgssm.Sampler) -> tf.Tensor:
    """A lower bound of log p(a | u), ``[B]``, nats.

    Args:
      model: the KVAE.
      steps: encodings, mask, controls and intervals of B sequences.
      paths: number S of paths.
      sampler: source of the draws.
    """
    a = steps.encodings
    steps = steps._replace(observed=inputs.mask(steps.observed, a))
    n = model.mixture.settings["latent_size"]
    noise = sampler.normal([tf.shape(a)[0], paths, tf.shape(a)[1], n])
    result = _filter(model, _each_step(steps, paths), noise)
    likelihoods = _apart(tf.reduce_sum(result.step_log_likelihoods, axis=1), paths)
    return tf.reduce_logsumexp(likelihoods, axis=1) - math.log(paths)


def impute(model, given: Inputs, method: str, paths: int) -> Frames:
    """The mean over paths, weighted by the likelihood of what was seen.

    Frames are those of the mean encoding, or with the model's ``decoded_paths`` the mean over the
    frames of so many paths: where paths part, a pixel then has the probability that it is lit.

    Args:
      model: the KVAE.
      given: frames, mask and controls of B sequences.
      method: ``"smooth"``: weighted by the likelihood of the whole sequence; ``"filter"``: of what
        was seen so far.
      paths: number S of paths.
    """
    q, seen = Encoding(*model.encoder(given.frames)), given.seen
    steps = model.steps(q.mean, seen, given.controls, given.times)
    num_steps, n = tf.shape(steps.encodings)[1], model.mixture.settings["latent_size"]
    # The same draws for all sequences, so that an answer does not depend on the batch.
    noise = tf.random.stateless_normal([1, paths, num_steps, n], [0, 1])
    noise = tf.repeat(noise, tf.shape(seen)[0], axis=0)
    known = Encoding(_each(q.mean, paths), _each(q.std, paths))
    steps = _each_step(steps, paths)
    filled, parameters, _, likelihoods = _filter(model, steps, noise)
    dynamics = model.state_space(parameters, steps._replace(encodings=filled))
    z = dynamics.moments(method)
    emission = dynamics.at_steps(dynamics.emission)
    noise = dynamics.model.emission_noise
    each_q = completed(known, _each(seen, paths), emission, noise, z)
    likelihoods = dynamics.at_steps(tf.cumsum(likelihoods, axis=1))
    likelihoods = _apart(likelihoods, paths)
    if method == "smooth":
        likelihoods = tf.zeros_like(likelihoods) + likelihoods[:, :, -1:]
    shares = tf.nn.softmax(likelihoods, axis=1)  # [B, S, T]

    def mean(x):
        return tf.reduce_sum(shares[..., tf.newaxis] * _apart(x, paths), axis=1)

    a = mean(each_q.mean)
    variance = mean(tf.square(each_q.std) + tf.square(each_q.mean)) - tf.square(a)
    # Where a frame was seen, all paths agree.
    a = tf.where(seen[..., tf.newaxis] > 0, q.mean, a)
    least = tf.square(tf.reduce_min(_apart(each_q.std, paths), axis=1))
    a, std = model.scaled(Encoding(a, tf.sqrt(tf.maximum(variance, least))), seen, method)
    modes = mean(dynamics.at_steps(dynamics.mode_weights))
    frames = model.likelihood.mean(model.decoder(a))
    if model.decoded_paths:
        frames = _with_means(model, frames, _apart(each_q.mean, paths), shares, seen)
    return Frames(frames, a, std, mean(z.means), modes)


def _with_means(model, frames, a, shares, seen):
    """``frames [B, T, H, W, C]`` with the mean over paths in place of those not seen."""
    rows = inputs.rows_of(1.0 - seen)
    shape = tf.shape(frames)

    def of_rows(x):
        """``[B, S, T, ...]`` -> ``[n, S, ...]``."""
        x = tf.transpose(x, [0, 2, 1, *range(3, len(x.shape))])
        return tf.gather(tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], axis=0)), rows)

    means = _mean_frames(model, of_rows(a), of_rows(shares))
    frames = tf.reshape(frames, tf.concat([[-1], shape[2:]], axis=0))
    return tf.reshape(tf.tensor_scatter_nd_update(frames, rows[:, tf.newaxis], means), shape)


def _mean_frames(model, a, shares):
    """The mean over the frames of paths, of which each is decoded as often as its share says.

    Args:
      model: the KVAE.
      a: ``[n, S, m]``, encodings of each path.
      shares: ``[n, S]``, they sum to 1 over the paths.

    Returns:
      ``[n, H, W, C]``.
    """
    a, shares = _by_widest(a, shares)
    number, total = model.decoded_paths, tf.cumsum(shares, axis=1)
    zero = tf.zeros([tf.shape(a)[0], *model.frame_shape])

    def add(frames, place):
        # Systematic resampling: the path in whose share the place lies (Kitagawa 1996).
        index = tf.reduce_sum(tf.cast(total < place, tf.int32), axis=1)  # [n]
        index = tf.minimum(index, tf.shape(a)[1] - 1)
        own = tf.gather(a, index, axis=1, batch_dims=1)
        return frames + model.likelihood.mean(model.decoder(own))

    places = (tf.range(number, dtype=tf.float32) + 0.5) / number
    return tf.foldl(add, places, zero) / number


def _by_widest(a, shares):
    """Paths in the order of the coordinate in which they differ most.

    Those that are decoded are then spread evenly over them: 16 are worth as much as 64 of paths in
    any order (a gap that is filtered, on validation sequences of ``box``).
    """
    weights = shares[..., tf.newaxis]
    mean = tf.reduce_sum(weights * a, axis=1, keepdims=True)
    spread = tf.reduce_sum(weights * tf.square(a - mean), axis=1)
    widest = tf.argmax(spread, axis=-1, output_type=tf.int32)[:, tf.newaxis]  # [n, 1]
    order = tf.argsort(tf.gather(a, widest, axis=2, batch_dims=1)[..., 0], axis=1)
    return tuple(tf.gather(x, order, axis=1, batch_dims=1) for x in (a, shares))


def _filter(model, steps: Steps, noise) -> JointFilterResult:
    """Filters B S sequences, with standard normal noise ``[B, S, T, n]``."""
    a, observed, controls, intervals, _ = steps
    first = tf.range(tf.shape(noise)[1]) == 0
    draws = tf.where(first[:, tf.newaxis, tf.newaxis], 0.0, _SCALE * noise)
    draws = tf.reshape(draws, tf.concat([tf.shape(a)[:2], [noise.shape[3]]], axis=0))
    return joint_filter(
        model.network, model.mixture, a, observed, controls, draws=draws, intervals=intervals
    )


def _each_step(steps, paths):
    return Steps(*(None if x is None else _each(x, paths) for x in steps))


def _each(x, paths):
    """``[B, ...]`` -> ``[B S, ...]``."""
    return tf.repeat(x, paths, axis=0)


def _apart(x, paths):
    """``[B S, ...]`` -> ``[B, S, ...]``."""
    return tf.reshape(x, tf.concat([[-1, paths], tf.shape(x)[1:]], axis=0))
