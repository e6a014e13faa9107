"""Vectors without encoder and decoder: exact likelihood and imputation, an entry at a time."""

import numpy as np
import pytest
import tensorflow as tf
from vector_models import (
    BATCH,
    CONTROLS,
    MISSING,
    STANDARDISE,
    VECTORS,
    B,
    D,
    T,
    check_gradients,
    check_row_at_a_time,
    exact,
    linear,
)

from kvae_tf.data import SequenceData, from_vectors
from kvae_tf.errors import UserError
from kvae_tf.experiments.settings import Settings
from kvae_tf.export.loading import LoadedModel
from kvae_tf.export.saved_model import export
from kvae_tf.models import KVAE, registry
from kvae_tf.models.kvae import LinearKVAE, linear_em, vector_recipe
from kvae_tf.models.kvae.recipe import recipe


def test_assigned_values_are_those_of_the_modes():
    model, values = linear()
    np.testing.assert_allclose(model.mixture.transition_noise, values.transition_noise, rtol=1e-5)
    np.testing.assert_allclose(model.mixture.emission_noise, values.emission_noise, rtol=1e-5)
    np.testing.assert_allclose(
        model.mixture.initial_covariance, values.initial_covariance, atol=1e-5
    )


def test_bound_is_the_likelihood_of_the_entries_that_are_there():
    model, values = linear()
    bound = model.elbo(BATCH, 0)
    expected = exact(values, model.mixture.control[0].numpy()).log_likelihood
    np.testing.assert_allclose(bound.elbo, expected, rtol=1e-4)
    np.testing.assert_allclose(sum(bound.terms.values()), bound.elbo, rtol=1e-6)


def test_imputation_is_the_conditional_gaussian():
    model, values = linear()
    answer = model.impute(VECTORS, None, CONTROLS)
    frames, found = (x.numpy()[:, :, 0, :, 0] for x in (answer.frames, answer.stds))
    expected = exact(values, model.mixture.control[0].numpy())
    np.testing.assert_allclose(frames, expected.means, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found, expected.stds, rtol=1e-4)
    # What was seen stays, to the bit.
    np.testing.assert_array_equal(frames[~MISSING], VECTORS[~MISSING])
    np.testing.assert_array_equal(found[~MISSING], 0.0)


@pytest.mark.parametrize(("num_modes", "kind"), [(1, "constant"), (2, "lstm")])
def test_a_row_at_a_time_is_the_filter(num_modes, kind):
    model, _ = linear(num_modes, kind)
    scores = check_row_at_a_time(model)
    bound = model.elbo(BATCH, 0)
    np.testing.assert_allclose(tf.reduce_sum(scores, axis=1), bound.elbo, rtol=1e-4)


def test_padding_changes_nothing():
    model, _ = linear()
    longer = np.pad(VECTORS, [(0, 0), (0, 3), (0, 0)], constant_values=np.nan)
    more = np.pad(CONTROLS, [(0, 0), (0, 3), (0, 0)])
    short, long = model.impute(VECTORS, None, CONTROLS), model.impute(longer, None, more)
    np.testing.assert_allclose(long.frames[:, :T], short.frames, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(long.stds[:, :T], short.stds, rtol=1e-4, atol=1e-5)
    one, two = (
        model.elbo({"frames": x[:, :, None, :, None], "controls": u}, 0).elbo
        for x, u in ((VECTORS, CONTROLS), (longer, more))
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_gradients_are_finite_and_reach_every_variable():
    check_gradients(linear(2, "lstm", learn_noise=True, learn_initial=True)[0])


@pytest.mark.slow
def test_an_export_answers_the_same(tmp_path):
    model, _ = linear()
    export(model, tmp_path / "1")
    loaded = LoadedModel(tmp_path / "1")
    for method in ("smooth", "filter"):
        one, two = (m.impute(VECTORS, None, CONTROLS, method=method) for m in (model, loaded))
        for name, value in one._asdict().items():
            np.testing.assert_allclose(
                getattr(two, name), value, rtol=1e-4, atol=1e-4, err_msg=name
            )
    one, two = (m.forecast(VECTORS, None, CONTROLS, num_steps=3) for m in (model, loaded))
    assert one.stds.shape == (B, 3, 1, D, 1)
    assert (one.stds.numpy() > 0).all()
    np.testing.assert_allclose(two.stds, one.stds, rtol=1e-4)
    again = LinearKVAE.from_config(model.get_config())
    assert again.encoding_size == D


def test_what_does_not_fit_is_refused():
    for changes, words in (
        ({"standardise": None}, "the linear network is for vectors"),
        ({"encoding_size": 2}, "encoding_size is 2, expected 3"),
        ({"objective": "sampled"}, "objective is 'sampled'"),
    ):
        given = {"encoding_size": D, "standardise": STANDARDISE} | changes
        with pytest.raises(UserError, match=words):
            LinearKVAE((1, D, 1), network="linear", **given)
    with pytest.raises(UserError, match="network kind is 'linear'"):
        KVAE((1, D, 1), network="linear", standardise=STANDARDISE)


# Expectation maximisation.


def walk(count, num_steps, seed):
    """Two hidden random walks with friction, seen through five columns with noise."""
    rng = np.random.default_rng(seed)
    z = np.zeros((count, num_steps, 2))
    for t in range(1, num_steps):
        z[:, t] = [0.95, 0.8] * z[:, t - 1] + 0.4 * rng.normal(size=(count, 2))
    mix = np.array([[1.0, 0.5, -1.0, 2.0, 0.0], [0.0, 1.0, 1.0, -1.0, 2.0]])
    return z @ mix + 0.2 * rng.normal(size=(count, num_steps, 5))


def built(train, latent_size):
    frames = train.frames[:, :, 0, :, 0]
    moments = [np.nanmean(frames, (0, 1)).tolist(), np.nanstd(frames, (0, 1)).tolist()]
    model = LinearKVAE(
        train.frame_shape, network="linear", encoding_size=5, latent_size=latent_size, num_modes=1,
        dynamics_network="constant", standardise=moments,
    )  # fmt: skip
    model.build()
    linear_em.initialise(model, train)
    return model


def bound(model, train):
    elbo = tf.function(model.elbo, autograph=False)
    return float(tf.reduce_sum(elbo({"frames": tf.constant(train.frames)}, 0).elbo))


@pytest.mark.parametrize(
    ("latent_size", "velocities"),
    [
        (2, False),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((6, False), (12, True))),
    ],
)
def test_em_climbs_the_likelihood(latent_size, velocities, monkeypatch):
    """Without a prior every round of EM raises the likelihood; the way goes up a lot."""
    for name in ("_CROSS", "_CROSS_OF_VELOCITIES", "_OWN", "_NOISE", "_SERIES"):
        monkeypatch.setattr(linear_em, name, 0.0)
    monkeypatch.setattr(linear_em, "_LOADING", np.inf)
    monkeypatch.setattr(
        linear_em, "_variance", lambda residual, usual, count, free: residual / count
    )
    vectors = walk(4, 20, seed=0)
    vectors[np.random.default_rng(1).random(vectors.shape) < 0.2] = np.nan
    train = from_vectors(vectors)
    model = built(train, latent_size)
    linear_em.initialise(model, train, velocities)
    bounds = [bound(model, train)]
    for _ in range(4):
        linear_em.fit(model, train, 1, velocities)
        bounds.append(bound(model, train))
    assert (np.diff(bounds) > -1e-2).all(), bounds
    assert bounds[-1] > bounds[0] + 10


def test_em_learns_a_table():
    """One table with a third of its entries hidden: small errors, and intervals that hold 90 %."""
    truth = walk(1, 150, seed=3)
    hidden = np.random.default_rng(2).random(truth.shape) < 0.33
    train = from_vectors(np.where(hidden, np.nan, truth))
    model = built(train, vector_recipe(train)["latent_size"])
    linear_em.fit(model, train, 20)
    answer = tf.function(model.impute, autograph=False)(train.frames, train.observed)
    frames, stds = (x.numpy()[:, :, 0, :, 0] for x in (answer.frames, answer.stds))
    error = np.abs(frames - truth)[hidden]
    steps = np.arange(150)
    line = np.stack(
        [np.interp(steps, steps[~h], x[~h]) for x, h in zip(truth[0].T, hidden[0].T, strict=True)],
        1,
    )[None]
    assert np.sqrt(np.square(error).mean()) < 0.6 * np.sqrt(np.square(line - truth)[hidden].mean())
    assert np.sqrt(np.square(error).mean()) < 0.4  # the noise alone is 0.2
    assert 0.85 < (error < 1.6449 * stds[hidden]).mean() < 0.95


@pytest.mark.slow
def test_em_is_sure_of_series_without_noise():
    """Two smooth factors and next to no noise: intervals are narrow, as the errors are."""
    steps = np.arange(100.0)[:, None]
    factors = np.concatenate([np.sin(steps / 9), np.cos(steps / 23)], axis=1)
    rng = np.random.default_rng(0)
    truth = (factors @ rng.normal(size=(2, 5)) + 0.01 * rng.normal(size=(100, 5)))[None]
    hidden = rng.random(truth.shape) < 0.2
    train = from_vectors(np.where(hidden, np.nan, truth))
    model = built(train, vector_recipe(train)["latent_size"])
    linear_em.fit(model, train, 50)
    answer = tf.function(model.impute, autograph=False)(train.frames, train.observed)
    frames, stds = (x.numpy()[:, :, 0, :, 0] for x in (answer.frames, answer.stds))
    error, stds = np.abs(frames - truth)[hidden], stds[hidden]
    assert np.sqrt(np.square(error).mean()) < 0.025  # the noise is 0.01
    assert stds.mean() < 0.03
    assert 0.82 < (error < 1.6449 * stds).mean() < 0.97


def test_em_reads_long_series_in_windows(monkeypatch):
    monkeypatch.setattr(linear_em, "_WINDOW", 40)
    monkeypatch.setattr(linear_em, "_ROWS", 300)
    vectors = walk(20, 90, seed=0)
    vectors[3, 50:] = np.nan
    train = from_vectors(vectors)
    model = built(train, 7)
    data = linear_em.observations(train, model.encoder.standardise)
    assert data.entries.shape[1:] == (30, 5)
    assert 3 * 2 <= len(data.entries) <= 10
    assert data.inside.sum() <= 300
    linear_em.fit(model, train, 2)
    assert np.isfinite(bound(model, train))


def test_states_do_not_explode():
    """A table that doubles every few rows, with a gap: no eigenvalue above 1."""
    vectors = np.exp(np.arange(30.0) / 5)[None, :, None] * np.array([1.0, -2.0, 3.0, 1.0, 0.5])
    vectors[0, 10:14, 2] = np.nan
    train = from_vectors(vectors + 0.01 * np.random.default_rng(0).normal(size=vectors.shape))
    model = built(train, 5)
    linear_em.fit(model, train, 5)
    assert np.abs(np.linalg.eigvals(model.mixture.transition[0])).max() < 1.0 + 1e-5


def test_em_without_factors_does_not_drift():
    """20 lines that fall and rise, one with jumps, n = D: more rounds do no harm."""
    rng = np.random.default_rng(3)
    steps = np.where(np.arange(100) < 33, -1.0, 0.7)[:, None] * rng.uniform(-0.2, 1.5, 20)
    truth = np.cumsum(steps + 0.1 * rng.normal(size=(100, 20)), axis=0)
    truth[:, -1] += 20 * (rng.random(100) < 0.05) * rng.normal(size=100)
    truth = (truth - truth.mean(0)) / truth.std(0)
    hidden = np.random.default_rng(103).random(truth.shape) < 0.3
    there = ~hidden[None]
    nothing = np.zeros((1, 100, 0))
    data = linear_em.Observations(
        np.where(there, truth, 0.0), there.astype(float), np.ones((1, 100)), nothing
    )
    first = linear_em.start(data, 20)
    model, control = first.model, first.control
    likelihoods = []
    for _ in range(30):
        model, control = linear_em.improve(model, control, data, first)
        given = model._replace(transition_offset=np.zeros((1, 100, 20)))
        likelihood, z = (
            x.numpy()[0] for x in linear_em._smooth(given, data.entries, data.there)[:2]
        )
        likelihoods.append(likelihood)
    assert (np.diff(likelihoods) > 0).all(), likelihoods
    assert np.sqrt(np.square((z @ model.emission.T - truth)[hidden]).mean()) < 0.3


# The recipe.


@pytest.mark.parametrize("size", [1, 2, 5, pytest.param(12, marks=pytest.mark.slow), 40, 200])
def test_recipe_is_made_of_settings(size):
    given = vector_recipe(from_vectors(np.zeros((2, 10, size))))
    settings = Settings.from_dict({"run_dir": "x", **given})
    assert 1 <= settings.model.latent_size <= 40
    assert settings.to_dict() | given == settings.to_dict()


def test_recipe_does_not_look_at_scales():
    vectors = walk(1, 30, seed=0)
    assert isinstance(from_vectors(vectors), SequenceData)
    assert vector_recipe(from_vectors(vectors)) == vector_recipe(from_vectors(10 * vectors))


def turning(seed):
    """Five series whose direction changes slowly, ``[1, 80, 5]``."""
    pushes = np.random.default_rng(seed).normal(size=(80, 5))
    weights = np.tril(0.9 ** np.maximum(np.subtract.outer(np.arange(80), np.arange(80)), 0))
    return np.cumsum(weights @ pushes, axis=0)[np.newaxis]


@pytest.mark.slow
def test_recipe_finds_series_that_go_on_in_their_direction():
    rng = np.random.default_rng(0)
    steady = vector_recipe(from_vectors(turning(seed=0)))
    handed_on = rng.normal(size=(1, 80, 5))  # what one series has, the next has a step later
    for t in range(1, 80):
        handed_on[0, t] += 0.9 * np.roll(handed_on[0, t - 1], 1)
    jumping = vector_recipe(from_vectors(handed_on))
    assert (steady["velocities"], steady["latent_size"]) == (True, 14)
    assert (jumping["velocities"], jumping["latent_size"]) == (False, 7)
    assert not vector_recipe(from_vectors(turning(seed=0)), velocities=False)["velocities"]
    for given in ({"em_epochs": 0}, {"latent_size": 7}, {"time": "continuous"}):
        assert not recipe(from_vectors(turning(seed=0)), given)["velocities"]
    assert not vector_recipe(from_vectors(turning(seed=0)[:, :8]))["velocities"]  # too little


def test_velocities_fill_in_series_that_turn_slowly():
    truth = turning(seed=1)
    hidden = np.random.default_rng(9).random(truth.shape) < 0.25
    train = from_vectors(np.where(hidden, np.nan, truth))
    errors = {}
    for velocities, size in ((False, 7), (True, 14)):
        model = built(train, size)
        linear_em.initialise(model, train, velocities)
        linear_em.fit(model, train, 20, velocities)
        filled = tf.function(model.impute, autograph=False)(train.frames, train.observed)
        found = filled.frames.numpy()[:, :, 0, :, 0]
        errors[velocities] = np.sqrt(np.square(found - truth)[hidden].mean())
    assert errors[True] < 0.9 * errors[False]


@pytest.mark.parametrize("size", [11, 8])
def test_sizes_that_velocities_do_not_fit(size):
    train = from_vectors(turning(seed=0))
    with pytest.raises(UserError, match=f"--latent_size is {size}, expected an even number of at"):
        linear_em.initialise(built(train, size), train, velocities=True)


def test_the_recipe_of_a_users_vectors_keeps_to_what_is_given():
    train = from_vectors(walk(1, 30, seed=0))
    spec = registry.get("kvae")
    assert spec.recipe(train, {}) == vector_recipe(train)
    assert "latent_size" not in spec.recipe(train, {"latent_size": 3})
    for given in ({"network": "mlp"}, {"num_modes": 2}):  # no EM for these
        assert spec.recipe(train, given) == {}


def test_recipe_of_series_at_unequal_intervals_is_in_continuous_time():
    rng = np.random.default_rng(0)
    for spread, is_unequal in ((0.0, False), (0.02, False), (0.5, True)):
        times = np.cumsum(rng.uniform(1.0 - spread, 1.0 + spread, (1, 8)), axis=1)
        series = from_vectors(turning(seed=0)[:, :8, :4], times=times)
        assert (recipe(series, {}).get("time") == "continuous") == is_unequal
        for given in ({"em_epochs": 5}, {"velocities": True}, {"time": "discrete"}):
            assert "time" not in recipe(series, given)
    settings = Settings.from_dict({"run_dir": "x", **recipe(series, {})})
    assert (settings.model.time, settings.model.em_epochs) == ("continuous", 0)
    wide = from_vectors(np.zeros((1, 8, 5)), times=times)  # would take long
    assert "time" not in recipe(wide, {})
