"""Entries of public tables are hidden and filled in again, by this package and by others.

Where a method has options, the best on other hidden entries is taken; these are hidden from all
methods alike. The package's model has none: it sees to its settings itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kvae_tf import data
from kvae_tf.apps.filling import public_tables, references
from kvae_tf.experiments.fill_in import fill_in

OURS = "kvae_tf"
_INTERVAL = 1.6449  # standard deviations on either side of 90 %


METHODS = ("interpolation", "UnobservedComponents", "DynamicFactorMQ", OURS)


def compare(name: str, seeds: Sequence[int], methods: Sequence[str] = METHODS) -> dict[str, object]:
    """Errors and coverage of methods on one table.

    Args:
      name: a table, out of ``public_tables.TABLES``.
      seeds: seeds of the hidden entries.
      methods: out of ``METHODS``, all by default.

    Returns:
      ``shape`` of the table, and pattern of hidden entries -> method -> ``rmse``, ``coverage`` (of
      90 % intervals; None for interpolation) and ``chosen`` (option), each a list of one value a
      seed. Errors are in standard deviations of the entries that are seen.

    Raises:
      UserError: a package is not installed.
    """
    table = public_tables.TABLES[name]()
    results = {"shape": list(table.shape)}
    for pattern, (kind, rate) in public_tables.PATTERNS.items():
        runs = [_once(table, kind, rate, seed, methods) for seed in seeds]
        results[pattern] = {
            method: {key: [run[method][key] for run in runs] for key in runs[0][method]}
            for method in runs[0]
        }
        for method, row in results[pattern].items():
            print(f"{name}, {pattern}, {method}: {np.mean(row['rmse']):.3f}", flush=True)
    return results


def _once(table, kind, rate, seed, names):
    """Method -> its numbers, for one pattern of hidden entries."""
    known = ~np.isnan(table)
    test = public_tables.hide(table, kind, rate, seed) & known
    validation = public_tables.hide(table, kind, rate / 2, seed + 1000) & known & ~test
    seen = np.where(test | validation, np.nan, table)
    mean, std = np.nanmean(seen, axis=0), np.nanstd(seen, axis=0)
    seen, truth = (seen - mean) / std, (table - mean) / std
    methods = {
        "interpolation": {"": references.interpolation},
        "UnobservedComponents": {
            name: partial(references.unobserved_components, **options)
            for name, options in references.UNOBSERVED_COMPONENTS.items()
        },
        "DynamicFactorMQ": {
            name: partial(references.dynamic_factors, **options)
            for name, options in references.DYNAMIC_FACTORS.items()
            if options["factors"] < table.shape[1]
        },
        OURS: {"": partial(_fill_in, seed=seed)},
    }
    found = {}
    for method in names:
        options = methods[method]
        answers = {name: fill(seen) for name, fill in options.items()}
        errors = {name: _rmse(means, truth, validation) for name, (means, _) in answers.items()}
        chosen = min(errors, key=errors.get)
        means, stds = answers[chosen]
        found[method] = {
            "rmse": round(_rmse(means, truth, test), 4),
            "coverage": None if stds is None else round(_coverage(means, stds, truth, test), 4),
            "chosen": chosen,
        }
    return found


def _fill_in(table, seed):
    """Means and standard deviations ``[T, D]`` of a table's entries."""
    means, stds = fill_in(data.from_vectors(table[np.newaxis]), seed)
    return means[0], stds[0]


def _rmse(means, truth, hidden):
    return float(np.sqrt(np.mean(np.square(means - truth)[hidden])))


def _coverage(means, stds, truth, hidden):
    return float(np.mean((np.abs(means - truth) < _INTERVAL * stds)[hidden]))
