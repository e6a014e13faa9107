"""Sequences of vectors, any entry of which may be missing."""

import json

import numpy as np
import pytest
import tensorflow as tf
from commands import run as script
from scipy import stats

from kvae_tf import data
from kvae_tf.data import from_vectors
from kvae_tf.errors import UserError
from kvae_tf.experiments.fill_in import fill_in
from kvae_tf.layers import FrameEncoder, frame_likelihood
from kvae_tf.models import KVAE

D = 4
STANDARDISE = [[1.0, -2.0, 0.0, 5.0], [0.5, 2.0, 1.0, 3.0]]


def oscillators(count, num_steps=20, seed=0):
    """A rotation in a plane, seen through four numbers of different sizes, with noise."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (count, 1)) + 0.4 * np.arange(num_steps)
    z = np.stack([np.cos(phase), np.sin(phase)], axis=-1)
    mix = np.array([[1.0, 0.5, -1.0, 2.0], [0.0, 1.0, 1.0, -1.0]]) * STANDARDISE[1]
    return z @ mix + STANDARDISE[0] + 0.05 * rng.normal(size=(count, num_steps, D))


def test_likelihood_of_the_entries_that_are_there():
    likelihood = frame_likelihood("gaussian", (1, D, 1), True, 1e-4, STANDARDISE)
    likelihood.build(None)
    x = np.array([1.2, np.nan, 0.3, np.nan], np.float32)
    decoded = tf.Variable(np.array([0.1, 0.2, -0.3, 0.4], np.float32)[None, :, None])
    with tf.GradientTape() as tape:
        found = likelihood.log_prob(decoded, x[None, :, None])
    means = likelihood.mean(decoded).numpy()[0, :, 0]
    np.testing.assert_allclose(means, decoded[0, :, 0] * STANDARDISE[1] + STANDARDISE[0], rtol=1e-6)
    stds = np.sqrt(likelihood.variance.numpy()).ravel() * STANDARDISE[1]
    known = ~np.isnan(x)
    expected = stats.norm(means, stds).logpdf(x)[known].sum()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    gradient = tape.gradient(found, decoded).numpy()[0, :, 0]
    assert (gradient[known] != 0).all()
    np.testing.assert_array_equal(gradient[~known], 0.0)


def test_encoder_knows_what_is_missing():
    encoder = FrameEncoder("mlp", 2, (8,), standardise=STANDARDISE)
    encoder.build((None, 1, D, 1))
    x = np.array(STANDARDISE[0], np.float32)
    x[1] = np.nan
    whole = np.array(STANDARDISE[0], np.float32)  # standardised all 0, as what is missing
    one, two = (encoder(value.reshape(1, 1, D, 1)).mean.numpy() for value in (x, whole))
    assert np.isfinite(one).all()
    assert np.abs(one - two).max() > 1e-4


def test_door():
    vectors = oscillators(3)
    vectors[0, 2] = np.nan
    vectors[1, 3, 1] = np.nan
    found = from_vectors(vectors, controls=np.ones((3, 20, 1)))
    assert found.is_vector
    assert found.frame_shape == (1, D, 1)
    assert found.observed[0].tolist() == [1, 1, 0] + [1] * 17
    assert np.isnan(found.frames[1, 3, 0, 1, 0])
    assert found.select(slice(0, 1)).is_vector
    for bad, words in (
        (vectors[0], r"vectors has shape \(20, 4\)"),
        (np.full((1, 2, 3), np.inf), "infinities"),
        (np.array([[["a"]]]), "dtype"),
    ):
        with pytest.raises(UserError, match=words):
            from_vectors(bad)


@pytest.mark.slow
def test_learns_to_fill_in():
    vectors = oscillators(200)
    rng = np.random.default_rng(1)
    vectors[rng.random(vectors.shape) < 0.3] = np.nan
    train = from_vectors(vectors)
    model = KVAE((1, D, 1), units=(32,), latent_size=3, num_modes=1, dynamics_network="constant",
                 learn_noise=True, learn_initial=True, max_encoding_variance=1.0,
                 standardise=STANDARDISE)  # fmt: skip
    model.compile(tf.keras.optimizers.Adam(0.01))
    batches = data.training_batches(train, 50, seed=0, missing_rate=0.6)
    model.fit(batches, steps_per_epoch=200, verbose=0)
    truth = oscillators(100, seed=2)
    observed = data.missing_at_random(100, 20, 0.6, 3, seed=0)
    seen = np.where(rng.random(truth.shape) < 0.3, np.nan, truth).astype(np.float32)
    hidden = observed == 0
    errors = {}
    for method in ("smooth", "filter"):
        filled = model.impute(seen[:, :, None, :, None], observed, method=method).frames
        error = (filled.numpy()[:, :, 0, :, 0] - truth) / STANDARDISE[1]
        errors[method] = np.sqrt(np.square(error[hidden]).mean())
    spread = np.std((truth - truth.mean((0, 1))) / STANDARDISE[1])
    assert errors["smooth"] < errors["filter"] < 0.6 * spread


@pytest.mark.slow
def test_end_to_end(tmp_path):
    vectors = oscillators(60)
    vectors[np.random.default_rng(1).random(vectors.shape) < 0.2] = np.nan
    np.savez(tmp_path / "v.npz", vectors=vectors)
    flags = ["--flagfile=configs/pendulum_smoke.cfg", f"--dataset={tmp_path / 'v.npz'}"]
    flags += [f"--run_dir={tmp_path / 'run'}", "--missing_rate=0.6", "--steps_per_epoch=4"]
    result = script("train", *flags)
    assert result.returncode == 0, result.stderr[-2000:]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert np.isfinite([metrics["test/elbo_per_frame"], metrics["imputation/smooth_rmse"]]).all()
    loaded = tf.saved_model.load(str(tmp_path / "run" / "saved_model" / "1"))
    filled = loaded.impute(tf.constant(vectors[:3, :, None, :, None], tf.float32))["frames"]
    assert np.isfinite(filled).all()
    result = script("train", *flags, "--model=dvbf", "--overwrite")
    assert result.returncode == 1
    assert "the data are vectors, expected --model=kvae" in result.stderr


@pytest.mark.slow
def test_a_table_at_unequal_intervals_is_filled_in_by_its_times():
    times = np.cumsum(np.random.default_rng(0).uniform(0.2, 2.0, 150))
    table = np.stack([np.sin(times), np.cos(times)], axis=-1)
    truth = table.copy()
    table[50:60, 0] = table[100:104] = np.nan
    hidden = np.isnan(table)
    means, stds = fill_in(from_vectors(table[np.newaxis], times=times[np.newaxis]))
    assert np.abs(means[0] - truth)[hidden].max() < 0.1  # 0.77 without times
    assert (stds[0][hidden] > 0).all()
