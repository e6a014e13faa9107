"""A KVAE of vectors, in which partly seen rows count partly."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import data, lgssm
from kvae_tf.data import from_vectors
from kvae_tf.errors import UserError
from kvae_tf.export.loading import LoadedModel
from kvae_tf.export.saved_model import export
from kvae_tf.layers import Encoding
from kvae_tf.models.kvae import VectorKVAE

B, T, D, U = 3, 6, 2, 1
STANDARDISE = [[1.0, -2.0], [0.5, 3.0]]
RNG = np.random.default_rng(0)
VECTORS = (RNG.normal(size=(B, T, D)) * STANDARDISE[1] + STANDARDISE[0]).astype(np.float32)
VECTORS[RNG.random((B, T, D)) < 0.3] = np.nan
VECTORS[1, 2] = np.nan
CONTROLS = RNG.normal(size=(B, T, U)).astype(np.float32)


def vector(num_modes=1, dynamics_network="constant", **options):
    model = VectorKVAE(
        (1, D, 1), U, units=(8,), encoding_size=D, latent_size=3, num_modes=num_modes,
        dynamics_network=dynamics_network, dynamics_units=8, standardise=STANDARDISE, **options,
    )  # fmt: skip
    model.build()
    rng = np.random.default_rng(1)
    for weights in (model.mixture.emission, model.mixture.transition):
        weights.assign_add(0.3 * rng.normal(size=weights.shape))
    return model


class Transparent(VectorKVAE):
    """Decodes standardised entries as they are, and has the potentials of that decoder."""

    def _encode(self, frames):
        x = (frames[..., 0, :, 0] - STANDARDISE[0]) / STANDARDISE[1]
        there = ~tf.math.is_nan(x)
        variance = tf.where(there, self.likelihood.variance[0, :, 0], 1e8)
        return Encoding(tf.where(there, x, 0.0), tf.sqrt(variance))


def test_bound_is_exact_for_a_linear_gaussian_decoder(monkeypatch):
    """Then the potentials are the likelihood, q is the posterior, and the bound log p(x)."""
    model = vector()
    model.__class__ = Transparent
    model.decoder = lambda a: a[..., tf.newaxis, :, tf.newaxis]
    frames = VECTORS[:, :, None, :, None]
    elbo = tf.function(
        lambda seed: model.elbo({"frames": frames, "controls": CONTROLS}, seed).elbo,
        autograph=False,
    )
    # A potential of variance 1e8 is log psi = -10.1 for each missing entry of a seen row, and log Z
    # has the same.
    found = np.mean([elbo(tf.constant([0, i], tf.int64)) for i in range(400)], axis=0)
    weights = model.network(tf.zeros([B, T, D])).mode_weights
    exact = model.mixture(weights, tf.constant(CONTROLS))
    exact = exact._replace(emission_noise=exact.emission_noise + model.likelihood.variance[0, :, 0])
    there = ~np.isnan(VECTORS)
    x = np.where(there, (VECTORS - STANDARDISE[0]) / STANDARDISE[1], 0.0).astype("f4")
    expected = lgssm.log_likelihood(exact, x, there.astype("f4")).numpy()
    expected -= (there * np.log(STANDARDISE[1])).sum((1, 2))
    np.testing.assert_allclose(found, expected, atol=0.25)
    # So are scores: the posterior of a linear model is as wide everywhere.
    scores = model.score(VECTORS, None, CONTROLS).scores
    np.testing.assert_allclose(tf.reduce_sum(scores, axis=1), expected, rtol=1e-3, atol=1e-2)
    answer = model.impute(VECTORS, None, CONTROLS)
    smoothed = lgssm.smooth(exact, x, there.astype("f4"))
    mean = tf.linalg.matvec(exact.emission, smoothed.smoothed_means) * STANDARDISE[1]
    variance = tf.linalg.diag_part(
        exact.emission @ tf.matmul(smoothed.smoothed_covariances, exact.emission, transpose_b=True)
    )
    std = np.sqrt(variance + exact.emission_noise) * STANDARDISE[1]
    gone = ~there
    frames, stds = (value.numpy()[:, :, 0, :, 0] for value in (answer.frames, answer.stds))
    np.testing.assert_allclose(frames[gone], (mean + STANDARDISE[0]).numpy()[gone], atol=1e-3)
    np.testing.assert_allclose(stds[gone], std[gone], rtol=0.2)  # of 64 draws
    np.testing.assert_array_equal(frames[there], VECTORS[there])
    np.testing.assert_array_equal(stds[there], 0.0)


@pytest.mark.parametrize(("num_modes", "kind"), [(1, "constant"), (2, "lstm")])
def test_a_row_at_a_time_is_the_filter(num_modes, kind):
    model = vector(num_modes, kind)
    expected = model.impute(VECTORS, None, CONTROLS, method="filter")
    state, rows, scores = model.filter_start(B), [], []
    for t in range(T):
        seen = 1.0 - np.isnan(VECTORS[:, t]).all(1)
        state, step = model.filter_step(state, VECTORS[:, t], seen, CONTROLS[:, t])
        rows.append(step["frames"])
        scores.append(step["scores"])
    np.testing.assert_allclose(tf.stack(rows, 1), expected.frames, rtol=1e-4, atol=1e-4)
    found = model.score(VECTORS, None, CONTROLS).scores
    np.testing.assert_allclose(tf.stack(scores, 1), found, rtol=1e-4, atol=1e-4)


def test_what_an_entry_says_reaches_other_rows():
    model = vector()
    other = VECTORS.copy()
    assert np.isfinite(other[0, 0, 0])
    other[0, 0, 0] += 5.0
    one, two = (
        model.impute(x, None, CONTROLS).frames.numpy()[0, :, 0, :, 0] for x in (VECTORS, other)
    )
    gone = np.isnan(VECTORS[0])
    gone[0] = False
    assert np.abs(one - two)[gone].max() > 1e-5  # little of an untrained model, but not nothing


def test_gradients_are_finite_and_reach_every_variable():
    model = vector(2, "lstm", learn_noise=True, learn_initial=True)
    batch = {"frames": VECTORS[:, :, None, :, None], "controls": CONTROLS}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.training_bound(batch, 0).elbo)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path


@pytest.mark.slow
def test_an_export_answers_the_same(tmp_path):
    model = vector()
    export(model, tmp_path / "1")
    loaded = LoadedModel(tmp_path / "1")
    one, two = (m.impute(VECTORS, None, CONTROLS) for m in (model, loaded))
    for name, value in one._asdict().items():
        np.testing.assert_allclose(getattr(two, name), value, rtol=1e-3, atol=1e-4, err_msg=name)
    again = VectorKVAE.from_config(model.get_config())
    assert again.encoding_size == D


def test_what_does_not_fit_is_refused():
    for changes, words in (
        ({"standardise": None}, "expected the moments of vectors"),
        ({"objective": "sampled"}, "objective is 'sampled'"),
    ):
        with pytest.raises(UserError, match=words):
            VectorKVAE((1, D, 1), **({"standardise": STANDARDISE} | changes))


@pytest.mark.slow
def test_learns_which_entries_say_much():
    """A point on a circle, seen through x, y and xy, with a third of the entries missing."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, (100, 1)) + 0.5 * np.arange(12)
    truth = np.stack([np.cos(phase), np.sin(phase), np.cos(phase) * np.sin(phase)], axis=-1)
    truth = (truth + 0.05 * rng.normal(size=truth.shape)).astype(np.float32)
    hidden = rng.random(truth.shape) < 0.33
    train = from_vectors(np.where(hidden, np.nan, truth))
    model = VectorKVAE(
        (1, 3, 1), units=(32,), latent_size=3, num_modes=1, dynamics_network="constant",
        learn_noise=True, learn_initial=True, standardise=[[0.0] * 3, [0.7, 0.7, 0.35]],
        jit_engine=True,
    )  # fmt: skip
    model.compile(tf.keras.optimizers.Adam(0.01))
    batches = data.training_batches(train, 50, seed=0)
    model.fit(batches, steps_per_epoch=500, verbose=0)
    answer = tf.function(model.impute, autograph=False)(train.frames, train.observed)
    frames, stds = (value.numpy()[:, :, 0, :, 0] for value in (answer.frames, answer.stds))
    error = np.abs(frames - truth)
    assert np.sqrt(np.square(error[hidden]).mean()) < 0.08  # the noise is 0.05
    assert 0.85 < (error < 1.6449 * stds)[hidden].mean() < 0.97
    # Rows of which less is seen are less sure.
    gone = hidden.sum(-1)
    sure = answer.encoding_stds.numpy().mean(-1)
    assert sure[gone == 0].mean() < sure[gone == 1].mean() < sure[gone == 2].mean()
