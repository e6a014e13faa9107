"""Features that move by Newton's law, and attention that begins with them."""

import dataclasses

import keras
import numpy as np
import pytest
from scipy import linalg

from kvae_tf.data import SequenceData
from kvae_tf.data.worlds import billiards, bouncing_ball, cannonballs
from kvae_tf.errors import UserError
from kvae_tf.evaluation import objects
from kvae_tf.evaluation.positions import fit_affine
from kvae_tf.models import Cannonball
from kvae_tf.models import linear_features as nf
from kvae_tf.models.cannonball.features import initialise_attention

SIZE, STEPS = 32, 30


def world(num_balls, count=300, seed=0):
    return cannonballs.simulate(count, STEPS, seed, SIZE, num_balls)


def data_of(frames):
    return SequenceData(
        frames=frames.astype(np.float32),
        observed=np.ones(frames.shape[:2], np.float32),
        controls=np.zeros((*frames.shape[:2], 0), np.float32),
    )


@pytest.fixture(scope="module")
def one():
    return world([1])


@pytest.fixture(scope="module")
def features(one):
    return nf.newtonian_features(one, 2, "--flag")


def read(features, data):
    frames = data.unit_frames.reshape(len(data), data.num_steps, -1)
    return frames @ features.matrix + features.offset


def test_they_are_white(features, one):
    found = read(features, one).reshape(-1, 2)
    np.testing.assert_allclose(found.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(np.cov(found.T), np.eye(2), atol=1e-3)


def test_roughness_is_the_quotient_of_variances(features, one):
    found = read(features, one)
    bends = np.diff(found, 2, axis=1).reshape(-1, 2)
    np.testing.assert_allclose(bends.var(0), features.roughness, rtol=1e-3)
    assert np.all(np.diff(features.roughness) > 0)


def test_nothing_is_smoother():
    """Against the generalised eigenvalue problem itself, where all directions count."""
    rng = np.random.default_rng(0)
    walk = rng.random((50, 9, 2, 3, 1))
    walk = (walk + np.roll(walk, 1, axis=1) * rng.random((2, 3, 1))) / 2.0
    flat = walk.reshape(50, 9, 6)
    bends = np.diff(flat, 2, axis=1).reshape(-1, 6)
    expected = linalg.eigh(
        np.cov(bends.T, bias=True), np.cov(flat.reshape(-1, 6).T, bias=True), eigvals_only=True
    )
    found = nf.newtonian_features(data_of(walk), 3, "--flag")
    np.testing.assert_allclose(found.roughness, expected[:3], rtol=1e-3)


@pytest.mark.parametrize("num_balls", [[1], [2]])
def test_they_are_positions(num_balls):
    """Of one ball its place; of two the sum of places, which moves alike."""
    train, test = world(num_balls, seed=1), world(num_balls, 50, seed=2)
    features = nf.newtonian_features(train, 2, "--flag")
    truth = [objects.true_positions(data).sum(axis=2).reshape(-1, 2) for data in (train, test)]
    fit = fit_affine(read(features, train).reshape(-1, 2), truth[0])
    error = fit(read(features, test).reshape(-1, 2)) - truth[1]
    assert np.all(1.0 - error.var(0) / truth[1].var(0) > 0.85)


def test_bounces_hardly_count():
    """Among walls a position bends at single steps, a cosine of it a little everywhere."""
    train, test = (billiards.simulate(count, STEPS, count, 20, [1]) for count in (400, 100))

    def unexplained(bounces):
        features = nf.newtonian_features(train, 2, "--flag", 3e-3, lag=3, bounces=bounces)
        np.testing.assert_allclose(read(features, train).reshape(-1, 2).std(0), 1.0, atol=1e-3)
        truth = [x.states[..., :2].reshape(-1, 2) for x in (train, test)]
        fit = fit_affine(read(features, train).reshape(-1, 2), truth[0])
        error = fit(read(features, test).reshape(-1, 2)) - truth[1]
        return (error.var(0) / truth[1].var(0)).max()

    assert unexplained(True) < 0.1 * unexplained(False)
    assert unexplained(True) < 2e-3


def test_rounds_that_lead_away_do_not_count(monkeypatch):
    """Balls on whole pixels: a feature that is nearly always 0 is the smoothest but for bounces."""
    data = bouncing_ball.simulate("gravity", 300, 20, 0)
    positions = data.states[..., :2].reshape(-1, 2)

    def explained():
        found = read(nf.newtonian_features(data, 2, "--flag", bounces=True), data).reshape(-1, 2)
        return fit_affine(found, positions).r_squared.min()

    assert explained() > 0.9
    monkeypatch.setattr(nf, "_ALIKE", 0.0)
    assert explained() < 0.6


def test_frames_that_were_not_seen_do_not_count(one):
    observed = np.ones((len(one), STEPS), np.float32)
    observed[::3, 5] = 0.0
    spoilt = one.frames.copy()
    spoilt[::3, 5] = 255
    a, b = (
        nf.newtonian_features(
            dataclasses.replace(one, frames=frames, observed=observed), 2, "--flag"
        )
        for frames in (one.frames, spoilt)
    )
    np.testing.assert_array_equal(a.matrix, b.matrix)


def test_too_little_to_go_by(one):
    observed = np.ones((len(one), STEPS), np.float32)
    observed[:, ::3] = 0.0
    with pytest.raises(UserError, match="no three frames in a row"):
        nf.newtonian_features(dataclasses.replace(one, observed=observed), 2, "--flag")
    with pytest.raises(UserError, match="vary in 0 directions, expected 2"):
        nf.newtonian_features(data_of(np.full((3, 4, 5, 5, 1), 0.5)), 2, "--flag")


def test_fewer_where_frames_vary_in_fewer_directions():
    rng = np.random.default_rng(0)
    paths = np.cumsum(np.cumsum(rng.normal(size=(60, 9, 2)), axis=1), axis=1)
    patterns = rng.random((2, 12))
    frames = (0.5 + 0.01 * paths @ patterns).reshape(60, 9, 3, 4, 1)
    with pytest.raises(UserError, match="vary in 2 directions, expected 5"):
        nf.newtonian_features(data_of(frames), 5, "--flag", least=1e-4)
    found = nf.newtonian_features(data_of(frames), 5, "--flag", least=1e-4, or_fewer=True)
    same = nf.newtonian_features(data_of(frames), 2, "--flag", least=1e-4)
    np.testing.assert_array_equal(found.matrix, same.matrix)
    still = data_of(np.full((3, 4, 5, 5, 1), 0.5))
    none = nf.newtonian_features(still, 2, "--flag", or_fewer=True)
    assert (none.matrix.shape, none.offset.shape) == ((25, 0), (0,))


@pytest.mark.slow
def test_large_frames(monkeypatch, one):
    """Where all directions at once would take minutes, the largest give the same features."""
    expected = nf.newtonian_features(one, 2, "--flag")
    monkeypatch.setattr(nf, "_DENSE", SIZE * SIZE - 1)
    found = nf.newtonian_features(one, 2, "--flag")
    np.testing.assert_allclose(found.roughness, expected.roughness, rtol=1e-3)
    a, b = (read(features, one).reshape(-1, 2) for features in (found, expected))
    assert np.all(np.abs(np.corrcoef(a.T, b.T)[[0, 1], [2, 3]]) > 0.999)


@pytest.mark.parametrize(
    "posterior", ["attention", pytest.param("smoothed", marks=pytest.mark.slow)]
)
def test_attention_begins_with_them(posterior):
    """Untrained, it knows where each single ball is, whatever the random weights."""
    train, test = world([1, 2], 600), world([1], 50, seed=2)
    found = []
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = Cannonball((SIZE, SIZE, 1), state_size=32, posterior=posterior)
        model.build()
        initialise_attention(model, train)
        q = model.locate(test.unit_frames, num_objects=np.ones(len(test), np.int32))
        found.append(q.mean.numpy()[:, :, 0].reshape(-1, 2))
        truth = objects.true_positions(test).reshape(-1, 2)
        assert np.all(fit_affine(found[-1], truth).r_squared > 0.8)
        # As wide as starts are thought to be: here 1.
        np.testing.assert_allclose(found[-1].std(0), 1.0, atol=0.4)
        assert np.all(np.isfinite(q.std))
    correlation = np.corrcoef(found[0].T, found[1].T)[[0, 1], [2, 3]]
    assert np.all(correlation > 0.9)


def test_what_rests_and_when():
    model = Cannonball(
        (6, 6, 1), state_size=5, posterior="smoothed",
        attention_frozen_updates=2, frozen_updates=3, settling_start=5,
    )  # fmt: skip
    model.build()
    parts = {
        "attention": model.attention.from_frame,
        "noise": model.motion.log_emission_noise,
        "start": model.motion.start_positions,
        "force": model.motion.force,
        "renderer": model.renderer.to_frame,
    }
    moving = [
        ({n for n, part in parts.items() if any(v is part for v in phase.variables)}, phase.updates)
        for phase in model.phases
    ]
    first, last = {"start", "force", "renderer"}, {"attention", "force", "renderer"}
    assert moving == [(first, 2), (first | {"attention"}, 1), (set(parts), 2), (last, 0)]
