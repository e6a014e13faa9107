"""A KVAE of vectors, in which partly seen rows count partly."""

import numpy as np
import pytest
import tensorflow as tf
from vector_models import (
    BATCH,
    CONTROLS,
    MISSING,
    STANDARDISE,
    VECTORS,
    D,
    check_gradients,
    check_row_at_a_time,
    exact,
    vector,
)

from kvae_tf import data
from kvae_tf.data import from_vectors
from kvae_tf.errors import UserError
from kvae_tf.export.loading import LoadedModel
from kvae_tf.export.saved_model import export
from kvae_tf.layers import Encoding
from kvae_tf.models.kvae import VectorKVAE


class Transparent(VectorKVAE):
    """Decodes standardised entries as they are, and has the potentials of that decoder."""

    def _encode(self, frames):
        x = (frames[..., 0, :, 0] - STANDARDISE[0]) / STANDARDISE[1]
        there = ~tf.math.is_nan(x)
        variance = tf.where(there, self.likelihood.variance[0, :, 0], 1e8)
        return Encoding(tf.where(there, x, 0.0), tf.sqrt(variance))


def test_bound_is_exact_for_a_linear_gaussian_decoder():
    """Then the potentials are the likelihood, q is the posterior, and the bound log p(x)."""
    model, values = vector()
    model.__class__ = Transparent
    model.decoder = lambda a: a[..., tf.newaxis, :, tf.newaxis]
    elbo = tf.function(lambda seed: model.elbo(BATCH, seed).elbo, autograph=False)
    # A potential of variance 1e8 is log psi = -10.1 for each missing entry of a seen row, and log Z
    # has the same.
    found = np.array([elbo(tf.constant([0, i], tf.int64)) for i in range(400)])
    noise = values.emission_noise + model.likelihood.variance[0, :, 0]
    expected = exact(values._replace(emission_noise=noise), model.mixture.control[0].numpy())
    standard_error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - expected.log_likelihood) < 4 * standard_error).all()
    assert (standard_error < 0.25).all()
    # So are scores: the posterior of a linear model is as wide everywhere.
    scores = tf.reduce_sum(model.score(VECTORS, None, CONTROLS).scores, axis=1)
    np.testing.assert_allclose(scores, expected.log_likelihood, rtol=1e-3, atol=1e-2)
    answer = model.impute(VECTORS, None, CONTROLS)
    frames, stds = (value.numpy()[:, :, 0, :, 0] for value in (answer.frames, answer.stds))
    np.testing.assert_allclose(frames, expected.means, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(stds, expected.stds, rtol=0.2)  # of 64 draws
    np.testing.assert_array_equal(frames[~MISSING], VECTORS[~MISSING])
    np.testing.assert_array_equal(stds[~MISSING], 0.0)


@pytest.mark.parametrize(("num_modes", "kind"), [(1, "constant"), (2, "lstm")])
def test_a_row_at_a_time_is_the_filter(num_modes, kind):
    check_row_at_a_time(vector(num_modes, kind)[0])


def test_what_an_entry_says_reaches_other_rows():
    model, _ = vector()
    other = VECTORS.copy()
    assert np.isfinite(other[1, 0, 0])
    other[1, 0, 0] += 5.0
    one, two = (
        model.impute(x, None, CONTROLS).frames.numpy()[1, :, 0, :, 0] for x in (VECTORS, other)
    )
    gone = MISSING[1].copy()
    gone[0] = False
    assert np.abs(one - two)[gone].max() > 1e-5  # little of an untrained model, but not nothing


def test_gradients_are_finite_and_reach_every_variable():
    check_gradients(vector(2, "lstm", learn_noise=True, learn_initial=True)[0])


def test_the_phases_of_a_training_return_the_same_structure():
    model, _ = vector(settling_start=1, finishing_start=2)
    first, *others = (phase.bound(BATCH, 0) for phase in model.phases)
    assert len(others) == 2
    for bound in others:
        tf.nest.assert_same_structure(first, bound)
        assert np.isfinite(bound.elbo).all()


@pytest.mark.slow
def test_an_export_answers_the_same(tmp_path):
    model, _ = vector()
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
