"""AE-RNN and VAE-RNN: their bounds, queries and two phases of training, on tiny models."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from kvae_tf import data, evaluation
from kvae_tf.data.worlds import pendulum
from kvae_tf.errors import UserError
from kvae_tf.evaluation import Gap
from kvae_tf.models import FrameRNN

SHAPE = (8, 8, 1)
B, T, U, M, UNITS = 3, 6, 2, 2, 5
FRAMES = np.random.default_rng(0).random((B, T, *SHAPE), np.float32)
CONTROLS = np.random.default_rng(1).normal(size=(B, T, U)).astype(np.float32)
OBSERVED = np.array([[1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1]], np.float32)
BATCH = {"frames": FRAMES, "controls": CONTROLS, "observed": OBSERVED}
PAIR = tf.constant([0, 7], tf.int64)


def new(**options):
    keras.utils.set_random_seed(0)
    settings = {"control_size": U, "units": (16,), "encoding_size": M, "dynamics_units": UNITS}
    model = FrameRNN(SHAPE, **(settings | options))
    model.build()
    model.start_mean.assign([0.3, -0.2])
    model.start_log_std.assign([0.1, -0.3])
    model.log_std.assign([-1.0, -0.5])
    return model


def unrolled(model, a):
    """Encodings with predictions where frames are missing, and the predictions, step by step."""
    state = [tf.zeros([B, UNITS])] * 2
    predicted = np.broadcast_to(model.start_mean.numpy(), (B, M))
    filled, predictions = [], []
    for t in range(T):
        encoding = np.where(OBSERVED[:, t, None] > 0, a[:, t], predicted)
        filled.append(encoding)
        predictions.append(predicted)
        output, state = model.cell(np.concatenate([encoding, CONTROLS[:, t]], 1), state)
        predicted = model.head(output).numpy()
    return np.stack(filled, 1), np.stack(predictions, 1)


@pytest.mark.parametrize("variational", [True, False])
def test_bound_term_by_term(variational):
    model = new(variational=variational)
    bound = model.elbo(BATCH, PAIR)
    blanked = FRAMES * OBSERVED[..., None, None, None]
    mean, std = (x.numpy().astype(np.float64) for x in model.encode(blanked))
    noise = tf.random.stateless_normal(mean.shape, PAIR).numpy() if variational else 0.0
    a = mean + std * noise
    _, predicted = unrolled(model, a.astype(np.float32))
    stds = np.exp(np.stack([[0.1, -0.3]] + [[-1.0, -0.5]] * (T - 1)))
    other = (OBSERVED * stats.norm(predicted, stds).logpdf(a).sum(-1)).sum(1)
    if variational:
        other -= (OBSERVED * stats.norm(mean, std).logpdf(a).sum(-1)).sum(1)
    p = special.expit(model.decoder(a.astype(np.float32)).numpy().astype(np.float64))
    log_x = (FRAMES * np.log(p) + (1 - FRAMES) * np.log1p(-p)).sum((2, 3, 4))
    name = "regularisation" if variational else "prediction"
    np.testing.assert_allclose(bound.terms[name], other, rtol=1e-4)
    np.testing.assert_allclose(bound.terms["reconstruction"], (OBSERVED * log_x).sum(1), rtol=1e-4)
    np.testing.assert_allclose(bound.elbo, sum(bound.terms.values()), rtol=1e-6)
    assert tuple(bound.terms) == model.term_names
    np.testing.assert_array_equal(bound.num_frames, OBSERVED.sum(1))


def test_imputation_feeds_back_predictions():
    model = new()
    result = model.impute(np.where(OBSERVED[..., None, None, None] > 0, FRAMES, np.nan),
                          OBSERVED, CONTROLS)  # fmt: skip
    mean = model.encode(FRAMES).mean.numpy()
    filled, _ = unrolled(model, mean)
    np.testing.assert_allclose(result.encodings, filled, atol=1e-5)
    np.testing.assert_allclose(result.frames, model.decode(filled), atol=1e-5)
    missing = OBSERVED == 0
    np.testing.assert_allclose(result.encoding_stds.numpy()[1], model.encode(FRAMES).std[1])
    np.testing.assert_allclose(
        result.encoding_stds.numpy()[:, 1:][missing[:, 1:]],
        np.broadcast_to(np.exp([-1.0, -0.5]), (missing[:, 1:].sum(), M)),
        rtol=1e-6,
    )


def test_no_smoothing():
    model = new()
    assert model.supports == {"encode", "decode", "impute", "forecast", "generate", "score"}
    with pytest.raises(UserError, match="'smooth', expected one of filter"):
        model.impute(FRAMES, OBSERVED, CONTROLS, method="smooth")
    with pytest.raises(UserError, match="FrameRNN does not smooth"):
        model.smooth(FRAMES)


def test_a_plain_autoencoder_has_no_noise_and_no_bound():
    model = new(variational=False)
    np.testing.assert_array_equal(model.encode(FRAMES).std, 0.0)
    assert model.bound_name == "joint_log_density"
    one, two = (model.elbo(BATCH, tf.constant([0, s], tf.int64)).elbo for s in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_scores_are_the_terms_of_the_joint_density():
    """At the encodings themselves, which a plain auto-encoder's terms are taken at."""
    model = new(variational=False)
    for mask in (None, OBSERVED):
        found = model.score(FRAMES, mask, CONTROLS)
        batch = BATCH | {"observed": np.ones((B, T), np.float32) if mask is None else mask}
        bound = model.elbo(batch, tf.constant([0, 1], tf.int64))
        for part, term in (("encoding", "prediction"), ("reconstruction", "reconstruction")):
            total = tf.reduce_sum(getattr(found, f"{part}_scores"), axis=1)
            np.testing.assert_allclose(total, bound.terms[term], rtol=1e-5, atol=1e-4)
        if mask is not None:
            np.testing.assert_array_equal(found.scores.numpy()[mask == 0], 0.0)


def test_forecast_goes_on_from_the_context():
    model = new(control_size=0)
    ahead = model.forecast(FRAMES, num_steps=4)
    longer = np.concatenate([FRAMES, np.zeros((B, 4, *SHAPE), np.float32)], 1)
    mask = np.concatenate([np.ones((B, T)), np.zeros((B, 4))], 1).astype(np.float32)
    whole = model.impute(longer, mask)
    np.testing.assert_allclose(ahead.frames, whole.frames[:, T:], atol=1e-6)


def test_generated_sequences_follow_the_model():
    model = new(control_size=0)
    drawn = model.generate(2000, 3, seed=5)
    assert drawn.frames.shape == (2000, 3, *SHAPE)
    a = drawn.encodings.numpy()
    np.testing.assert_allclose(a[:, 0].mean(0), [0.3, -0.2], atol=0.1)
    np.testing.assert_allclose(a[:, 0].std(0), np.exp([0.1, -0.3]), rtol=0.1)
    _, predicted, _ = model._run(a, None, tf.zeros([2000, 3, 0]))
    np.testing.assert_allclose(
        (a - predicted.numpy())[:, 1:].std((0, 1)), np.exp([-1.0, -0.5]), rtol=0.1
    )
    one, same, other = (model.generate(2, 3, seed=seed).frames for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0


@pytest.mark.parametrize(
    ("variational", "jit_engine"),
    [
        (True, True),
        pytest.param(True, False, marks=pytest.mark.slow),
        (False, False),
        pytest.param(False, True, marks=pytest.mark.slow),
    ],
)
def test_the_autoencoder_is_trained_first_and_then_rests(variational, jit_engine):
    model = new(variational=variational, pretraining_updates=2, jit_engine=jit_engine)
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    step = tf.function(model.train_step, autograph=False)

    def moved(count):
        before = [variable.numpy() for variable in model.trainable_variables]
        for _ in range(count):
            logs = step(BATCH)
        assert all(np.isfinite(value) for value in logs.values())
        after = [variable.numpy() for variable in model.trainable_variables]
        return {
            variable.path
            for variable, old, new in zip(model.trainable_variables, before, after, strict=True)
            if np.any(old != new)
        }

    first, second = moved(2), moved(2)
    assert first
    assert second
    assert all("encoder" in path or "decoder" in path for path in first)
    assert not any("encoder" in path or "decoder" in path for path in second)
    assert any("cell" in path for path in second)


def test_a_plain_autoencoder_begins_with_noise_and_a_low_weight():
    model = new(variational=False, reconstruction_weight=0.01, weight_updates=10)
    other = new(variational=True)
    model.compile(optimizer=keras.optimizers.Adam())
    start, end = [], []
    for updates, found in ((0, start), (5, []), (10, end), (20, end)):
        model.optimizer.iterations.assign(updates)
        bound = model.autoencoder_bound(BATCH, PAIR)
        found.append(bound)
        weight = 0.01 ** (1.0 - min(updates / 10, 1.0))
        terms = bound.terms["prediction"] + weight * bound.terms["reconstruction"]
        loss = -np.mean(terms / bound.num_frames)
        np.testing.assert_allclose(model.loss_of(bound), loss, rtol=1e-5)
    variational = other.autoencoder_bound(BATCH, PAIR)
    np.testing.assert_allclose(start[0].elbo, variational.elbo, rtol=1e-5)
    for bound in end:
        np.testing.assert_array_equal(bound.terms["prediction"], 0.0)
        own = OBSERVED * model.likelihood.log_prob(model.decoder(model.encode(FRAMES).mean), FRAMES)
        np.testing.assert_allclose(bound.elbo, own.numpy().sum(1), rtol=1e-4)


def test_estimates_from_some_frames_are_unbiased():
    model = new(decoded_frames=2, variational=False)
    full = model.elbo(BATCH, PAIR).terms["reconstruction"].numpy()
    bound = tf.function(
        lambda seed: model.autoencoder_bound(BATCH, seed).terms["reconstruction"], autograph=False
    )
    some = [bound(tf.constant([0, s], tf.int64)).numpy() for s in range(400)]
    error = np.std(some, axis=0) / 20
    assert error.max() > 0
    assert (np.abs(np.mean(some, axis=0) - full) < 5 * error + 1e-3).all()


@pytest.mark.slow
def test_short_training_predicts_better_than_standing_still():
    train = pendulum.simulate(300, 15, seed=0)
    keras.utils.set_random_seed(0)
    model = FrameRNN(
        train.frame_shape,
        control_size=1,
        variational=False,
        units=(64,),
        dynamics_units=32,
        likelihood="gaussian",
        pretraining_updates=800,
        jit_engine=True,
    )
    model.build()
    optimizer = keras.optimizers.Adam(0.003)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    batches = data.training_batches(train, 32, seed=0).map(
        lambda batch: {name: value for name, value in batch.items() if name != "observed"}
    )
    model.fit(batches, steps_per_epoch=1800, epochs=1, verbose=0, shuffle=False)
    test = pendulum.simulate(100, 15, seed=1)
    errors = evaluation.imputation(model, test, Gap(7, 9))
    assert "imputation/smooth_rmse" not in errors
    assert errors["imputation/filter_rmse"] < 0.6 * errors["imputation/last_frame_rmse"]
