"""A long series in chunks gives what the whole series gives."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError

B, T, N, M, STEPS = 2, 11, 3, 2, 4
PER_STEP = ("transition", "transition_offset", "emission")


def problem(dtype=np.float64):
    rng = np.random.default_rng(0)
    model = reference.random_model(rng, B, T, N, M)
    y = reference.simulate(rng, model, B, T)[1]
    mask = reference.random_mask(rng, "per_dimension", B, T, M)
    return lgssm.LGSSM(*model.cast(dtype)), reference.hide(y, mask).astype(dtype), mask


def chunks_of(model, y, mask):
    """Chunks of four steps, the last of three."""
    cuts = [slice(t, t + STEPS) for t in range(0, T, STEPS)]
    fields = [{name: getattr(model, name)[:, cut] for name in PER_STEP} for cut in cuts]
    return [
        (model._replace(**each), y[:, cut], mask[:, cut])
        for each, cut in zip(fields, cuts, strict=True)
    ]


def assert_joined(results, whole, names):
    for name in names:
        parts = np.concatenate([getattr(result, name) for result in results], axis=1)
        assert reference.scaled_error(parts, getattr(whole, name)) < 1e-12, name


def test_moments_in_chunks_are_those_of_the_whole():
    given = problem()
    whole = lgssm.smooth(*given)
    filtered = list(lgssm.filter_chunks(chunks_of(*given)))
    assert_joined(filtered, whole.filter, lgssm.FilterResult._fields[1:])
    total = tf.add_n([result.log_likelihood for result in filtered])
    assert reference.scaled_error(total, whole.log_likelihood) < 1e-12
    smoothed = list(lgssm.smooth_chunks(chunks_of(*given)))[::-1]
    assert_joined(smoothed, whole, lgssm.SmoothResult._fields[1:4])
    total = tf.add_n([result.log_likelihood for result in smoothed])
    assert reference.scaled_error(total, whole.log_likelihood) < 1e-12


@pytest.mark.slow
def test_chunks_by_compiled_calls_and_by_blocks():
    given = problem(np.float32)
    whole = lgssm.smooth(*given)
    with lgssm.compile_eager_calls():
        smoothed = list(lgssm.smooth_chunks(chunks_of(*given)))[::-1]
    parallel = list(lgssm.filter_chunks(chunks_of(*given), method="parallel"))
    for results, exact, name in (
        (smoothed, whole, "smoothed_means"),
        (parallel, whole.filter, "filtered_covariances"),
    ):
        parts = np.concatenate([getattr(result, name) for result in results], axis=1)
        assert parts.dtype == np.float32
        assert reference.scaled_error(parts, getattr(exact, name)) < 1e-6


def test_chunks_are_read_when_they_are_needed():
    """The results of one chunk exist before the next one is read."""
    given = chunks_of(*problem())
    read = []

    def reading():
        for i, chunk in enumerate(given):
            read.append(i)
            yield chunk

    results = lgssm.filter_chunks(reading())
    assert not read
    next(results)
    assert read == [0]


def test_chunks_that_do_not_fit():
    given = chunks_of(*problem())
    model, y, mask = given[1]
    one = model._replace(**{name: getattr(model, name)[:1] for name in PER_STEP})
    with pytest.raises(UserError, match="expected B = 2 as in the chunk before"):
        list(lgssm.filter_chunks([given[0], (one, y[:1], mask[:1])]))
    with pytest.raises(UserError, match=r"observations have shape \(4, 2\), expected \[B, T, m\]"):
        list(lgssm.smooth_chunks([(model, y[0], mask)]))
