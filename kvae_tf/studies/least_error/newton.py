r"""Where cannonballs are, for one who knows the law and is told where each ball is drawn.

What no model can do better, apart from chance: the exact smoother of the true state-space model,
read at the noisy position of each ball, with who is who known. Only the start is estimated: a
mixture of two Gaussians, of the training balls that are shot from the left and from the right.

======  =================  ============================================
letter  name               shape
======  =================  ============================================
a       ``drawn``          ``[L, T, 2]``, pixels, where balls are drawn
h       states             ``[L, T, 4]``, pixels and pixels a frame
======  =================  ============================================

L is the number of balls of all sequences.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from kvae_tf import lgssm
from kvae_tf.data import WORLDS, SequenceData
from kvae_tf.data.worlds import cannonballs
from kvae_tf.evaluation.continuations import FIRST, LAST, RADIUS
from kvae_tf.evaluation.objects import mean_distances, true_positions
from kvae_tf.evaluation.pixels import incorrect_pixels
from kvae_tf.evaluation.tracks import track_errors

_DATA_SEED = 0  # that of the configs
_TINY = 1e-9  # variance of a motion without noise


def measure(world: str, num_sequences: int = 1000, seed: int = 0) -> dict[str, object]:
    """Errors on the first test sequences of a world of cannonballs.

    Args:
      world: "cannonballs" or "cannonballs_small".
      num_sequences: number N of test sequences, 1,000 by default.
      seed: of the noise of the drawn positions, 0 by default.

    Returns:
      ``sequences``, ``seed``; ``position_r2/<count>`` and ``position_rmse/<count>`` (pixels) of
      smoothed positions, by the number of balls; and for "generation" and "interpolation"
      ``frames``, ``incorrect_pixels`` and ``position_error`` of discs drawn where balls are
      expected, as of ``evaluation.continuations``, and ``expected_error``, the mean distance of
      these places themselves.
    """
    splits = WORLDS[world].splits(_DATA_SEED, num_sequences=(2000, 1, num_sequences))
    test, T = splits.test, splits.test.num_steps
    size, truth, counts = test.frame_shape[0], true_positions(test), test.num_objects
    scale, _ = cannonballs.pixels(T, size)
    noise = cannonballs.NOISE * np.square(scale)
    present = np.arange(truth.shape[2]) < counts[:, np.newaxis]
    rng = np.random.default_rng(seed)
    drawn = truth + np.sqrt(noise) * rng.normal(size=truth.shape)
    models = _models(splits.train, noise, cannonballs.GRAVITY * cannonballs.STEP**2 * scale[1])

    def expected(mask, smooth):
        """Positions ``[N, T, balls, 2]`` given the frames of a mask ``[T]``."""
        paths = np.swapaxes(drawn, 1, 2)[present]
        found = np.zeros((*present.shape, T, 2))
        found[present] = _expected(models, paths, np.tile(mask, (len(paths), 1)), smooth)
        return np.swapaxes(found, 1, 2)

    steps = np.arange(T)
    results = {"sequences": num_sequences, "seed": seed}
    smoothed = expected(np.ones(T), True)
    for count in np.unique(counts).tolist():
        here = counts == count
        error, true = (x[here, :, :count] for x in (smoothed - truth, truth))
        shares = np.square(error).mean((0, 1, 2)) / true.var((0, 1, 2))
        results[f"position_r2/{count}"] = round(float(1.0 - shares.mean()), 5)
        results[f"position_rmse/{count}"] = round(
            float(np.sqrt(np.square(error).sum(-1).mean())), 4
        )
    for name, hidden, smooth in (
        ("generation", steps >= FIRST, False),
        ("interpolation", (steps >= FIRST) & (steps < T - LAST), True),
    ):
        places = expected(1.0 - hidden, smooth)[:, hidden]
        inside = np.clip(places, RADIUS, size - 1 - RADIUS)
        guess = cannonballs.draw(inside, present[:, np.newaxis], size)
        wrong = incorrect_pixels(guess[..., np.newaxis], test.unit_frames[:, hidden])
        before = truth[:, FIRST - 2 : FIRST]
        distances = track_errors(guess.astype(float), truth[:, hidden], before, counts, RADIUS)
        expected_distances = mean_distances(places, truth[:, hidden], counts)
        results[name] = {
            "frames": np.flatnonzero(hidden).tolist(),
            "incorrect_pixels": wrong.mean(0).round(6).tolist(),
            "position_error": distances.mean(0).round(4).tolist(),
            "expected_error": expected_distances.mean(0).round(4).tolist(),
        }
    return results


def _models(train: SequenceData, noise, fall):
    """The state-space models of balls from either side, and the log weights of the sides."""
    states = train.states.reshape(len(train), train.num_steps, -1, 4)[:, 0]
    there = np.arange(states.shape[1]) < train.num_objects[:, np.newaxis]
    starts = states[there].astype(np.float64)
    sides = [starts[starts[:, 2] > 0], starts[starts[:, 2] < 0]]
    models = [
        lgssm.LGSSM(
            transition=np.eye(4) + np.eye(4, k=2),
            transition_offset=np.array([0.0, -fall / 2.0, 0.0, -fall]),
            transition_noise=np.full(4, _TINY),
            emission=np.eye(2, 4),
            emission_noise=noise,
            initial_mean=side.mean(axis=0),
            initial_covariance=np.cov(side.T),
        )
        for side in sides
    ]
    return models, np.log([len(side) / len(starts) for side in sides])


def _expected(models, paths, mask, smooth):
    """E[position] of each path ``[L, T, 2]``, averaged over the sides by their probabilities."""
    models, log_weights = models
    infer = lgssm.smooth if smooth else lgssm.filter
    results = [infer(model, paths, mask) for model in models]
    evidence = np.stack([result.log_likelihood.numpy() for result in results], axis=-1)
    weights = special.softmax(log_weights + evidence, axis=-1)  # [L, sides]
    name = "smoothed_means" if smooth else "filtered_means"
    means = np.stack([getattr(result, name).numpy()[..., :2] for result in results], axis=-1)
    return np.einsum("ltis,ls->lti", means, weights)
