"""Intervals of hidden frames that hold as often as they say, by a factor of the emission noise.

The likelihood of seen frames does not ask how well hidden ones are known: a model may maximise it
and be too sure of them. So after the last epoch frames of validation sequences are hidden, and the
emission noise is scaled until the central 90 % intervals of their encodings hold 90 % on average: a
recalibration by one parameter, like the temperature of Guo et al. (2017). It matches coverage, no
log density and no mean square, which a few gross errors decide.

One factor for all cannot make each method right. A model with ``imputation_factors`` has then one
more for each, of the standard deviations of hidden encodings.
"""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from kvae_tf import data, evaluation
from kvae_tf.errors import UserError
from kvae_tf.evaluation.curves import FIRST_SEEN
from kvae_tf.models.base import SequenceModel

_LEVEL = 0.9
_SEQUENCES = 500
_RATE = 0.5  # of frames hidden at random
_MOST = 8.0  # the largest factor; the smallest is its inverse
_PRECISION = 0.01  # of the factor's logarithm


def check(validation: data.SequenceData, seed: int) -> None:
    """Raises a ``UserError`` where no frame can be hidden.

    Args:
      validation: validation sequences.
      seed: seed of the training, an int.
    """
    part = validation.select(slice(0, _SEQUENCES))
    if not all((part.observed > mask).any() for mask in _masks(part, seed)):
        raise UserError(
            f"--calibrate is set, but the validation sequences have {validation.num_steps} frames, "
            f"of which none can be hidden: expected frames after the first {FIRST_SEEN}"
        )


def calibrate(
    model: SequenceModel, validation: data.SequenceData, seed: int
) -> tuple[float, dict[str, float]]:
    """Scales the emission noise until intervals of hidden frames hold as often as they say.

    The frames of up to 500 validation sequences are hidden at random, at a rate of one half, and in
    a second round in a row, in the middle. What counts is the mean of the coverages over both
    rounds and all methods of imputation; for the factor of a method it is the mean of its own.

    Args:
      model: a model that can ``impute`` and has ``log_emission_noise``, a variable with the
        logarithm of the variances, and ``imputation_factors``, a variable or None; it is changed.
      validation: validation sequences. The model knows its training sequences better than others.
      seed: seed of the training, for the masks and the draws, an int.

    Returns:
      The factor of the variances, between 1/8 and 8; 1, with a warning, where none of these makes
      the intervals right. And method of imputation -> factor of its standard deviations; empty
      where the model has none.

    Raises:
      UserError: no frame can be hidden.
    """
    check(validation, seed)
    part = validation.select(slice(0, _SEQUENCES))
    masks = _masks(part, seed)
    noise, factors = model.log_emission_noise, model.imputation_factors
    start = noise.numpy()
    if factors is not None:  # those of a model that the training started from
        factors.assign(np.ones(factors.shape, np.float32))

    @functools.cache
    def coverage(log_factor):
        noise.assign(start + np.float32(log_factor))
        found = [evaluation.coverage(model, part, mask, (_LEVEL,), seed) for mask in masks]
        return float(np.mean([list(of_mask.values()) for of_mask in found]))

    before, most = coverage(0.0), math.log(_MOST)
    end = most if before < _LEVEL else -most
    chosen = 0.0
    if (coverage(end) - _LEVEL) * (before - _LEVEL) > 0:
        warnings.warn(
            f"no calibration: 90 % intervals of hidden frames hold {before:.1%}, and "
            f"{coverage(end):.1%} with emission noise times {math.exp(end):g}; it stays as it is",
            stacklevel=2,
        )
    else:
        chosen = brentq(lambda x: coverage(x) - _LEVEL, 0.0, end, xtol=_PRECISION)
        print(
            f"calibration: emission noise times {math.exp(chosen):.3f}, 90 % intervals of hidden "
            f"frames hold {coverage(chosen):.1%} ({before:.1%} before)"
        )
    noise.assign(start + np.float32(chosen))
    if factors is None:
        return math.exp(chosen), {}
    return math.exp(chosen), _scale_methods(model, part, masks, seed)


def _scale_methods(model, part, masks, seed):
    """Sets the factor of each method."""
    width = ndtri(0.5 + 0.5 * _LEVEL)
    rounds = [evaluation.deviations(model, part, mask, seed) for mask in masks]
    factors = {}
    for method in model.imputation_methods:
        errors = np.concatenate([found[method] for found in rounds])
        counts = np.concatenate(
            [np.full(len(x), 1.0 / len(x)) for x in (f[method] for f in rounds)]
        )
        order = np.argsort(errors)
        held = np.cumsum(counts[order]) / len(rounds)
        factor = errors[order][np.searchsorted(held, _LEVEL)] / width
        factors[method] = float(np.clip(factor, 1.0 / _MOST, _MOST))
    model.imputation_factors.assign(np.float32(list(factors.values())))
    shown = ", ".join(f"{factor:.3f} for {method}" for method, factor in factors.items())
    print(f"calibration: standard deviations of hidden encodings times {shown}")
    return factors


def _masks(part, seed):
    """Frames hidden at random, and in the middle, ``[N, T]`` each, 1 = seen."""
    shape = len(part), part.num_steps
    hidden = evaluation.middle_gap(part.num_steps)
    return data.missing_at_random(*shape, _RATE, FIRST_SEEN, seed), data.gap(*shape, *hidden)
