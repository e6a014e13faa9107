"""A KVAE whose modes are weighted by the filtered state: paths, linear features, own updates."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.data import SequenceData
from kvae_tf.data.worlds import bouncing_ball
from kvae_tf.errors import UserError
from kvae_tf.evaluation.positions import fit_affine
from kvae_tf.experiments import presets
from kvae_tf.layers import FrameDecoder, FrameEncoder
from kvae_tf.models.kvae import paths as path_mean
from kvae_tf.models.kvae.dynamics_training import DynamicsTraining
from kvae_tf.models.kvae.initialisation import initialise_dynamics, initialise_frames
from kvae_tf.models.kvae.model import KVAE

SIZE, T = 8, 10


def new(seed=0, **changes):
    keras.utils.set_random_seed(seed)
    options = {
        "units": (16,),
        "num_modes": 3,
        "dynamics_network": "state",
        "dynamics_units": 8,
        "affine_modes": True,
        "mode_noise": True,
        "shared_emission": True,
        "learn_noise": True,
        "learn_initial": True,
        "linear_encoder": True,
        "decoder_features": 4,
        "objective": "constrained",
        "pretraining_updates": 1,
    }
    model = KVAE((SIZE, SIZE, 1), seed=seed, **(options | changes))
    model.build()
    return model


def started(data, **changes):
    """A new model with linear features and dynamics of constant velocity."""
    model = new(**changes)
    initialise_frames(model, data)
    initialise_dynamics(model, data, 1.0, 0)
    return model


@pytest.fixture(scope="module")
def bouncing():
    """Grey blobs that fly straight on between walls: their centre is a linear feature."""
    rng = np.random.default_rng(0)
    x, v = rng.uniform(2, 6, (100, 2)), rng.uniform(-0.8, 0.8, (100, 2))
    states = []
    for _ in range(T):
        states.append(x)
        x = x + v
        v = np.where((x < 1.5) & (v < 0) | (x > 6.5) & (v > 0), -v, v)
    states = np.stack(states, axis=1)
    shade = np.exp(-0.5 * (np.arange(SIZE) + 0.5 - states[..., None]) ** 2)
    frames = shade[:, :, 1, :, None] * shade[:, :, 0, None, :]
    data = SequenceData.from_arrays(frames[..., None].astype(np.float32))
    return data, states


def hidden(rate=0.5, count=6):
    observed = (np.random.default_rng(1).random((count, T)) > rate).astype(np.float32)
    observed[:, :3] = 1.0
    return observed


def test_an_encoder_starts_at_linear_features(bouncing):
    data, states = bouncing
    model = new()
    initialise_frames(model, data)
    q = model.encode(data.frames)
    a, x = np.asarray(q.mean).reshape(-1, 2), states.reshape(-1, 2)
    ones = np.ones((len(a), 1))
    rest = x - np.hstack([a, ones]) @ np.linalg.lstsq(np.hstack([a, ones]), x, rcond=None)[0]
    assert (rest.std(axis=0) < 0.2 * x.std(axis=0)).all()
    np.testing.assert_allclose(a.std(axis=0), 1.0, atol=0.01)
    np.testing.assert_allclose(q.std, 0.03, rtol=1e-3)
    # The network goes on from there: it learns, too.
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model.encode(data.frames[:2]).mean))
    assert tf.linalg.global_norm(tape.gradient(loss, model.encoder.trunk[0].variables)) == 0.0
    encoder = FrameEncoder("mlp", 2, (4,), linear=True)
    encoder.build((None, SIZE, SIZE, 1))
    again = FrameEncoder.from_config(encoder.get_config())
    assert again.linear is not None


def test_bounces_hardly_count_at_the_start():
    """Of balls on whole pixels; the rest would be .29 if features were straight."""
    train = bouncing_ball.simulate("box", 500, 20, 0)
    x = train.states[..., :2].reshape(-1, 2)

    def rest(bounces):
        model = KVAE(train.frame_shape, units=(8,), linear_encoder=True, objective="constrained",
                     pretraining_updates=1)  # fmt: skip
        model.build()
        initialise_frames(model, train, bounces)
        a = np.asarray(model.encode(train.unit_frames).mean).reshape(-1, 2)
        return np.sqrt(np.square(fit_affine(a, x)(a) - x).mean())

    assert rest(True) < 0.6
    assert rest(False) > 0.8


def test_features_make_edges():
    """A pixel that lights up within .05 of an encoding is learned with Fourier features only."""
    a = np.random.default_rng(0).uniform(-1.5, 1.5, (512, 1)).astype(np.float32)
    lit = np.repeat((np.floor(a / 0.3) % 2)[:, None, :, None], 32, axis=2).astype(np.float32)

    def error(features):
        keras.utils.set_random_seed(0)
        decoder = FrameDecoder("mlp", (1, 32, 1), (32,), features=features)
        decoder.build((None, 1))
        optimizer = keras.optimizers.Adam(0.02)
        variables = decoder.trainable_variables
        optimizer.build(variables)

        @tf.function(autograph=False)
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(
                    tf.nn.sigmoid_cross_entropy_with_logits(labels=lit, logits=decoder(a))
                )
            optimizer.apply(tape.gradient(loss, variables), variables)

        for _ in range(100):
            step()
        return np.mean((decoder(a).numpy() > 0) != lit)

    assert error(16) < 0.5 * error(0)


@pytest.mark.parametrize("method", ["smooth", "filter"])
def test_paths_of_a_linear_model_are_one(bouncing, method):
    """With one mode all paths are the same, and the answer is that without paths."""
    data, _ = bouncing
    one, several = started(data, num_modes=1), started(data, num_modes=1, paths=5)
    observed = hidden()
    given = data.frames[:6] * observed[..., None, None, None]
    expected, found = (m.impute(given, observed, method=method) for m in (one, several))
    for name in ("frames", "encodings", "encoding_stds", "latents", "mode_weights"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-3, atol=2e-4, err_msg=name
        )


def test_paths_do_not_depend_on_the_batch(bouncing):
    data, _ = bouncing
    model = scattered(data, paths=6)
    observed = hidden()
    given = data.frames[:6] * observed[..., None, None, None]
    whole = model.impute(given, observed)
    part = model.impute(given[2:4], observed[2:4])
    np.testing.assert_allclose(part.encodings, whole.encodings[2:4], atol=1e-5)
    mean = model.impute(given, observed).encodings - new_mean(model, given, observed)
    assert np.abs(mean).max() > 1e-3  # several paths differ from the mean's
    np.testing.assert_allclose(np.sum(whole.mode_weights, -1), 1.0, atol=1e-5)
    seen = observed > 0
    np.testing.assert_allclose(
        np.asarray(whole.encodings)[seen], np.asarray(model.encode(given).mean)[seen], atol=1e-6
    )


def scattered(data, **changes):
    """A model whose paths part, and whose frames change with encodings."""
    model = started(data, **changes)
    for variable in (*model.network.trainable_variables, *model.decoder.trainable_variables):
        variable.assign(2.0 * np.random.default_rng(2).normal(size=variable.shape))
    return model


def test_each_path_is_decoded_as_often_as_its_share_says(bouncing):
    data, _ = bouncing
    model = started(data, paths=5, decoded_paths=400)
    rng = np.random.default_rng(3)
    a = rng.normal(size=(2, 5, 3, 2)).astype(np.float32)
    shares = rng.dirichlet(np.full(5, 0.5), (2, 3)).transpose(0, 2, 1).astype(np.float32)
    of_frames = path_mean._with_means
    found = of_frames(model, tf.zeros([2, 3, *model.frame_shape]), a, shares, tf.zeros([2, 3]))
    expected = np.einsum("bst,bst...->bt...", shares, model.decode(a))
    assert np.ptp(model.decode(a), axis=1).max() > 0.3
    np.testing.assert_allclose(found, expected, atol=5 / 400)


def test_decoded_paths_are_spread_evenly(bouncing):
    """The error of n of them is at most the total variation along the paths over 2 n."""
    data, _ = bouncing
    number, S = 16, 64
    model = started(data, paths=S, decoded_paths=number)
    rng = np.random.default_rng(5)
    a = np.zeros((1, S, 1, 2), np.float32)
    a[0, :, 0, 1] = 3.0 * rng.normal(size=S)  # in any order, and in one coordinate
    shares = rng.dirichlet(np.full(S, 0.5)).reshape(1, S, 1).astype(np.float32)
    frames = model.decode(a).numpy()
    variation = np.abs(np.diff(frames[0, a[0, :, 0, 1].argsort()], axis=0)).sum(0)
    nothing = tf.zeros([1, 1, *model.frame_shape])
    found = path_mean._with_means(model, nothing, a, shares, tf.zeros([1, 1]))
    expected = np.einsum("bst,bst...->bt...", shares, frames)
    assert variation.max() > 0.3
    assert (np.abs(found - expected)[0] <= variation / (2 * number) + 1e-5).all()
    # Some of the paths as they came are not so good.
    some = frames[0, :number].mean(0)
    assert (np.abs(some - expected[0]) > variation / (2 * number)).any()


@pytest.mark.parametrize("method", ["filter", pytest.param("smooth", marks=pytest.mark.slow)])
def test_decoded_paths_change_frames_alone(bouncing, method):
    data, _ = bouncing
    observed = hidden()
    given = data.frames[:6] * observed[..., None, None, None]
    before, found = (
        scattered(data, paths=6, decoded_paths=number).impute(given, observed, method=method)
        for number in (0, 20)
    )
    for name in ("encodings", "encoding_stds", "latents", "mode_weights"):
        np.testing.assert_allclose(getattr(found, name), getattr(before, name), atol=1e-5)
    differs = np.abs(np.asarray(found.frames) - before.frames).max(axis=(2, 3, 4))
    assert differs[observed == 0].max() > 1e-3
    assert differs[observed > 0].max() < 1e-5


def test_a_forecast_follows_one_path(bouncing):
    data, _ = bouncing
    model = started(data, paths=6)
    several = model.forecast(data.frames[:3], num_steps=4)
    model.paths = 1
    one = model.forecast(data.frames[:3], num_steps=4)
    np.testing.assert_allclose(several.encodings, one.encodings, atol=1e-6)


def new_mean(model, given, observed):
    """Imputed encodings by the mean path alone."""
    paths, model.paths = model.paths, 1
    try:
        return model.impute(given, observed).encodings
    finally:
        model.paths = paths


@pytest.mark.slow
def test_updates_of_the_dynamics_alone(bouncing):
    data, _ = bouncing
    model = started(data)
    a = model.encode(data.frames).mean

    def log_prob():
        found = model.encodings_log_prob(a, None, data.controls, lgssm.as_sampler(0))
        return float(np.mean(found))

    frozen = [v.numpy() for v in (*model.encoder.variables, *model.decoder.variables)]
    before = log_prob()
    callback = DynamicsTraining(data, start=2, stop=4, updates=60, seed=0)
    callback.set_model(model)
    callback.on_epoch_begin(1)
    assert log_prob() == before
    callback.on_epoch_begin(2)
    assert log_prob() > before + 1.0
    for old, variable in zip(
        frozen, (*model.encoder.variables, *model.decoder.variables), strict=True
    ):
        np.testing.assert_array_equal(old, variable)
    # A training that goes on from the weights does the same updates.
    kept = [v.numpy() for v in model.dynamics_variables]
    callback.on_epoch_begin(3)
    expected = [v.numpy() for v in model.dynamics_variables]
    for variable, value in zip(model.dynamics_variables, kept, strict=True):
        variable.assign(value)
    resumed = DynamicsTraining(data, start=2, stop=4, updates=60, seed=0)
    resumed.set_model(model)
    resumed.on_epoch_begin(3)
    for variable, value in zip(model.dynamics_variables, expected, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_the_bound_of_paths(bouncing):
    data, _ = bouncing
    one, model = started(data, num_modes=1, training_paths=4), started(data, training_paths=4)
    a, sampler = one.encode(data.frames[:6]).mean, lgssm.as_sampler(3)
    observed = hidden()
    # With one mode all paths are the same.
    np.testing.assert_allclose(
        one.paths_log_prob(a, observed, data.controls[:6], sampler),
        one.encodings_log_prob(a, observed, data.controls[:6], sampler),
        rtol=1e-5,
    )
    for variable in model.network.trainable_variables:
        variable.assign(2.0 * np.random.default_rng(2).normal(size=variable.shape))
    found = model.paths_log_prob(a, observed, data.controls[:6], sampler)
    mean = model.encodings_log_prob(a, observed, data.controls[:6], sampler)
    # Of the mean over 4 paths, the filtered mean's is one.
    assert np.all(found >= mean - np.log(4.0) - 1e-3)
    assert np.abs(found - mean).max() > 1e-2
    # One path alone is that of the filtered means.
    model.training_paths = 1
    np.testing.assert_allclose(
        model.paths_log_prob(a, observed, data.controls[:6], sampler), mean, rtol=1e-5
    )


@pytest.mark.slow
def test_updates_along_paths(bouncing):
    data, _ = bouncing
    model = started(data, training_paths=3)
    a = model.encode(data.frames).mean

    def log_prob():
        found = model.paths_log_prob(a, None, data.controls, lgssm.as_sampler(0))
        return float(np.mean(found))

    before = log_prob()
    callback = DynamicsTraining(data, start=0, stop=1, updates=60, seed=0, along_paths=True)
    callback.set_model(model)
    callback.on_epoch_begin(0)
    assert log_prob() > before + 1.0


def test_paths_need_states():
    with pytest.raises(UserError, match="paths is 3, expected 1 with the dynamics network lstm"):
        new(paths=3, dynamics_network="lstm")
    with pytest.raises(UserError, match="training_paths is 2, expected 1 with the dynamics net"):
        new(training_paths=2, dynamics_network="gru")
    with pytest.raises(UserError, match="decoded_paths is 8, expected 0 with one path"):
        new(decoded_paths=8)
    with pytest.raises(UserError, match="paths is 3, expected 1 for vectors"):
        new(paths=3, standardise=[[0.0] * SIZE] * 2)


@pytest.mark.parametrize(("changes", "words"), [
    ({"settling_epochs": 0}, "--dynamics_updates is 4000, expected 0, or --settling_epochs of 1"),
    ({"finishing_epochs": 0}, "--path_updates is 1500, expected 0, or --finishing_epochs of 1"),
    ({"linear_encoder": False}, "--linear_bounces is set, expected --linear_encoder, whose start"),
    ({"paths": 1, "decoded_paths": 4}, "--decoded_paths is 4, expected 0, or --paths of 2"),
])  # fmt: skip
def test_settings_that_would_do_nothing(changes, words):
    with pytest.raises(UserError, match=words):
        presets.settings("box_state", **changes)
