"""Any small model, mask and dtype: every method against the dense Gaussian."""

import numpy as np
import reference
from conftest import has_tfp
from hypothesis import given, settings
from hypothesis import strategies as st

from kvae_tf import lgssm

# Few shapes, so that most calls find their operations compiled.
SHAPES = st.sampled_from([(1, 1, 1, 1), (2, 3, 2, 1), (1, 4, 3, 2), (2, 2, 2, 3)])
ENGINES = st.sampled_from(
    [{}, {"stabilised": True}, {"method": "parallel"}, *[{"method": "tfp"}] * has_tfp()],
)
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@st.composite
def cases(draw):
    """A model with a start of any rank and noises that may be zero, observations and a mask."""
    B, T, n, m = draw(SHAPES)
    engine = draw(ENGINES)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    model = reference.random_model(
        rng, B, T, n, m, **{name: draw(st.booleans()) for name in ("offset", "time_invariant")}
    )
    root = rng.normal(size=(n, draw(st.integers(0, n))))
    model = model._replace(initial_covariance=root @ root.T)
    if engine.get("method") != "tfp" and draw(st.booleans()):  # TFP inverts what may be singular
        model = model._replace(transition_noise=np.zeros(n))
    kinds = [kind for kind in reference.MASKS if kind != "per_dimension" or "method" not in engine]
    mask = reference.random_mask(rng, draw(st.sampled_from(kinds)), B, T, m)
    y = reference.hide(reference.simulate(rng, model, B, T)[1], mask)
    return engine, model, y, mask


@EXAMPLES
@given(cases(), st.sampled_from([np.float32, np.float64]))
def test_moments_are_those_of_the_dense_gaussian(case, dtype):
    engine, model, y, mask = case
    single = dtype == np.float32 and engine.get("method") != "tfp"  # which computes in the dtype
    dtype = np.float32 if single else np.float64
    model = model.cast(dtype)
    y = y.astype(dtype)
    exact = reference.dense_posterior(model.cast(np.float64), y.astype(np.float64), mask)
    result = lgssm.smooth(lgssm.LGSSM(*model), y, mask, **engine)
    assert result.smoothed_means.dtype == dtype
    # Results are rounded once; the dense solution itself loses some digits more.
    reference.assert_moments_close(result, exact, 4 * np.finfo(dtype).eps + 1e-9)
    log_likelihood = lgssm.log_likelihood(lgssm.LGSSM(*model), y, mask, **engine)
    error = reference.scaled_error(log_likelihood, exact.log_likelihood)
    assert error < 4 * np.finfo(dtype).eps + 1e-9
