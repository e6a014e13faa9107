"""A KVAE in continuous time: the discrete one at regular times, and answers at any others."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.data import SequenceData, from_vectors, training_batches
from kvae_tf.errors import UserError
from kvae_tf.export.loading import LoadedModel
from kvae_tf.export.saved_model import export
from kvae_tf.models import KVAE
from kvae_tf.models.kvae import LinearKVAE, VectorKVAE
from kvae_tf.models.kvae.dynamics import merge
from kvae_tf.models.kvae.initialisation import start_at_constant_velocity

B, T, H, D, K, N, U = 3, 6, 6, 2, 3, 4, 2
RNG = np.random.default_rng(0)
FRAMES = (RNG.random((B, T, H, H, 1)) < 0.4).astype(np.float32)
OBSERVED = np.array([[1, 1, 0, 1, 1, 1], [1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1]], np.float32)
CONTROLS = RNG.normal(size=(B, T, U)).astype(np.float32)
TIMES = np.cumsum(RNG.uniform(0.3, 2.0, (B, T)), axis=1) + 1.7e9
BATCH = {
    "frames": FRAMES, "observed": OBSERVED, "controls": CONTROLS,
    "times": (TIMES - TIMES[:, :1]).astype(np.float32),
}  # fmt: skip
FAR = (TIMES[:, -1:] - TIMES[:, :1] + [[4.0]]).astype(np.float32)
VECTORS = RNG.normal(size=(B, T, D)).astype(np.float32)
VECTORS[OBSERVED == 0] = np.nan
VECTORS[2, 3, 0] = np.nan


def scattered(model, scale=0.3):
    """A built model whose dynamics are not those of its start."""
    model.build()
    rng = np.random.default_rng(1)
    for variable in (model.mixture.transition, model.mixture.emission, model.mixture.control):
        variable.assign(variable + scale * rng.normal(size=variable.shape))
    if model.mixture.affine is not None:
        model.mixture.affine.assign(rng.normal(size=model.mixture.affine.shape))
    model.mixture.log_transition_noise.assign(
        rng.normal(-2.0, 0.5, model.mixture.log_transition_noise.shape)
    )
    return model


def frames_model(kind="lstm", time="continuous", **options):
    known = {"units": (8,), "dynamics_units": 6, "encoding_size": D, "latent_size": N,
             "num_modes": K, "affine_modes": True, "mode_noise": True, "learn_noise": True,
             "learn_initial": True, "initial_variance": 2.0}  # fmt: skip
    return scattered(KVAE((H, H, 1), U, dynamics_network=kind, time=time, **(known | options)))


def linear_model(num_modes=1, kind="constant", model=LinearKVAE, **options):
    known = {"network": "linear"} if model is LinearKVAE else {"units": (8,)}
    return scattered(model(
        (1, D, 1), U, encoding_size=D, latent_size=N, num_modes=num_modes, dynamics_network=kind,
        dynamics_units=6, standardise=[[0.5, -1.0], [1.5, 2.0]], time="continuous",
        initial_variance=2.0, **(known | options),
    ))  # fmt: skip


MODELS = {
    "lstm": frames_model,
    "parts": functools.partial(frames_model, "state", time_parts=2, dynamics_features=2),
    "controls": functools.partial(frames_model, "fifo", learn_controls=True, shared_emission=True),
    "linear": linear_model,
    "vectors": functools.partial(linear_model, 2, "gru", VectorKVAE),
}


def slow_but(*quick):
    """The names of all models; those that are not quick are for slow runs."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]


@functools.cache
def shared(name):
    return MODELS[name]()


def given(name):
    """Arguments of a query: frames, observed, controls."""
    frames = FRAMES if name in ("lstm", "parts", "controls") else VECTORS
    return frames, OBSERVED, CONTROLS


def batch_of(name):
    frames, observed, controls = given(name)
    frames = frames if frames.ndim == 5 else frames[:, :, None, :, None]
    return {"frames": frames, "observed": observed, "controls": controls, "times": BATCH["times"]}


def assert_answers_close(one, two, tolerance=1e-4):
    for name, value in one._asdict().items():
        if value is not None:
            other = getattr(two, name)
            np.testing.assert_allclose(other, value, rtol=tolerance, atol=tolerance, err_msg=name)


# The discrete model.


@pytest.mark.parametrize(
    ("kind", "gaps"),
    [
        ("lstm", False),
        *(
            pytest.param(kind, gaps, marks=pytest.mark.slow)
            for kind, gaps in (("lstm", True), ("state", False), ("state", True),
                               ("constant", False), ("constant", True))
        ),
    ],
)  # fmt: skip
def test_at_regular_times_it_is_the_discrete_model(kind, gaps):
    """With generators that are diagonal, since the discrete model's noise is."""
    num_modes = 1 if kind == "constant" else K
    options = {"num_modes": num_modes, "time_unit": 0.5}
    one = frames_model(kind, **options)
    rates = np.array([-0.5, 0.1, -0.02, -1.3])
    one.mixture.transition.assign(np.tile(np.diag(rates), (num_modes, 1, 1)))
    two = frames_model(kind, "discrete", num_modes=num_modes)
    for mine, theirs in zip(two.variables, one.variables, strict=True):
        value = theirs.numpy()
        if mine.shape != value.shape:  # the network's weights of the interval, which is 1
            continue
        mine.assign(value)
    for mine, theirs in zip(two.network.weights, one.network.weights, strict=True):
        if mine.shape != theirs.shape:
            theirs.assign(np.concatenate([mine.numpy(), np.zeros_like(theirs)[-1:]]))
    moved = np.expm1(rates) / rates
    mixture = two.mixture
    mixture.transition.assign(np.tile(np.diag(np.exp(rates)), (num_modes, 1, 1)))
    for variable in (mixture.affine, mixture.control):
        variable.assign(variable * moved.reshape(1, N, *[1] * (len(variable.shape) - 2)))
    noise = one.mixture.transition_noise.numpy() * np.expm1(2 * rates) / (2 * rates)
    mixture.log_transition_noise.assign(np.log(noise - 1e-6))
    times = np.tile(7.0 + 0.5 * np.arange(T), (B, 1))
    batch = {"frames": FRAMES, "controls": CONTROLS}
    if gaps:
        batch["observed"] = OBSERVED
    expected = two.elbo(batch, 0)
    for found in (one.elbo(batch, 0), one.elbo(batch | {"times": times}, 0)):
        for name, term in expected.terms.items():
            np.testing.assert_allclose(found.terms[name], term, rtol=1e-6, err_msg=name)
    observed = batch.get("observed")
    smoothed = (m.smooth(FRAMES, observed, CONTROLS) for m in (one, two))
    assert_answers_close(*smoothed)
    forecasts = (m.forecast(FRAMES, observed, CONTROLS, num_steps=3) for m in (one, two))
    assert_answers_close(*forecasts)


@pytest.mark.parametrize("kind", ["linear", pytest.param("full", marks=pytest.mark.slow)])
def test_a_grid_with_gaps_gives_the_same(kind):
    """One mode: what lies on a grid is the regular model's, where all other frames are missing."""
    model = linear_model() if kind == "linear" else frames_model("constant", num_modes=1)
    frames = VECTORS[:, :, None, :, None] if kind == "linear" else FRAMES
    steps = np.array([[0, 1, 4, 5, 6, 9], [0, 3, 4, 5, 7, 8], [0, 2, 3, 6, 8, 9]])
    controls = np.repeat(CONTROLS[:, :1], T, axis=1)
    rows = np.arange(B)[:, None]
    grid = np.zeros((B, 10, *frames.shape[2:]), np.float32)
    observed = np.zeros((B, 10), np.float32)
    grid[rows, steps], observed[rows, steps] = frames, OBSERVED
    one = {"frames": frames, "observed": OBSERVED, "controls": controls, "times": 1.0 * steps}
    two = {"frames": grid, "observed": observed,
           "controls": np.repeat(CONTROLS[:, :1], 10, axis=1)}  # fmt: skip
    sampler = lgssm.as_sampler(0)

    def log_prob(batch):
        a = model.encoder(batch["frames"]).mean
        seen = batch["observed"] if kind == "full" else model._entries(
            tf.constant(batch["frames"]), tf.constant(batch["observed"]))[1]  # fmt: skip
        a = tf.where(tf.math.is_nan(a), 0.0, a)
        times = batch.get("times")
        times = None if times is None else tf.constant(times, tf.float32)
        return model.encodings_log_prob(a, seen, batch["controls"], sampler, times)

    np.testing.assert_allclose(log_prob(one), log_prob(two), rtol=1e-5)
    sparse, full = (
        model.impute(x["frames"], x["observed"], x["controls"], times=x.get("times"))
        for x in (one, two)
    )
    found = full.latents.numpy()[rows, steps]
    np.testing.assert_allclose(found, sparse.latents, rtol=1e-4, atol=1e-4)


# Answers at other times.


def test_times_in_one_order():
    steps = tf.constant([[0.0, 1.0, 3.0]])
    merged = merge(steps, tf.constant([[2.0, 1.0, 0.0, 0.5]]))
    expected = {
        "order": [0, 5, 6, 1, 4, 3, 2], "is_step": [1, 0, 0, 1, 0, 0, 1],
        "intervals": [0, 0.5, 0.5, 0, 1, 1, 1], "emission_index": [0, 0, 1, 1, 1, 2, 2],
        "weight_index": [1, 1, 1, 2, 2, 2, 3], "places": [5, 4, 1, 2],
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_array_equal(getattr(merged, name)[0], value, err_msg=name)


@pytest.mark.parametrize("name", slow_but("parts"))
@pytest.mark.parametrize("method", ["smooth", pytest.param("filter", marks=pytest.mark.slow)])
def test_at_the_times_of_frames_it_is_the_imputation(name, method):
    model = shared(name)
    expected = model.impute(*given(name), method=method, times=TIMES)
    order = np.random.default_rng(2).permutation(T)
    found = model.impute(*given(name), method=method, times=TIMES, at=TIMES[:, order])
    picked = type(found)(*(None if x is None else tf.gather(x, order, axis=1) for x in expected))
    assert_answers_close(picked, found)


@pytest.mark.parametrize("name", slow_but("parts"))
def test_what_else_is_asked_changes_nothing(name):
    model = shared(name)
    rng = np.random.default_rng(3)
    at = TIMES[:, :1] + rng.uniform(0.0, 1.0, (B, 5)) * (TIMES[:, -1:] - TIMES[:, :1] + 3.0)
    together = model.impute(*given(name), times=TIMES, at=at)
    assert together.latents.shape == (B, 5, N)
    alone = [model.impute(*given(name), times=TIMES, at=at[:, i : i + 1]) for i in range(5)]
    joined = type(together)(
        *(None if x[0] is None else tf.concat(x, axis=1) for x in zip(*alone, strict=True))
    )
    assert_answers_close(joined, together)


def test_a_time_between_frames_is_that_of_a_missing_one():
    """One mode: its weights do not depend on what is asked."""
    model = linear_model()
    middle = (TIMES[:, 2:3] + TIMES[:, 3:4]) / 2
    found = model.impute(VECTORS, OBSERVED, None, times=TIMES, at=middle)

    def put(x, value):
        return np.concatenate([x[:, :3], value, x[:, 3:]], axis=1)

    nothing = np.full((B, 1, D), np.nan, np.float32)
    longer = model.impute(
        put(VECTORS, nothing), put(OBSERVED, np.zeros((B, 1))), None, times=put(TIMES, middle)
    )
    for name, value in longer._asdict().items():
        np.testing.assert_allclose(
            getattr(found, name), value[:, 3:4], rtol=1e-4, atol=1e-4, err_msg=name
        )


@pytest.mark.slow
def test_after_the_last_frame_it_is_the_forecast():
    model = shared("lstm")
    times = TIMES[:, -1:] + np.arange(1.0, 4.0)
    forecast = model.forecast(FRAMES, OBSERVED, CONTROLS, num_steps=3, times=TIMES)
    assert_answers_close(forecast, model.impute(*given("lstm"), times=TIMES, at=times))
    both = np.concatenate([TIMES, times], axis=1)
    again = model.forecast(FRAMES, OBSERVED, CONTROLS, num_steps=3, times=both)
    assert_answers_close(forecast, again)


# Training and drawing.


@pytest.mark.parametrize("name", slow_but("controls", "linear"))
def test_gradients_are_finite_and_reach_every_variable(name):
    model = MODELS[name]()
    with tf.GradientTape() as tape:
        loss = -tf.reduce_sum(model.training_bound(batch_of(name), 0).elbo)
    found = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        if model.network.kind == "constant" and "network" in variable.path:
            continue
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path


@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("objective", ["collapsed", "sampled"])
def test_it_learns(objective, jit):
    """In compiled steps, and in steps whose dynamics are compiled."""
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.uniform(0.2, 2.0, (16, 8)), axis=1)
    x = 2.5 + 2.0 * np.sin(times + rng.uniform(0, 6, (16, 1)))
    images = np.abs(np.arange(6) - x[..., None]) < 0.8
    images = np.broadcast_to(images[:, :, None], (16, 8, 6, 6))
    data = SequenceData.from_arrays(images, times=times)
    model = KVAE(
        (6, 6, 1), units=(16,), dynamics_units=8, time="continuous", objective=objective,
        jit_engine=not jit, dynamics_network="state" if jit else "lstm",
    )  # fmt: skip
    model.build()
    model.compile(optimizer="adam", jit_compile=jit)
    model.optimizer.learning_rate = 0.01
    batches = training_batches(data, 8, 0, missing_rate=0.2)
    history = model.fit(batches, epochs=2, steps_per_epoch=15, verbose=0, shuffle=False)
    assert history.history["elbo"][1] > history.history["elbo"][0] + 1.0


def test_generated_sequences_have_the_moments_of_the_process():
    """One mode: z at a time is Gaussian with moments of the exact transition to that time."""
    model = linear_model()
    times = np.tile([[0.0, 0.7, 3.1]], (4000, 1))
    found = model.generate(4000, 3, seed=1, times=times).latents.numpy()
    mixture, one, none = model.mixture, tf.ones([1, 1]), tf.zeros([1, U])
    for t in (1, 2):
        step = mixture.step(one, none, tf.constant([times[0, t]], tf.float32))
        A, Q = step.transition.numpy()[..., 0], step.noise.numpy()[..., 0]
        covariance = A @ mixture.initial_covariance.numpy() @ A.T + Q
        scale = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(found[:, t].mean(0) / scale, 0.0, atol=0.08)
        error = (np.cov(found[:, t].T) - covariance) / np.outer(scale, scale)
        assert np.abs(error).max() < 0.12


def test_the_start_is_constant_velocity_in_time():
    model = frames_model(shared_emission=True)
    times = np.cumsum(np.random.default_rng(6).uniform(0.3, 2.0, (40, 9)), axis=1)
    speeds = np.random.default_rng(7).normal(size=(40, 1, D))
    paths = 3.0 + speeds * times[..., None]
    start_at_constant_velocity(model.mixture, paths, np.ones((40, 9), bool), 0, times)
    drift = model.mixture.transition.numpy().mean(0)
    np.testing.assert_allclose(drift, np.eye(N, k=D), atol=0.03)
    # Nothing bends but what _LEAST allows.
    np.testing.assert_allclose(np.exp(model.mixture.log_emission_noise), 1e-5, rtol=1e-2)
    variance = np.square(np.exp(model.mixture.initial_log_scale.numpy()[D:]))
    np.testing.assert_allclose(variance, speeds.var((0, 1)), rtol=1e-2)


def by_frame(model, name):
    """What ``filter_step`` says of each frame: outputs by name."""
    frames, observed, controls = given(name)
    gaps = np.diff(TIMES, axis=1, prepend=TIMES[:, :1] - 5.0)  # what is before the first is nothing
    state, found = model.filter_start(B), []
    for t in range(T):
        seen = None if observed is None else observed[:, t]
        state, step = model.filter_step(state, frames[:, t], seen, controls[:, t], gaps[:, t])
        found.append(step)
    return found


@pytest.mark.parametrize("name", slow_but("parts", "linear"))
def test_a_frame_at_a_time_is_the_filter(name):
    model = shared(name)
    steps = by_frame(model, name)
    filled = model.impute(*given(name), method="filter", times=TIMES)
    latents = model.filter(*given(name), times=TIMES)
    expected = model.score(*given(name), times=TIMES)._asdict() | {
        "frames": filled.frames, "encodings": filled.encodings,
        "encoding_stds": filled.encoding_stds, "latents": latents.means,
        "latent_covariances": latents.covariances,
    }  # fmt: skip
    for key, values in expected.items():
        found = np.stack([step[key] for step in steps], axis=1)
        np.testing.assert_allclose(found, values, rtol=1e-3, atol=2e-4, err_msg=key)


def test_without_an_interval_a_unit_has_passed():
    model = shared("parts")
    state, _ = model.filter_step(model.filter_start(B), FRAMES[:, 0])
    one = model.filter_step(state, FRAMES[:, 1])[1]
    two = model.filter_step(state, FRAMES[:, 1], interval=np.full(B, model.time_unit))[1]
    later = model.filter_step(state, FRAMES[:, 1], interval=np.full(B, 3.0))[1]
    np.testing.assert_array_equal(one["latents"], two["latents"])
    assert np.abs(one["latents"] - later["latents"]).max() > 1e-2


# Exports, and what is refused.


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but())
def test_an_export_answers_the_same(name, tmp_path):
    model = shared(name)
    export(model, tmp_path / "1")
    loaded = LoadedModel(tmp_path / "1")
    assert loaded.reads_times
    assert loaded.time_unit == model.time_unit
    assert loaded.supports == model.supports
    assert "rollout" not in loaded.supports
    streamed = (by_frame(m, name) for m in (model, loaded))
    for one, two in zip(*streamed, strict=True):
        for key, value in one.items():
            np.testing.assert_allclose(two[key], value, rtol=1e-3, atol=1e-3, err_msg=key)
    step = loaded.signatures["filter_step"][0]
    assert {"state_started", "state_control", "interval"} <= set(step)
    at = TIMES[:, :1] + np.linspace(0.0, 9.0, 4)
    for method in ("smooth", "filter"):
        for how in ({"times": TIMES}, {}, {"times": TIMES, "at": at}):
            answers = (m.impute(*given(name), method=method, **how) for m in (model, loaded))
            assert_answers_close(*answers, 1e-3)
    for query in ("filter", "smooth", "score"):
        answers = (getattr(m, query)(*given(name), times=TIMES) for m in (model, loaded))
        assert_answers_close(*answers, 1e-3)
    answers = (m.forecast(*given(name), num_steps=2, times=TIMES) for m in (model, loaded))
    assert_answers_close(*answers, 1e-3)
    one, two = (m.generate(2, 3, seed=5, times=TIMES[:2, :3]) for m in (model, loaded))
    assert_answers_close(one, two, 1e-3)
    bounds = [m.elbo(batch_of(name), 0).elbo for m in (model, loaded)]
    np.testing.assert_allclose(*bounds, rtol=1e-3)
    again = type(model).from_config(model.get_config())
    assert again.reads_times


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"times": TIMES[:, :-1]}, r"times has shape \(3, 5\), expected \(3, 6\), seconds"),
        ({"times": TIMES[:, ::-1]}, "times holds no strictly increasing finite numbers"),
        ({"times": np.full((B, T), np.nan)}, "times holds no strictly increasing"),
        ({"times": TIMES, "at": TIMES[0]}, r"at has shape \(6,\), expected \[3, R\]"),
        ({"times": TIMES, "at": TIMES - 0.1}, "at holds times before the first frame"),
        ({"times": TIMES, "at": TIMES[:, :0]}, r"at has shape \(3, 0\), expected no axis"),
    ],
)
def test_bad_times_are_one_line(how, words):
    with pytest.raises(UserError, match=words):
        shared("lstm").impute(*given("lstm"), **how)


def test_a_discrete_model_takes_no_times():
    model = frames_model(time="discrete")
    for how in ({"times": TIMES}, {"at": TIMES}):
        with pytest.raises(UserError, match="expected none, or a model trained with --time"):
            model.impute(*given("lstm"), **how)
    with pytest.raises(UserError, match="time_parts is 2, expected 1"):
        KVAE((H, H, 1), time_parts=2)
    with pytest.raises(UserError, match="time is 'real', expected one of discrete, continuous"):
        KVAE((H, H, 1), time="real")
    with pytest.raises(UserError, match="interval is given, but KVAE takes frames as equally"):
        model.filter_step(model.filter_start(B), FRAMES[:, 0], interval=np.ones(B))
    with pytest.raises(UserError, match="LinearKVAE does not rollout"):
        linear_model().rollout(None, VECTORS[:, 0], None)


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (np.ones(B + 1), r"interval has shape \(4,\), expected \(3,\), seconds"),
        (1.0, r"interval has shape \(\), expected \(3,\), seconds"),
        (np.array([1.0, 0.0, 2.0]), "interval holds no positive finite numbers"),
        (np.full(B, np.nan), "interval holds no positive finite numbers"),
    ],
)
def test_bad_intervals_are_one_line(interval, words):
    model = shared("lstm")
    with pytest.raises(UserError, match=words):
        model.filter_step(model.filter_start(B), FRAMES[:, 0], interval=interval)


def test_data_with_times_of_vectors():
    data = from_vectors(VECTORS, times=TIMES)
    batch = next(iter(training_batches(data, B, 0)))
    assert np.isfinite(shared("linear").elbo(batch | {"controls": CONTROLS}, 0).elbo).all()
