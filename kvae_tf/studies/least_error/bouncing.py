"""The least errors of a world at the points of figures 3a and 3b of Fraccaro et al. (2017)."""

from __future__ import annotations

import numpy as np

from kvae_tf.data import number_checks
from kvae_tf.data.worlds import bouncing_ball, box_motion
from kvae_tf.evaluation import GAPS, RATES, incorrect_pixels
from kvae_tf.evaluation.curves import FIRST_SEEN, gap_masks, missing_at_random_masks
from kvae_tf.evaluation.tally import Tally, columns
from kvae_tf.studies.least_error import known_modes, starts
from kvae_tf.studies.least_error.bayes import Guesser

NUM_STEPS = 20
DATA_SEED = 0  # that of the configs
ENOUGH = 200  # draws given all frames, along each axis
MOST_BATCHES = 200
_POINTS = {
    "missing_at_random": (RATES, missing_at_random_masks),
    "gap": (GAPS, gap_masks),
}
_MEASURE = "incorrect_pixels"


def measure(world: str, num_sequences: int = 1000, seed: int = 0) -> dict[str, object]:
    """Errors of the first test sequences, with the masks that models are evaluated with.

    Args:
      world: "box" or "gravity".
      num_sequences: number N of test sequences, the whole test part of 1,000 by default.
      seed: of the draws, 0 by default; sequences and masks do not depend on it.

    Returns:
      ``sequences``, ``seed`` and, for "missing_at_random" and "gap", ``x`` (rates, or lengths of
      gaps) and the fractions of incorrect pixels of hidden frames, one for each x, by reference
      ("least", "known_modes") and by method: ``smooth``, ``filter``, and ``…_se``, their standard
      errors between sequences. ``few_draws`` is the number of sequences with fewer draws given all
      frames than 200 along an axis.

    Raises:
      UserError: the closed form does not hold in that world, or a number is out of its range.
    """
    number_checks.integer("num_sequences", num_sequences)
    number_checks.integer("seed", seed, minimum=0)
    box_motion.scene(world)
    data = bouncing_ball.splits(world, DATA_SEED, (1, 1, num_sequences), NUM_STEPS).test
    pixels = starts.ball_pixels(data.frames)
    masks, rows = [], {group: [] for group in _POINTS}
    for group, (amounts, masks_of) in _POINTS.items():
        for amount in amounts:
            several = masks_of(num_sequences, NUM_STEPS, amount)
            rows[group].append(slice(len(masks), len(masks) + len(several)))
            masks += several
    masks = np.stack(masks)  # [M, N, T]
    least, few = _least(world, pixels, masks, seed)
    errors = {"least": least, "known_modes": _known_modes(world, data, pixels, masks)}
    found = {"sequences": num_sequences, "seed": seed, "few_draws": few}
    for group, (amounts, _) in _POINTS.items():
        found[group] = {"x": list(amounts)} | {
            reference: _means(by_method, 1.0 - masks, rows[group])
            for reference, by_method in errors.items()
        }
    return found


def _means(by_method, hidden, rows):
    """Method -> means over hidden frames, one for each slice of masks, and standard errors."""
    tallies = []
    for several in rows:
        tallies.append(Tally(hidden.shape[1]))
        for m in range(several.start, several.stop):
            measures = {method: {_MEASURE: errors[m]} for method, errors in by_method.items()}
            tallies[-1].add(slice(0, hidden.shape[1]), hidden[m], measures)
    means, errors = columns(tallies)
    return {
        method + ending: [round(value, 6) for value in values[method][_MEASURE]]
        for method in means
        for ending, values in (("", means), ("_se", errors))
    }


def _least(world, pixels, masks, seed):
    """Method -> errors ``[M, N, T]`` of the best guess; and how many sequences have few draws."""
    errors = {method: np.zeros(masks.shape) for method in ("smooth", "filter")}
    few = 0
    for n, path in enumerate(pixels):
        rng = np.random.default_rng([seed, n])
        guesser = Guesser(world, path, FIRST_SEEN, ENOUGH, MOST_BATCHES, rng)
        few += guesser.num_draws() < ENOUGH
        for m, mask in enumerate(masks[:, n] > 0):
            hidden = np.flatnonzero(~mask)
            if not len(hidden):
                continue
            errors["smooth"][m, n, hidden] = guesser.errors(mask, hidden)
            for wanted in np.split(hidden, np.flatnonzero(np.diff(hidden) > 1) + 1):
                before = mask & (np.arange(len(mask)) < wanted[0])
                errors["filter"][m, n, wanted] = guesser.errors(before, wanted)
    return errors, few


def _known_modes(world, data, pixels, masks):
    """Method -> errors ``[M, N, T]`` of a ball drawn where the linear model expects it."""
    ssm = known_modes.model(world, data.states)
    errors = {}
    for mask in masks:
        for method, positions in known_modes.positions(ssm, pixels, mask).items():
            guess = bouncing_ball.draw_ball(positions)[..., np.newaxis]
            errors.setdefault(method, []).append(incorrect_pixels(guess, data.frames / 255.0))
    return errors
