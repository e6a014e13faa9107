"""DVBF and DKF: the bound, who hears whom, the queries, and a training that learns."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.data.worlds import pendulum
from kvae_tf.errors import UserError
from kvae_tf.models import DKF, DVBF
from kvae_tf.models.dvbf.spec import DVBFSettings
from kvae_tf.models.nonlinear import Start, gaussian_draw

SHAPE = (6, 5, 1)
B, T, U, N = 3, 8, 2, 3
SYSTEMS = {
    "dvbf": (DVBF, {"num_modes": 4}),
    "dvbf_smooth": (DVBF, {"num_modes": 4, "recognition": "smooth", "initial_network": "mlp"}),
    "dvbf_gated": (DVBF, {"transition": "gated", "likelihood": "bernoulli"}),
    "dvbf_point": (DVBF, {"bayesian_weights": False, "residual_transition": False}),
    "dvbf_second_order": (DVBF, {"emission_size": 2, "second_order": True, "mixer_units": 5}),
    "dvbf_cnn": (DVBF, {"network": "cnn", "units": (4, 4)}),
    "dkf": (DKF, {"transition_units": 8}),
    "dkf_bidirectional": (DKF, {"transition_units": 8, "inference": "bidirectional"}),
}
SMOOTHERS = ["dvbf_smooth", "dkf", "dkf_bidirectional"]
OBSERVED = np.array([[1, 1, 1, 0, 1, 0, 1, 1], [1] * T, [1, 0, 1, 1, 0, 0, 0, 0]], np.float32)


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


FRAMES = uniform(B, T, *SHAPE)
CONTROLS = 2 * uniform(B, T, U, seed=1) - 1
BATCH = {"frames": FRAMES, "controls": CONTROLS}


def pair(seed):
    return tf.constant([seed, 7], tf.int64)


def new(name, **options):
    keras.utils.set_random_seed(0)
    system, own = SYSTEMS[name]
    settings = {"control_size": U, "units": (12,), "latent_size": N, "dynamics_units": 6}
    model = system(SHAPE, **(settings | own | options))
    model.build()
    return model


@functools.cache
def shared(name):
    return new(name)


# Each differs from another one in an option or two.
RARE = ("dvbf_point", "dvbf_cnn", "dvbf_smooth", "dvbf_gated", "dkf_bidirectional")


@pytest.fixture(
    params=[pytest.param(s, marks=pytest.mark.slow if s in RARE else []) for s in SYSTEMS]
)
def name(request):
    return request.param


def test_draws_have_the_moments_that_the_bound_takes():
    rng = np.random.default_rng(0)
    mean, log_std, prior_mean, prior_log_std = rng.normal(size=(4, 1, N)).astype(np.float32) * 0.5
    noise = rng.normal(size=(200_000, N)).astype(np.float32)
    draw = gaussian_draw(mean, log_std, noise, prior_mean, prior_log_std)

    def log_normal(x, mean, log_std):
        return np.sum(
            -0.5 * ((x - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi), -1
        )

    value = draw.value.numpy().astype(np.float64)
    expected = log_normal(value, prior_mean, prior_log_std).mean()
    np.testing.assert_allclose(draw.prior[0], expected, rtol=1e-2)
    np.testing.assert_allclose(
        draw.entropy[0], -log_normal(value, mean, log_std).mean(), rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize("observed", [None, OBSERVED], ids=["seen", "gapped"])
def test_bound_is_the_sum_of_its_terms_and_moves_every_variable(name, observed):
    model = new(name)
    batch = BATCH if observed is None else BATCH | {"observed": observed}
    with tf.GradientTape() as tape:
        bound = model.training_bound(batch, pair(0))
        loss = model.loss_of(bound)
    assert set(bound.terms) == set(model.term_names)
    np.testing.assert_allclose(sum(bound.terms.values()), bound.elbo, rtol=1e-5)
    np.testing.assert_allclose(bound.annealed, bound.elbo, rtol=1e-4)
    counts = [T] * B if observed is None else observed.sum(1)
    np.testing.assert_array_equal(bound.num_frames, counts)
    assert np.all(bound.terms["regularisation"] < 0)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path


def test_hidden_frames_reach_nothing(name):
    model = shared(name)
    spoilt = np.where(OBSERVED[..., None, None, None] > 0, FRAMES, np.nan)
    for frames in (FRAMES, spoilt):
        result = model.elbo({"frames": frames, "observed": OBSERVED, "controls": CONTROLS}, pair(0))
        filled = model.impute(frames, OBSERVED, CONTROLS)
        if frames is FRAMES:
            first, first_filled = result, filled
    np.testing.assert_allclose(result.elbo, first.elbo, rtol=1e-5)
    np.testing.assert_allclose(filled.frames, first_filled.frames, rtol=1e-5)


def test_a_filter_does_not_hear_the_future(name):
    model = shared(name)
    other = FRAMES.copy()
    other[:, 6:] = uniform(B, 2, *SHAPE, seed=9)
    one, two = (model.filter(frames, None, CONTROLS) for frames in (FRAMES, other))
    known = slice(4, 6)  # the initial network reads five frames
    np.testing.assert_allclose(one.means[:, known], two.means[:, known], atol=1e-5)
    np.testing.assert_allclose(one.covariances[:, known], two.covariances[:, known], atol=1e-5)
    assert not np.allclose(one.means[:, 6:], two.means[:, 6:], atol=1e-5)


@pytest.mark.parametrize("name", SMOOTHERS)
def test_a_smoother_does(name):
    model = shared(name)
    other = FRAMES.copy()
    other[:, -1] = uniform(B, *SHAPE, seed=9)
    mask = np.ones((B, T), np.float32)
    mask[:, 5:7] = 0.0
    one, two = (model.smooth(frames, mask, CONTROLS).means for frames in (FRAMES, other))
    assert not np.allclose(one[:, 5:7], two[:, 5:7], atol=1e-6)
    assert model.imputation_methods == ("smooth", "filter")


@pytest.mark.parametrize("name", ["dvbf", "dvbf_gated"])
def test_what_a_filter_cannot_do(name):
    model = shared(name)
    assert "smooth" not in model.supports
    with pytest.raises(UserError, match="does not smooth with recognition='filter'"):
        model.smooth(FRAMES, None, CONTROLS)
    with pytest.raises(UserError, match="method is 'smooth', expected one of filter"):
        model.impute(FRAMES, None, CONTROLS, method="smooth")
    with pytest.raises(UserError, match="does not encode"):
        model.encode(FRAMES)


def test_the_end_of_a_filter_is_the_end_of_a_smoother():
    model = shared("dkf")
    one, two = (query(FRAMES, None, CONTROLS) for query in (model.filter, model.smooth))
    assert not np.allclose(one.means[:, :-1], two.means[:, :-1], atol=1e-3)
    filled = [model.impute(FRAMES, None, CONTROLS, method=m).latents for m in ("smooth", "filter")]
    np.testing.assert_allclose(filled[0][:, -1], filled[1][:, -1], atol=1e-5)


@pytest.mark.parametrize("name", ["dvbf", "dvbf_gated", "dvbf_point"])
def test_missing_frames_cost_nothing_and_follow_the_transition(name):
    model = shared(name)
    mask = np.ones((B, T), np.float32)
    mask[:, 5:] = 0.0
    z = model.impute(FRAMES, mask, CONTROLS).latents
    v = model._parameters(None)
    for t in range(4, T - 1):
        following = model.transition(z[:, t], CONTROLS[:, t], tf.zeros([B, N]), v)
        np.testing.assert_allclose(z[:, t + 1], following, atol=1e-5)
    ahead = model.forecast(FRAMES[:, :5], None, CONTROLS, num_steps=3)
    np.testing.assert_allclose(ahead.latents, z[:, 5:], atol=1e-5)
    short, long = (
        model.elbo({"frames": FRAMES[:, :k], "observed": mask[:, :k], "controls": CONTROLS[:, :k]},
                   pair(0)).terms["regularisation"]
        for k in (5, T)
    )  # fmt: skip
    # The same noises are drawn for the steps that both have only in expectation.
    assert abs(float(tf.reduce_mean(short - long))) < 0.5


def test_a_control_acts_from_its_step_to_the_next(name):
    model = shared(name)
    pushed = np.zeros((2, T, U), np.float32)
    pushed[:, 3] = 5.0
    rest = model.generate(2, T, np.zeros((2, T, U), np.float32), seed=3).latents.numpy()
    moved = model.generate(2, T, pushed, seed=3).latents.numpy()
    np.testing.assert_array_equal(rest[:, :4], moved[:, :4])
    assert not np.allclose(rest[:, 4], moved[:, 4])


def test_shapes_and_seeds_of_the_queries(name):
    model = shared(name)
    drawn = model.generate(4, 7, seed=1)
    assert drawn.frames.shape == (4, 7, *SHAPE)
    np.testing.assert_array_equal(drawn.frames, model.generate(4, 7, seed=1).frames)
    assert not np.array_equal(drawn.frames, model.generate(4, 7, seed=2).frames)
    ahead = model.forecast(FRAMES, OBSERVED, CONTROLS, num_steps=4)
    assert ahead.frames.shape == (B, 4, *SHAPE)
    assert np.all(ahead.encoding_stds > 0)
    for length in (1, 2, T):
        for method in model.imputation_methods:
            found = model.impute(FRAMES[:, :length], None, CONTROLS[:, :length], method=method)
            assert found.frames.shape == (B, length, *SHAPE)
            assert np.isfinite(found.encoding_stds).all()
    moments = model.filter(FRAMES, OBSERVED, CONTROLS)
    assert moments.covariances.shape == (B, T, N, N)
    np.testing.assert_allclose(model.decode(drawn.encodings), drawn.frames, atol=1e-6)


def test_frames_show_the_first_entries_of_a_state_only():
    model = shared("dvbf_second_order")
    z = np.random.default_rng(0).normal(size=(B, T, N)).astype(np.float32)
    drawn = model.decode(z).numpy()
    for entry in range(N):
        moved = z.copy()
        moved[..., entry] += 1.0
        assert np.array_equal(model.decode(moved), drawn) == (entry >= 2)


def test_inverse_temperature_rises_in_steps():
    model = new("dvbf", annealing_updates=100, annealing_every=10)
    model.compile(optimizer=keras.optimizers.Adam())
    expected = {0: 0.01, 9: 0.01, 10: 0.11, 55: 0.51, 99: 0.91, 100: 1.0, 5000: 1.0}
    for done, value in expected.items():
        model.optimizer.iterations.assign(done)
        np.testing.assert_allclose(model._inverse_temperature(), value, rtol=1e-5)
    model.optimizer.iterations.assign(0)
    bound = model.training_bound(BATCH, pair(0))
    assert float(bound.annealed[0]) != float(bound.elbo[0])


def test_floor_falls_in_training_only():
    model = new("dvbf", variance_floor=1e-4, initial_variance_floor=1e-2, floor_updates=100)
    model.compile(optimizer=keras.optimizers.Adam())
    # Pixels without noise: the floor is all that is left.
    model.likelihood.log_std.assign(tf.fill(SHAPE, -9.0))
    judged = model.elbo(BATCH, pair(0)).elbo
    for done, floor in {0: 1e-2, 50: 1e-3, 100: 1e-4, 5000: 1e-4}.items():
        model.optimizer.iterations.assign(done)
        same = new("dvbf", variance_floor=floor)
        same.likelihood.log_std.assign(tf.fill(SHAPE, -9.0))
        found, expected = (m.training_bound(BATCH, pair(0)).annealed for m in (model, same))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        np.testing.assert_array_equal(model.elbo(BATCH, pair(0)).elbo, judged)


def test_noise_stays_within_its_limit():
    free, bound = (new("dvbf", noise_limit=limit) for limit in (0.0, 2.0))
    for model in (free, bound):
        model.recognition_head.bias.assign(tf.fill([2 * N], 50.0))
    z, u, one = tf.zeros([B, N]), tf.zeros([B, U]), tf.ones([B, 1])
    nothing = tf.zeros([B, free.features.size])
    far, near = (m._advance(z, u, nothing, one, z, m._parameters(None)) for m in (free, bound))
    np.testing.assert_allclose(far[1].value, 50.0)
    np.testing.assert_allclose(near[1].value, 2.0)


@pytest.mark.parametrize("name", ["dvbf", "dvbf_smooth", "dvbf_gated"])
def test_recovery_learns_recognition_and_noise(name):
    model = new(name, recovery_start=7)
    whole, recovery = model.phases
    assert (whole.updates, len(whole.variables)) == (7, len(model.trainable_variables))
    assert len(new(name).phases) == 1
    (from_the_first,) = new(name, recovery_start=0).phases
    assert len(from_the_first.variables) == len(recovery.variables)
    names = {variable.path.split("/")[-2] for variable in recovery.variables}
    assert {"recognition_hidden", "recognition_head", "transition"} <= names
    assert not names & {"decoder", "features", "initial_hidden", "initial_head", "mixer"}
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(recovery.bound(BATCH, pair(0)).annealed)
    for variable, gradient in zip(
        recovery.variables, tape.gradient(loss, recovery.variables), strict=True
    ):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0.0
        if variable.path.endswith("matrices"):
            np.testing.assert_array_equal(gradient[:, : N + U], 0.0)


def test_recovery_after_other_weights_needs_no_epoch_of_the_whole_model():
    settings = DVBFSettings(recovery_epochs=5)
    with pytest.raises(UserError, match="--recovery_epochs is 5, expected less than --epochs"):
        settings.validate(epochs=5)
    settings.validate(epochs=5, from_scratch=False)
    assert [part.epochs for part in settings.schedule_parts(5)] == [5]
    assert [part.epochs for part in settings.schedule_parts(8)] == [3, 5]


def test_wrong_starts_replace_states_and_cost_nothing():
    model, sampler = new("dvbf"), lgssm.as_sampler(pair(0))
    seen = np.ones((B, T), np.float32)
    reading = model._read(tf.constant(FRAMES), tf.constant(seen), tf.constant(CONTROLS), False)
    states = uniform(B, N, seed=3)
    none, all_of_them = (Start(tf.fill([B, 1], x), tf.constant(states), 5) for x in (0.0, 1.0))
    plain = model._walk(reading, CONTROLS, sampler)
    for found, expected in zip(model._walk(reading, CONTROLS, sampler, none), plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    z, *_ = model._walk(reading, CONTROLS, sampler, all_of_them)
    np.testing.assert_allclose(z[:, 0], states, rtol=1e-6)
    # The same path, without the cost of its start.
    z, prior, entropy = model._walk(
        reading, CONTROLS, sampler, Start(tf.ones([B, 1]), plain[0][:, 0], 5)
    )
    np.testing.assert_allclose(z, plain[0], rtol=1e-6)
    assert np.all(prior + entropy > plain[1] + plain[2])
    bound = model._bound(BATCH, sampler, training=True, start=all_of_them)
    np.testing.assert_array_equal(bound.num_frames, T - 5)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"transition": "cubic"}, "transition is 'cubic'"),
        ({"recognition": "both"}, "recognition is 'both'"),
        ({"emission_size": 4}, "emission_size is 4, expected at most latent_size, 3"),
        ({"likelihood": "bernoulli", "floor_updates": 5}, "likelihood is 'bernoulli'"),
        ({"transition": "gated", "second_order": True}, "second_order is on"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(UserError, match=message):
        DVBF(SHAPE, **option)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dvbf", "dkf"])
def test_training_learns(name):
    system, own = SYSTEMS[name]
    keras.utils.set_random_seed(0)
    train = pendulum.simulate(50, 10, 0)
    model = system((16, 16, 1), control_size=1, units=(64,), dynamics_units=16, **own)
    model.build()
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    batch = {"frames": tf.constant(train.frames), "controls": tf.constant(train.controls)}
    step = tf.function(model.train_step, autograph=False)
    before = model.elbo(batch, pair(0)).elbo.numpy().mean() / 10
    for _ in range(250):
        step(batch)
    after = model.elbo(batch, pair(0)).elbo.numpy().mean() / 10
    blank = np.var(train.frames, axis=(0, 1))
    # Better than the best picture that never changes.
    floor = -0.5 * np.sum(
        np.log(2 * np.pi * np.maximum(blank, 1e-4)) + blank / np.maximum(blank, 1e-4)
    )
    assert after > max(before, floor) + 30
