r"""The filter and the smoother over blocks of steps side by side: depth √T instead of T.

``blocks`` gives the state at which each block starts; from there on, a block is filtered as in
``sequential``, all blocks as one batch. So every step is visited twice, by small closed forms, and
nothing is factorised or joined at every step. Backward recursions go the same way.

Forward, covariances are carried as square roots (``roots``), which lose half as many digits: a
wide start, precise observations and no process noise are fine. Roots have no derivative where a
covariance is singular. So moments are differentiated as those of the filter with Joseph's form, by
this: let F and w be the block's closed-loop map and the pull of what it saw, so that a change of
the moments x, P at its start changes those of the next start by

    dx' = F (dx + dP w),    dP' = F dP Fᵀ.

The adjoint of this goes back over the blocks and gives the upstream of each block's last moments,
of which the block is an ordinary function. Results are differentiable once. All is float64, out of
TensorFloat-32's reach. The joining of blocks follows Yaghoobi, Corenflos, Hassan and Särkkä (2022),
"Parallel square-root statistical linear regression for inference in nonlinear state space models".
"""

from __future__ import annotations

import tensorflow as tf

from kvae_tf.lgssm import blocks as blockwise
from kvae_tf.lgssm import gradient, roots, sequential, steps
from kvae_tf.lgssm.blocks import Blocks
from kvae_tf.lgssm.sequential import BatchLastLGSSM, FilterPass, SmootherPass


def filter(ssm: BatchLastLGSSM) -> FilterPass:
    """The Kalman filter over blocks.

    Args:
      ssm: the model and its observations, float64.

    Returns:
      A ``FilterPass``.
    """
    blocks = Blocks.of(steps.length(ssm.observations, 0))
    result = _filter_blocks(blocks, blocks.split_model(ssm))
    return FilterPass(*map(blocks.merge, result))


def smooth(ssm: BatchLastLGSSM) -> tuple[FilterPass, SmootherPass]:
    """The filter and the Rauch-Tung-Striebel smoother over blocks.

    Args:
      ssm: the model and its observations, float64.

    Returns:
      A ``FilterPass`` and a ``SmootherPass``.
    """
    blocks = Blocks.of(steps.length(ssm.observations, 0))
    ssm = blocks.split_model(ssm)
    result = _filter_blocks(blocks, ssm)
    A, q, P = ssm.transition, ssm.transition_noise, result.covariances
    # The last step has A = 0, hence G = 0 and L = P: its smoothed moments are the filtered ones.
    gain, _ = sequential.smoother_gains(P, A, q)
    residual = sequential.joseph_residual(gain, P, A, q)
    successor = steps.matvec(A, result.means) + ssm.offset
    anchor = result.means - steps.matvec(gain, successor)
    means, covariances = blockwise.affine(blocks, gain, anchor, residual)
    first_of_next = tf.roll(blocks.apart(covariances[0]), -1, axis=0)
    following = tf.concat([covariances[1:], blocks.together(first_of_next)[tf.newaxis]], axis=0)
    cross = blocks.merge(steps.matmul(gain, following))[:-1]
    smoothed = SmootherPass(blocks.merge(means), blocks.merge(covariances), cross)
    return FilterPass(*map(blocks.merge, result)), smoothed


def log_likelihood(ssm: BatchLastLGSSM) -> tf.Tensor:
    """log p(y) with the analytic gradient of ``gradient``, whose recursion is affine.

    Args:
      ssm: the model and its observations, float64.

    Returns:
      ``[B]``, nats, differentiable once in every field of ``ssm`` but ``observed``.
    """
    blocks = Blocks.of(steps.length(ssm.observations, 0))

    @tf.custom_gradient
    def evaluate(*fields):
        ssm = blocks.split_model(BatchLastLGSSM(*fields))
        result = _forward(ssm, *_starts(blocks, ssm))
        terms = sequential.step_log_likelihoods(ssm, result)  # [L, K B]

        def differentiate(upstream):
            return _gradients(blocks, ssm, result, upstream)

        return tf.reduce_sum(blocks.apart(tf.reduce_sum(terms, axis=0)), axis=0), differentiate

    return evaluate(*ssm)


def _gradients(blocks, ssm, result, upstream):
    """Gradients of ``sum(upstream * log p(y))`` for every field of the unsplit model."""
    ends = blockwise.ends_of(blocks, *gradient.adjoint_from_zero(ssm, result))
    adjoint = gradient.adjoint(ssm, result, ends)
    ssm = _from(ssm, result.predicted_means[0], result.predicted_covariances[0])
    found = gradient.gradients_of(ssm, result, adjoint, ends, blocks.tile(upstream))
    fields = {
        name: x if x is None else (blocks.apart(x)[0] if name.startswith("initial") else x)
        for name, x in found._asdict().items()
    }
    for name in BatchLastLGSSM._fields[:5]:
        fields[name] = blocks.merge(fields[name])
    fields["observations"] = blocks.merge(fields["observations"])
    return BatchLastLGSSM(**fields)


def _starts(blocks, ssm):
    """Where blocks start: a mean and a root, constant under a tape."""
    root = steps.psd_factor(steps.batch_first(ssm.initial_covariance))
    start = blockwise.starts(blocks, ssm, steps.batch_last(root))
    return tuple(map(tf.stop_gradient, start))


def _forward(ssm, mean, root):
    """A ``FilterPass`` of every block from where it starts."""
    m, n = ssm.emission.shape[1:3]
    batch = ssm.emission.shape[-1]

    def step(carry, inputs):
        mean, root = carry
        transition, offset, noise_root, emission, r, observation, observed = inputs
        seen = roots.update(mean, root, observation, observed, emission, r)
        outputs = (seen.mean, seen.covariance, mean, root, *seen[2:])
        return roots.predict(seen.mean, seen.covariance, transition, offset, noise_root), outputs

    vector, matrix, frame = [n, batch], [n, n, batch], [m, batch]
    inputs = (*ssm[:2], tf.sqrt(ssm.transition_noise), *ssm[3:5], ssm.observations, ssm.observed)
    _, outputs = sequential.scan(
        step,
        (mean, root),
        inputs,
        [vector, matrix, vector, matrix, [m, n, batch], frame, frame],
    )
    result = FilterPass(*outputs)
    return result._replace(
        covariances=_square(result.covariances),
        predicted_covariances=_square(result.predicted_covariances),
    )


def _square(root):
    """The covariance of a root, symmetric to the bit."""
    return steps.symmetrise(steps.matmul_transposed(root, root))


def _filter_blocks(blocks, ssm):
    """A ``FilterPass`` of every block, differentiable."""

    @tf.custom_gradient
    def evaluate(*fields):
        ssm = BatchLastLGSSM(*fields)
        mean, root = _starts(blocks, ssm)
        result = _forward(ssm, mean, root)

        def differentiate(*upstream):
            with tf.GradientTape() as tape:
                tape.watch(fields)
                again = _linked(blocks, ssm, mean, _square(root), result)
            return tape.gradient(
                again, fields, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )

        return tuple(result), differentiate

    return FilterPass(*evaluate(*ssm))


def _linked(blocks, ssm, mean, covariance, result):
    """``result`` again, as a function that can be differentiated (see the module's equations)."""
    first = sequential.forward(_from(ssm, mean, covariance), stabilised=True)
    ends = steps.predict(
        first.means[-1],
        first.covariances[-1],
        ssm.transition[-1],
        ssm.offset[-1],
        ssm.transition_noise[-1],
    )
    held = tf.nest.map_structure(tf.stop_gradient, (ssm, result))
    back, pull, _ = map(blocks.apart, gradient.adjoint_from_zero(*held))  # Fᵀ and w

    @tf.custom_gradient
    def link(*_):
        def differentiate(*upstream):
            upstream = tuple(map(blocks.apart, upstream))

            def step(carry, inputs):
                x, P = carry
                back, pull, own_x, own_P = inputs
                x = steps.matvec(back, x)
                P = steps.congruence(back, P) + steps.symmetrise(steps.outer(x, pull) + own_P)
                return (x + own_x, P), (x + own_x, P)

            start = tuple(tf.zeros_like(x[0]) for x in upstream)
            shapes = [x.shape for x in start]
            _, adjoint = sequential.scan(step, start, (back, pull, *upstream), shapes, reverse=True)
            behind = (tf.concat([x[1:], tf.zeros_like(x[:1])], axis=0) for x in adjoint)
            return [*map(blocks.together, behind), *(x[0] for x in adjoint)]

        return (mean, covariance), differentiate

    start = link(*ends, ssm.initial_mean, ssm.initial_covariance)
    return tuple(sequential.forward(_from(ssm, *start), stabilised=True))


def _from(ssm, mean, covariance):
    return ssm._replace(initial_mean=mean, initial_covariance=covariance)
