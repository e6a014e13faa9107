"""What fills in a table without this package: interpolation, and state-space models of statsmodels.

Each takes a standardised table ``[T, D]`` with NaN for missing entries, and gives means and
standard deviations of all entries, ``[T, D]``.
"""

from __future__ import annotations

import warnings

import numpy as np

from kvae_tf.apps.filling.public_tables import need

# Name of a method -> options, of which the best on the validation entries is taken.
UNOBSERVED_COMPONENTS = {
    "local level": {"level": "llevel"},
    "local linear trend": {"level": "lltrend"},
    "local level, AR(1)": {"level": "llevel", "autoregressive": 1},
    "AR(2), noise": {"level": "irregular", "autoregressive": 2},
}
DYNAMIC_FACTORS = {
    f"{factors} factors of order {order}": {"factors": factors, "factor_orders": order}
    for factors, order in ((1, 1), (2, 1), (3, 1), (4, 1), (2, 2))
}


def interpolation(table: np.ndarray) -> tuple[np.ndarray, None]:
    """Linear interpolation of each column; the ends are held. It gives no standard deviations."""
    steps = np.arange(len(table))
    filled = []
    for column in table.T:
        known = np.flatnonzero(~np.isnan(column))
        filled.append(np.interp(steps, known, column[known]))
    return np.stack(filled, axis=1), None


def unobserved_components(table: np.ndarray, **options) -> tuple[np.ndarray, np.ndarray]:
    """``statsmodels``' ``UnobservedComponents`` of each column alone, by maximum likelihood.

    Args:
      table: ``[T, D]``.
      **options: arguments of ``UnobservedComponents``.
    """
    api = need("statsmodels.tsa.api")
    moments = []
    for column in table.T:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = api.UnobservedComponents(column, **options)
            result = model.fit(_start(model), disp=0, maxiter=200)
        moments.append(_smoothed(result))
    means, stds = (np.concatenate(x, axis=1) for x in zip(*moments, strict=True))
    return means, stds


def dynamic_factors(table: np.ndarray, **options) -> tuple[np.ndarray, np.ndarray]:
    """``statsmodels``' ``DynamicFactorMQ``, with an AR(1) for what is left of each column, by EM.

    Args:
      table: ``[T, D]``.
      **options: arguments of ``DynamicFactorMQ``.
    """
    pandas, module = need("pandas"), need("statsmodels.tsa.statespace.dynamic_factor_mq")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = module.DynamicFactorMQ(
            pandas.DataFrame(table), standardize=False, idiosyncratic_ar1=True, **options
        )
        return _smoothed(model.fit(disp=0, maxiter=500))


def _start(model):
    """Start values; None, statsmodels' own, where there is no AR: with gaps these fail for one."""
    if not model.autoregressive:
        return None
    starts = {"ar.L1": 0.5, "ar.L2": 0.0}
    return [starts.get(name, 0.3) for name in model.param_names]


def _smoothed(result):
    """Moments of the observations, noise included, given all that was seen."""
    C, R = result.filter_results.design[:, :, 0], result.filter_results.obs_cov[:, :, 0]
    smoothed = result.smoother_results
    means = (C @ smoothed.smoothed_state).T
    variances = np.einsum("di,ijt,dj->td", C, smoothed.smoothed_state_cov, C) + np.diag(R)
    return means, np.sqrt(np.maximum(variances, 1e-12))
