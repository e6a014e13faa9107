"""The Kalman VAE: its bound, its queries, and its training step, on tiny models."""

import functools
import inspect

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from scipy import special, stats

from kvae_tf import lgssm
from kvae_tf.data.worlds import pendulum
from kvae_tf.errors import UserError
from kvae_tf.models import QUERIES, SequenceModel
from kvae_tf.models.kvae import KVAE

SHAPE = (8, 8, 1)
B, T, U, M, N, K = 3, 6, 2, 2, 3, 3
OBJECTIVES = ("collapsed", "sampled")


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


FRAMES = uniform(B, T, *SHAPE)
CONTROLS = 2 * uniform(B, T, U, seed=1) - 1
OBSERVED = np.array([[1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1]], np.float32)
BATCH = {"frames": FRAMES, "controls": CONTROLS}
GAPPED = BATCH | {"observed": OBSERVED}
BATCHES = {"seen": BATCH, "gapped": GAPPED}


def pair(seed):
    return tf.constant([seed, 7], tf.int64)


def new(**options):
    """A tiny model whose modes differ and whose weights depend on the encodings."""
    keras.utils.set_random_seed(0)
    settings = {"control_size": U, "units": (16,), "encoding_size": M, "latent_size": N}
    settings |= {"num_modes": K, "dynamics_units": 5}
    model = KVAE(SHAPE, **(settings | options))
    model.build()
    rng = np.random.default_rng(3)
    mixture = model.mixture
    mixture.transition.assign(np.eye(N) + 0.2 * rng.normal(size=mixture.transition.shape))
    mixture.control.assign(0.5 * rng.normal(size=mixture.control.shape))
    mixture.emission.assign(rng.normal(size=mixture.emission.shape))
    model.network.head.kernel.assign(2 * rng.normal(size=model.network.head.kernel.shape))
    head = model.encoder.head.kernel
    head.assign(rng.normal(size=head.shape))
    return model


@functools.cache
def shared(objective="collapsed"):
    """A model that no test changes, with its bound, gradients and imputations as graphs."""
    model = new(objective=objective)

    @tf.function(autograph=False)
    def bound_and_gradients(batch, seed):
        with tf.GradientTape() as tape:
            bound = model.elbo(batch, seed)
            loss = tf.reduce_sum(bound.elbo)
        return bound, tape.gradient(loss, model.trainable_variables)

    impute = {
        method: tf.function(functools.partial(model.impute, method=method), autograph=False)
        for method in ("smooth", "filter")
    }
    return model, bound_and_gradients, impute


def as_tensors(batch):
    return {name: tf.constant(value, tf.float32) for name, value in batch.items()}


def evaluate(batch, seed=0, objective="collapsed"):
    return shared(objective)[1](as_tensors(batch), pair(seed))


def impute(frames, observed, controls, method):
    return shared()[2][method](*map(tf.constant, (frames, observed, controls)))


def with_hidden(value):
    """The frames with ``value`` in place of the pixels that were not seen."""
    return np.where(OBSERVED[..., None, None, None] > 0, FRAMES, value).astype(np.float32)


# The bound.


def test_bound_of_seen_frames_against_the_dense_gaussian():
    model = shared()[0]
    bound, _ = evaluate(BATCH)
    mean, std = (x.numpy().astype(np.float64) for x in model.encode(FRAMES))
    noise = tf.random.stateless_normal(mean.shape, tf.random.split(pair(0), 2)[0]).numpy()
    a = mean + std * noise
    lgssm = model.mixture(model.network(a.astype(np.float32)).mode_weights, CONTROLS)
    oracle = reference.dense_posterior(
        reference.Model(**lgssm._asdict()).cast(np.float64), a
    ).log_likelihood
    p = special.expit(model.decoder(a.astype(np.float32)).numpy().astype(np.float64))
    log_x = (FRAMES * np.log(p) + (1 - FRAMES) * np.log1p(-p)).sum((1, 2, 3, 4))
    log_q = stats.norm(mean, std).logpdf(a).sum((1, 2))
    np.testing.assert_allclose(bound.terms["reconstruction"], log_x, rtol=1e-4)
    np.testing.assert_allclose(bound.terms["regularisation"], oracle - log_q, rtol=1e-3)
    np.testing.assert_allclose(bound.elbo, log_x + oracle - log_q, rtol=1e-4)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("seed", range(4))
def test_objectives_agree(batch, seed):
    collapsed = evaluate(BATCHES[batch], seed)[0]
    sampled = evaluate(BATCHES[batch], seed, "sampled")[0]
    for name in ("reconstruction", "regularisation"):
        np.testing.assert_allclose(sampled.terms[name], collapsed.terms[name], rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(sampled.elbo, collapsed.elbo, rtol=1e-2)


def test_seed_makes_the_noise():
    first, again, other = (evaluate(BATCH, seed)[0].elbo for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 1e-3


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("batch", BATCHES)
def test_gradients_are_finite_and_reach_every_variable(objective, batch):
    bound, gradients = evaluate(BATCHES[batch], 0, objective)
    assert np.isfinite(bound.elbo).all()
    for variable, gradient in zip(shared(objective)[0].trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path


def test_terms_add_up():
    model = shared()[0]
    bound, _ = evaluate(GAPPED)
    assert set(bound.terms) == set(model.term_names)
    np.testing.assert_allclose(bound.elbo, sum(bound.terms.values()), rtol=1e-5)


def test_everything_seen_is_no_mask():
    direct, direct_gradients = evaluate(BATCH)
    coupled, coupled_gradients = evaluate(BATCH | {"observed": np.ones((B, T))})
    np.testing.assert_allclose(coupled.elbo, direct.elbo, rtol=1e-4)
    np.testing.assert_array_equal(direct.num_frames, np.full(B, T))
    np.testing.assert_array_equal(coupled.num_frames, np.full(B, T))
    for one, other in zip(direct_gradients, coupled_gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3 * np.abs(one).max())


def test_missing_frames_are_not_counted():
    bound, _ = evaluate(GAPPED)
    full, _ = evaluate(BATCH)
    np.testing.assert_array_equal(bound.num_frames, OBSERVED.sum(1))
    # Pixels are Bernoulli: each frame's reconstruction is negative, so fewer frames weigh less.
    reconstruction, whole = bound.terms["reconstruction"], full.terms["reconstruction"]
    np.testing.assert_allclose(reconstruction[1], whole[1], rtol=1e-4)  # the row without a gap
    assert (reconstruction - whole).numpy()[[0, 2]].min() > 20
    share = (reconstruction / bound.num_frames) / (whole / T)
    np.testing.assert_allclose(share, 1.0, atol=0.2)


def test_nothing_seen():
    bound, gradients = evaluate(BATCH | {"observed": np.zeros((B, T))})
    np.testing.assert_array_equal(bound.elbo, np.zeros(B))
    np.testing.assert_array_equal(bound.num_frames, np.ones(B))  # a divisor, hence not 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_hidden_pixels_do_not_matter(objective):
    zeros, zero_gradients = evaluate(GAPPED | {"frames": with_hidden(0.0)}, 0, objective)
    for value in (np.nan, np.inf, uniform(*FRAMES.shape, seed=9)):
        bound, gradients = evaluate(GAPPED | {"frames": with_hidden(value)}, 0, objective)
        np.testing.assert_array_equal(bound.elbo, zeros.elbo)
        for gradient, expected in zip(gradients, zero_gradients, strict=True):
            assert np.isfinite(gradient).all()
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def test_controls_matter_but_the_last():
    changed = CONTROLS.copy()
    changed[:, -1] += 1.0  # acts from the last frame on
    np.testing.assert_array_equal(
        evaluate(BATCH | {"controls": changed})[0].elbo, evaluate(BATCH)[0].elbo
    )
    changed[:, 0] += 1.0
    difference = evaluate(BATCH | {"controls": changed})[0].elbo - evaluate(BATCH)[0].elbo
    assert np.abs(difference).min() > 1e-3


def test_absent_controls_are_zero():
    model = shared()[0]
    absent = model.elbo({"frames": FRAMES}, pair(0)).elbo
    zero = evaluate(BATCH | {"controls": np.zeros((B, T, U))})[0].elbo
    np.testing.assert_allclose(absent, zero, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "batch"),
    [
        pytest.param(
            {"likelihood": "gaussian", "learn_noise": True, "learn_initial": True},
            BATCH,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"likelihood": "gaussian", "per_pixel_std": False, "network": "cnn"},
            BATCH,
            marks=pytest.mark.slow,
        ),
        ({"num_modes": 1, "control_size": 0}, GAPPED),
    ],
)
def test_other_settings(options, batch):
    model = new(**options)
    controls = CONTROLS[..., : model.control_size]

    @tf.function(autograph=False)
    def graph():
        with tf.GradientTape() as tape:
            bound = model.elbo(batch | {"controls": controls}, pair(0))
            loss = tf.reduce_sum(bound.elbo)
        return bound.elbo, tape.gradient(loss, model.trainable_variables)

    elbo, gradients = graph()
    assert elbo.shape == (B,)
    assert np.isfinite(elbo).all()
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        if np.prod(variable.shape) > 0:  # without controls, B has no entries
            assert np.isfinite(gradient).all(), variable.path


def test_jitted_bound():
    model = new(jit_engine=True)
    bound = tf.function(model.training_bound, autograph=False)(BATCH, pair(0))
    np.testing.assert_allclose(bound.elbo, evaluate(BATCH)[0].elbo, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [BATCH, GAPPED], ids=BATCHES)
def test_compiled_dynamics_have_the_same_gradients(batch):
    def gradients(model):
        @tf.function(autograph=False)
        def graph():
            with tf.GradientTape() as tape:
                loss = model.loss_of(model.training_bound(batch, pair(0)))
            return tape.gradient(loss, model.trainable_variables)

        return graph()

    models = new(jit_engine=True), new(jit_engine=False)
    for variable, one, other in zip(
        models[0].trainable_variables, *map(gradients, models), strict=True
    ):
        scale = np.abs(other).max(initial=1e-3)
        np.testing.assert_allclose(one / scale, other / scale, atol=1e-3, err_msg=variable.path)


@pytest.mark.parametrize(
    "objective", ["collapsed", pytest.param("sampled", marks=pytest.mark.slow)]
)
def test_decoded_frames_estimate_the_bound_without_bias(objective):
    model = new(objective=objective, decoded_frames=2)

    @tf.function(autograph=False)
    def difference(seed):
        some, whole = model.training_bound(BATCH, seed), model.elbo(BATCH, seed)
        return some.terms["reconstruction"] - whole.terms["reconstruction"]

    # One encoding noise a seed, so the estimates are compared at their own seed's whole bound.
    estimates = [difference(pair(k)).numpy() for k in range(60)]
    spread = np.std(estimates, axis=0) / np.sqrt(len(estimates))
    assert (spread > 0).all()
    assert (np.abs(np.mean(estimates, axis=0)) < 4 * spread).all()


def test_all_frames_decoded_is_the_bound():
    model = new(decoded_frames=T)
    np.testing.assert_allclose(
        model.training_bound(BATCH, pair(0)).elbo, model.elbo(BATCH, pair(0)).elbo, rtol=1e-4
    )


# Queries.


def test_moments_without_gaps():
    model = shared()[0]
    ones = np.ones((B, T), np.float32)
    for query in (model.filter, model.smooth):
        absent, present = query(FRAMES, None, CONTROLS), query(FRAMES, ones, CONTROLS)
        np.testing.assert_allclose(absent.means, present.means, atol=1e-4)
        np.testing.assert_allclose(absent.covariances, present.covariances, atol=1e-4)
    mean = model.encode(FRAMES).mean
    lgssm = model.mixture(model.network(mean).mode_weights, CONTROLS)
    oracle = reference.dense_posterior(
        reference.Model(**lgssm._asdict()).cast(np.float64), mean.numpy().astype(np.float64)
    )
    filtered, smoothed = model.filter(FRAMES, None, CONTROLS), absent
    tolerance = {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(filtered.means, oracle.filter.filtered_means, **tolerance)
    np.testing.assert_allclose(
        filtered.covariances, oracle.filter.filtered_covariances, **tolerance
    )
    np.testing.assert_allclose(smoothed.means, oracle.smoothed_means, **tolerance)
    np.testing.assert_allclose(smoothed.covariances, oracle.smoothed_covariances, **tolerance)


@pytest.mark.parametrize("method", ["smooth", "filter"])
def test_imputed_shapes_and_seen_steps(method):
    model = shared()[0]
    result = impute(FRAMES, OBSERVED, CONTROLS, method)
    assert result.frames.shape == (B, T, *SHAPE)
    assert result.encodings.shape == result.encoding_stds.shape == (B, T, M)
    assert result.latents.shape == (B, T, N)
    assert result.mode_weights.shape == (B, T, K)
    assert result.frames.numpy().min() >= 0
    assert result.frames.numpy().max() <= 1
    seen, (mean, std) = OBSERVED > 0, (x.numpy() for x in model.encode(FRAMES))
    np.testing.assert_allclose(result.encodings.numpy()[seen], mean[seen], atol=1e-5)
    np.testing.assert_allclose(result.encoding_stds.numpy()[seen], std[seen], atol=1e-5)
    np.testing.assert_allclose(result.frames, model.decode(result.encodings), atol=1e-5)
    # What was not seen is at least as uncertain as the emission noise.
    floor = np.sqrt(model.mixture.emission_noise.numpy())
    assert (result.encoding_stds.numpy()[~seen] > 0.999 * floor).all()


def test_smoothing_is_surer_than_filtering():
    smooth, filtered = (impute(FRAMES, OBSERVED, CONTROLS, m) for m in ("smooth", "filter"))
    assert (smooth.encoding_stds <= filtered.encoding_stds + 1e-4).numpy().all()
    assert smooth.encoding_stds[0, 2, 0] < 0.9 * filtered.encoding_stds[0, 2, 0]


def test_imputation_reads_later_frames_only_when_smoothing():
    changed = FRAMES.copy()
    changed[0, 4] = 1.0 - changed[0, 4]  # seen, after the gap at steps 2 and 3

    def difference(method):
        before = impute(FRAMES, OBSERVED, CONTROLS, method)
        after = impute(changed, OBSERVED, CONTROLS, method)
        return np.abs(after.frames - before.frames)[0, 2:4].max()

    assert difference("filter") < 1e-6
    assert difference("smooth") > 1e-4


@pytest.mark.parametrize("method", ["smooth", "filter"])
def test_imputation_does_not_read_hidden_frames(method):
    expected = impute(with_hidden(0.0), OBSERVED, CONTROLS, method)
    result = impute(with_hidden(np.nan), OBSERVED, CONTROLS, method)
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_forecast_is_imputation_of_a_hidden_tail():
    model, context = shared()[0], 4
    mask = OBSERVED.copy()
    mask[:, context:] = 0.0
    expected = impute(FRAMES, mask, CONTROLS, "filter")
    result = model.forecast(FRAMES[:, :context], OBSERVED[:, :context], CONTROLS, T - context)
    assert result.stds is expected.stds is None  # images
    for one, other in zip(result[:-1], expected[:-1], strict=True):
        np.testing.assert_allclose(one, other[:, context:], rtol=1e-4, atol=1e-4)


def test_forecast_without_mask_and_with_few_controls():
    model = shared()[0]
    few = model.forecast(FRAMES[:, :4], controls=CONTROLS[:, :3], num_steps=3)
    padded = np.zeros((B, 7, U), np.float32)
    padded[:, :3] = CONTROLS[:, :3]
    full = model.forecast(FRAMES[:, :4], np.ones((B, 4)), padded, 3)
    np.testing.assert_allclose(few.frames, full.frames, atol=1e-5)
    assert few.frames.shape == (B, 3, *SHAPE)
    # Without further frames each step is less certain: A is no contraction here.
    assert (np.diff(few.encoding_stds.numpy().mean(-1)) > 0).all()


def test_generate_shapes_and_seeds():
    model = shared()[0]
    first, again, other = (model.generate(4, 5, seed=seed) for seed in (1, 1, 2))
    assert first.frames.shape == (4, 5, *SHAPE)
    assert first.encodings.shape == first.encoding_stds.shape == (4, 5, M)
    assert first.latents.shape == (4, 5, N)
    assert first.mode_weights.shape == (4, 5, K)
    np.testing.assert_array_equal(first.encoding_stds, np.zeros((4, 5, M)))
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    np.testing.assert_allclose(first.frames, model.decode(first.encodings), atol=1e-5)
    assert np.abs(first.latents - other.latents).max() > 0.1
    assert np.abs(first.frames - other.frames).max() > 1e-3
    assert np.abs(first.latents[0] - first.latents[1]).max() > 0.1


def test_generate_obeys_its_controls():
    model = shared()[0]
    controls = np.zeros((4, 5, U), np.float32)
    none, zero = model.generate(4, 5, seed=1), model.generate(4, 5, controls, seed=1)
    np.testing.assert_array_equal(none.latents, zero.latents)
    controls[:, 2] = 3.0
    pushed = model.generate(4, 5, controls, seed=1)
    difference = np.abs(pushed.latents - none.latents).max(axis=(0, 2))
    assert (difference[:3] < 1e-6).all()  # the control of step 2 moves step 3
    assert (difference[3:] > 0.1).all()


def test_generated_sequences_follow_the_model():
    model = shared()[0]
    size, steps = 1500, 4
    controls = np.tile(2 * uniform(1, steps, U) - 1, (size, 1, 1))
    drawn = model.generate(size, steps, controls, seed=5)
    z, a = drawn.latents.numpy(), drawn.encodings.numpy()
    weights = model.network(a).mode_weights
    np.testing.assert_allclose(drawn.mode_weights, weights[:, :-1], atol=1e-4)
    ssm = reference.Model(**model.mixture(weights, controls)._asdict()).expand(size, steps)
    w = z[:, 1:] - np.einsum("btij,btj->bti", ssm.transition, z)[:, :-1]
    w = (w - ssm.transition_offset[:, :-1]).reshape(-1, N)
    v = (a - np.einsum("btij,btj->bti", ssm.emission, z)).reshape(-1, M)
    # 4500 and 6000 residuals: the standard error of a variance is 2 %.
    np.testing.assert_allclose(np.cov(w.T), 0.08 * np.eye(N), atol=0.008)
    np.testing.assert_allclose(np.cov(v.T), 0.03 * np.eye(M), atol=0.003)
    np.testing.assert_allclose(w.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(v.mean(0), 0, atol=0.012)
    np.testing.assert_allclose(np.cov(z[:, 0].T), 20.0 * np.eye(N), atol=3.5)


# Scores.


@pytest.mark.parametrize("kind", ["seen", "gapped"])
def test_scores_are_log_densities_of_a_dense_gaussian(kind):
    """Chain rule: each is log p of the frames up to it minus log p of those before it."""
    model = shared()[0]
    observed = BATCHES[kind].get("observed", np.ones((B, T), np.float32))
    found = model.score(FRAMES, BATCHES[kind].get("observed"), CONTROLS)
    a = model.encode(FRAMES).mean
    steps = model.steps(a, tf.constant(observed), tf.constant(CONTROLS))
    prior, filled, *_ = model._dynamics(steps)
    oracle = reference.Model(*(x.numpy() for x in prior)).cast(np.float64)
    exact = reference.dense_posterior(oracle, a.numpy().astype(np.float64), observed)
    steps = exact.filter.step_log_likelihoods
    assert reference.scaled_error(found.encoding_scores, steps) < 1e-4
    total = lgssm.log_likelihood(prior, filled, observed)
    np.testing.assert_allclose(found.encoding_scores.numpy().sum(1), total, rtol=1e-5)
    pixels = model.decode(a).numpy()
    terms = FRAMES * np.log(pixels) + (1 - FRAMES) * np.log1p(-pixels)
    expected = observed * terms.sum((2, 3, 4))
    np.testing.assert_allclose(found.reconstruction_scores, expected, rtol=1e-4)
    np.testing.assert_allclose(found.scores, steps + expected, rtol=1e-4, atol=1e-4)
    for score in found:
        np.testing.assert_array_equal(score.numpy()[observed == 0], 0.0)


def test_scores_look_back_only_and_find_the_odd_frame():
    model = shared()[0]
    odd = FRAMES.copy()
    odd[:, 3] = 1.0 - odd[:, 3]
    before, after = (model.score(x, None, CONTROLS) for x in (FRAMES, odd))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one[:, :3], other[:, :3], rtol=1e-5, atol=1e-5)
        assert np.abs(one[:, 3] - other[:, 3]).min() > 1e-3


# The contract.


def test_supports_every_query_but_those_about_objects():
    assert shared()[0].supports == frozenset(QUERIES) - {"locate", "components"}
    assert SequenceModel.elbo is not KVAE.elbo


@pytest.mark.parametrize("query", QUERIES)
def test_base_class_refuses(query):
    class Mute(SequenceModel):
        term_names = ("reconstruction",)
        encoding_size = 2

        def _decode(self, encodings, num_objects):
            return encodings

    model = Mute()
    assert model.supports == {"decode"}
    if query == "decode":
        np.testing.assert_array_equal(model.decode([[1.0, 2.0]]), [[1.0, 2.0]])
        return
    required = [
        p
        for p in inspect.signature(getattr(model, query)).parameters.values()
        if p.default is p.empty
    ]
    with pytest.raises(UserError, match=rf"^Mute does not {query}; it can decode$"):
        getattr(model, query)(*required)


def test_unknown_names():
    with pytest.raises(UserError, match="method is 'guess', expected one of smooth, filter"):
        shared()[0].impute(FRAMES, OBSERVED, CONTROLS, method="guess")
    with pytest.raises(UserError, match="objective is 'exact', expected one of collapsed, sampled"):
        KVAE(SHAPE, objective="exact")
    with pytest.raises(UserError, match="network kind is 'rnn'"):
        KVAE(SHAPE, network="rnn")
    with pytest.raises(UserError, match="likelihood is 'poisson'"):
        KVAE(SHAPE, likelihood="poisson")
    with pytest.raises(UserError, match="num_modes is 1001"):
        KVAE(SHAPE, num_modes=1001)


# Training.


def snapshot(variables):
    return [variable.numpy().copy() for variable in variables]


def largest_change(before, variables):
    return max(np.abs(v - b).max() for v, b in zip(variables, before, strict=True))


@pytest.mark.slow
def test_short_training_on_the_pendulum():
    data = pendulum.splits(0, (32, 1, 1), num_steps=6).train
    frames = np.asarray(data.frames, np.float32)
    assert frames.max() <= 1.0
    batch = as_tensors({"frames": frames, "controls": data.controls})
    keras.utils.set_random_seed(0)
    model = KVAE(
        data.frame_shape,
        data.control_size,
        units=(16,),
        latent_size=3,
        dynamics_units=8,
        likelihood="gaussian",
        frozen_updates=5,
    )
    model.build()
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    step = tf.function(model.train_step, autograph=False)
    start = snapshot(model.network.trainable_variables)
    others = snapshot(model.mixture.trainable_variables)
    logs = []
    for update in range(60):
        model.reset_metrics()
        logs.append({name: float(value) for name, value in step(batch).items()})
        if update == 4:
            assert largest_change(start, model.network.trainable_variables) == 0
            assert largest_change(others, model.mixture.trainable_variables) > 0
    assert largest_change(start, model.network.trainable_variables) > 1e-3
    elbos = [entry["elbo"] for entry in logs]
    assert np.isfinite(elbos).all()
    assert np.mean(elbos[-5:]) > np.mean(elbos[:5]) + 100  # nats a frame
    assert set(logs[0]) == {"loss", "elbo", "reconstruction", "regularisation", "gradient_norm"}


def test_step_reports_per_frame_and_weighs_the_reconstruction():
    model = new(reconstruction_weight=0.3, noise_seed=4)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    logs = model.train_step(as_tensors(BATCH))
    seed = tf.random.experimental.stateless_fold_in(
        tf.constant([4, 0], tf.int64), tf.constant(0, tf.int64)
    )
    bound = shared()[1](as_tensors(BATCH), seed)[0]
    for name, value in {"elbo": bound.elbo, **bound.terms}.items():
        expected = np.mean(value / T)
        np.testing.assert_allclose(logs[name], expected, rtol=1e-4)
    np.testing.assert_allclose(
        logs["loss"], -(0.3 * logs["reconstruction"] + logs["regularisation"]), rtol=1e-4
    )
    assert logs["gradient_norm"] > 0


@pytest.mark.slow
def test_the_encoder_rests_at_last():
    model = new(frozen_updates=1, settling_start=2)
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    step = tf.function(model.train_step, autograph=False)
    parts = {"encoder": model.encoder, "decoder": model.decoder, "network": model.network,
             "mixture": model.mixture}  # fmt: skip
    moves = []
    for _ in range(3):
        before = {name: snapshot(part.trainable_variables) for name, part in parts.items()}
        step(as_tensors(BATCH))
        moves.append(
            {n for n, p in parts.items() if largest_change(before[n], p.trainable_variables) > 0}
        )
    assert moves == [set(parts) - {"network"}, set(parts), set(parts) - {"encoder"}]


def test_weighted_gradient():
    """The update itself, not only the report, uses the weight."""
    model = new(reconstruction_weight=0.0)
    model.compile(optimizer=keras.optimizers.SGD(0.01))
    decoder = snapshot(model.decoder.trainable_variables)
    encoder = snapshot(model.encoder.trainable_variables)
    model.train_step(as_tensors(BATCH))
    assert largest_change(decoder, model.decoder.trainable_variables) == 0
    assert largest_change(encoder, model.encoder.trainable_variables) > 0


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow) for kind in ("mlp", "gru", "fifo", "constant")],
)
def test_other_dynamics_networks_with_learned_controls(kind):
    model = KVAE(
        SHAPE,
        control_size=U,
        units=(16,),
        num_modes=1 if kind == "constant" else K,
        dynamics_network=kind,
        dynamics_units=8,
        dynamics_window=2,
        learn_controls=True,
        jit_engine=True,
    )
    model.build()
    with tf.GradientTape() as tape:
        loss = model.loss_of(model.training_bound(as_tensors(GAPPED), pair(0)))
    gradients = tape.gradient(loss, model.network.control_head.trainable_variables)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
    assert np.isfinite(model.impute(**{**GAPPED}, method="smooth").frames).all()
    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer)
    logs = tf.function(model.train_step, autograph=False)(
        as_tensors(GAPPED)
    )  # the dynamics compiled inside
    assert all(np.isfinite(value) for value in logs.values())
    assert model.forecast(FRAMES, OBSERVED, CONTROLS, num_steps=3).frames.shape[1] == 3
    assert model.generate(2, 4).frames.shape == (2, 4, *SHAPE)
