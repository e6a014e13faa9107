"""Public multivariate time series that pip packages bring, and entries to hide in them.

A table is ``[T, D]`` float64, NaN where an entry is missing. All methods get the same transforms.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kvae_tf.errors import UserError

BLOCK = 8  # rows
PATTERNS = {"20 %": ("entries", 0.2), "50 %": ("entries", 0.5), "blocks": ("blocks", 0.2)}
_INSTALL = "pip install -e '.[compare]'"


def need(module: str):
    """A module of the extra ``compare``.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(f"{module} is not installed, expected it: {_INSTALL}") from None


def macrodata() -> np.ndarray:
    """Quarterly US macroeconomic data, 202 x 12: growth (log differences) of all but the rates."""
    data = need("statsmodels.datasets").macrodata.load_pandas().data
    grows = ("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "pop")
    rates = ("tbilrate", "unemp", "infl", "realint")
    growth = [np.diff(100.0 * np.log(data[name].to_numpy(float))) for name in grows]
    return np.stack([*growth, *(data[name].to_numpy(float)[1:] for name in rates)], axis=1)


def elnino() -> np.ndarray:
    """Sea surface temperatures of the Pacific, 61 years x 12 months."""
    data = need("statsmodels.datasets").elnino.load_pandas().data
    return data.to_numpy(float)[:, 1:]


def weather() -> np.ndarray:
    """Daily weather of Seattle, 1461 x 4: log precipitation, temperatures, log wind speed."""
    rows = _vega("seattle-weather.csv")
    rain, warm, cold, wind = (
        np.array([float(row[name]) for row in rows])
        for name in ("precipitation", "temp_max", "temp_min", "wind")
    )
    return np.stack([np.log1p(rain), warm, cold, np.log(wind)], axis=1)


def employment_levels() -> np.ndarray:
    """Monthly US employment by sector, 120 x 21: logarithms."""
    rows = _vega("us-employment.csv")
    names = [n for n in rows[0] if n not in ("month", "nonfarm") and "change" not in n]
    levels = np.array([[float(row[name]) for name in names] for row in rows])
    return 100.0 * np.log(levels)


def employment() -> np.ndarray:
    """Monthly US employment by sector, 119 x 21: growth (log differences)."""
    return np.diff(employment_levels(), axis=0)


TABLES: dict[str, Callable[[], np.ndarray]] = {
    "macrodata": macrodata,
    "elnino": elnino,
    "weather": weather,
    "employment": employment,
    "employment_levels": employment_levels,
}


def hide(table: np.ndarray, kind: str, rate: float, seed: int) -> np.ndarray:
    """Entries to hide, ``[T, D]`` bool.

    Args:
      table: ``[T, D]``.
      kind: ``"entries"``, each on its own; or ``"blocks"`` of ``BLOCK`` rows of a column.
      rate: share of entries to hide.
      seed: a non-negative int.
    """
    rng = np.random.default_rng(seed)
    if kind == "entries":
        return rng.random(table.shape) < rate
    hidden = np.zeros(table.shape, bool)
    for column in hidden.T:
        while column.mean() < rate:
            first = rng.integers(0, len(column) - BLOCK + 1)
            column[first : first + BLOCK] = True
    return hidden


def _vega(name):
    folder = Path(need("vega_datasets").__file__).parent / "_data"
    with open(folder / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
