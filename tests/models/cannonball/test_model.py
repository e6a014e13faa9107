"""Several objects: the bound term by term, positions in gaps, queries, phases of training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from kvae_tf import lgssm
from kvae_tf.errors import UserError
from kvae_tf.layers import Encoding
from kvae_tf.models import Cannonball
from kvae_tf.models.cannonball import together
from kvae_tf.models.cannonball.collisions import Law
from kvae_tf.models.cannonball.model import POSTERIORS
from kvae_tf.models.cannonball.spec import CannonballSettings
from kvae_tf.models.cannonball.straightening import straighten

SHAPE = (6, 6, 1)
B, T, N, K, M = 3, 7, 2, 2, 2
RNG = np.random.default_rng(0)
FRAMES = (RNG.random((B, T, *SHAPE)) > 0.7).astype(np.float32)
COUNTS = np.array([1, 2, 2], np.int32)
OBSERVED = np.ones((B, T), np.float32)
OBSERVED[:, 2:5] = 0
PAIR = tf.constant([0, 7], tf.int64)
BATCH = {"frames": FRAMES, "num_objects": COUNTS}


def new(**options):
    keras.utils.set_random_seed(0)
    options = {"max_objects": N, "state_size": 9, "num_components": K} | options
    model = Cannonball(SHAPE, **options)
    model.build()
    for variable in model.trainable_variables:
        variable.assign_add(np.random.default_rng(1).normal(size=variable.shape, scale=0.3))
    return model


@pytest.fixture(scope="module", params=[*POSTERIORS, "collisions"])
def model(request):
    return new_colliding() if request.param == "collisions" else new(posterior=request.param)


def new_colliding(**options):
    found = new(posterior="smoothed", collision_modes=3, collision_units=6, **options)
    found.motion.collisions.is_fitted.assign(1.0)
    return found


def test_bound_term_by_term():
    model = new()
    bound = model.elbo(BATCH, PAIR)
    q = model.attention(FRAMES, COUNTS)
    mean, std = (x.numpy() for x in q)
    a = mean + std * tf.random.stateless_normal(mean.shape, PAIR).numpy()
    present = (np.arange(N) < COUNTS[:, None]).astype(np.float32)
    logits = model.renderer(a, np.repeat(present[:, None], T, axis=1)).numpy().astype(float)
    p = special.expit(logits)
    log_x = (FRAMES * np.log(p) + (1 - FRAMES) * np.log1p(-p)).sum((1, 2, 3, 4))
    np.testing.assert_allclose(bound.terms["reconstruction"], log_x, rtol=1e-5)
    entropy = stats.norm(0, std).entropy().sum((1, 3))  # [B, N]
    prior = np.stack([model.motion.log_prob(a[:, :, n]) for n in range(N)], axis=1)
    expected = (present * (prior + entropy)).sum(1)
    np.testing.assert_allclose(bound.terms["regularisation"], expected, rtol=1e-4)
    np.testing.assert_allclose(bound.elbo, sum(bound.terms.values()), rtol=1e-6)


@pytest.mark.parametrize("meet", [False, True])
def test_bound_with_the_smoothed_posterior(meet):
    model = new_colliding() if meet else new(posterior="smoothed")
    bound = model.elbo(BATCH | {"observed": OBSERVED}, PAIR)
    q = model.locate(FRAMES, OBSERVED, COUNTS)
    present = (np.arange(N) < COUNTS[:, None]).astype(np.float32)
    apart = [tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [-1, T, M]) for x in q]
    seen, law = np.repeat(OBSERVED, N, axis=0), None
    if meet:
        law = together.follow(model.motion, q.mean, tf.square(q.std), OBSERVED, present).law
        law = [np.swapaxes(x.numpy(), 1, 2) for x in law]
        law = Law(*(x.reshape(-1, *x.shape[2:]) for x in law))
    a, log_ratio = model.motion.posterior_sample(apart[0], tf.square(apart[1]), seen, PAIR, law)
    a = tf.transpose(tf.reshape(a, [B, N, T, M]), [0, 2, 1, 3])
    logits = model.renderer(a, np.repeat(present[:, None], T, axis=1))
    log_x = OBSERVED * model.likelihood.log_prob(logits, FRAMES)
    np.testing.assert_allclose(bound.terms["reconstruction"], log_x.numpy().sum(1), rtol=1e-4)
    expected = (present * log_ratio.numpy().reshape(B, N)).sum(1)
    np.testing.assert_allclose(bound.terms["regularisation"], expected, rtol=1e-4)


def test_absent_objects_cost_nothing_and_show_nothing(model):
    keras.utils.set_random_seed(0)
    with_more = Cannonball.from_config(model.get_config() | {"max_objects": 3})
    with_more.build()
    weights = model.get_weights()
    for variable, value in zip(with_more.weights, weights, strict=True):
        if variable.shape == value.shape:
            variable.assign(value)
        else:  # the start states of up to three objects
            start = variable.numpy()
            start[:N, :N] = value
            variable.assign(start)
    q, r = (m.locate(FRAMES, None, np.ones(B, np.int32)) for m in (model, with_more))
    np.testing.assert_allclose(q.mean[:, :, 0], r.mean[:, :, 0], atol=1e-6)
    frames = [
        m.decode(tf.reshape(x.mean, [B, T, -1]), np.ones(B, np.int32))
        for m, x in ((model, q), (with_more, r))
    ]
    np.testing.assert_allclose(*frames, atol=1e-6)


def test_missing_frames_are_never_looked_at(model):
    other = np.where(OBSERVED[..., None, None, None] > 0, FRAMES, np.nan)
    for method in model.imputation_methods:
        one = model.impute(FRAMES, OBSERVED, method=method, num_objects=COUNTS)
        two = model.impute(other, OBSERVED, method=method, num_objects=COUNTS)
        for x, y in zip(one, two, strict=True):
            np.testing.assert_array_equal(x, y)
    batch = BATCH | {"observed": OBSERVED}
    bounds = [model.elbo(batch | {"frames": frames}, PAIR) for frames in (FRAMES, other)]
    np.testing.assert_array_equal(bounds[0].elbo, bounds[1].elbo)
    np.testing.assert_array_equal(bounds[0].num_frames, OBSERVED.sum(1))


def test_attention_is_shown_what_the_motion_expects(model):
    """In a gap: the rendered prediction of the likeliest component, of the frames before."""
    if model.motion.collisions is not None:  # met by the likeliest component, else by the mixture
        model = new_colliding(num_components=1)
    counts = np.full(B, N, np.int32)
    before = model.attention(FRAMES[:, :2], counts)
    gap = model.locate(FRAMES, OBSERVED, counts)
    np.testing.assert_allclose(gap.mean[:, :2], before.mean, atol=1e-5)
    expected = model.forecast(FRAMES[:, :2], num_steps=1, num_objects=counts)
    shown = tf.concat([FRAMES[:, :2], expected.frames], axis=1)
    np.testing.assert_allclose(gap.mean[:, 2], model.attention(shown, counts).mean[:, 2], atol=1e-4)


def test_where_all_is_seen_gaps_make_no_difference(model):
    ones = np.ones((B, T), np.float32)
    for one, two in zip(model.locate(FRAMES, ones, COUNTS),
                        model.locate(FRAMES, None, COUNTS), strict=True):  # fmt: skip
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_filled_in_positions_are_those_of_the_exact_engine(model):
    q = model.locate(FRAMES, OBSERVED, COUNTS)
    probabilities = model.components(FRAMES, OBSERVED, COUNTS).numpy()
    result = model.impute(FRAMES, OBSERVED, num_objects=COUNTS)
    found = result.encodings.numpy().reshape(B, T, N, M)
    known = OBSERVED > 0
    there = np.arange(N) < COUNTS[:, None]
    if model.posterior == "attention":
        means = q.mean.numpy() * there[:, None, :, None]
        np.testing.assert_allclose(found[known], means[known], atol=1e-6)
    np.testing.assert_array_equal(found[~known][COUNTS.repeat(3) == 1, 1], 0.0)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)
    for n in range(N):
        readings = model.posterior == "smoothed"
        variances = tf.square(q.std[:, :, n]) if readings else None
        law = None
        if model.motion.collisions is not None:
            law = together.follow(
                model.motion, q.mean, tf.square(q.std), OBSERVED, there.astype(np.float32)
            ).law
            law = Law(*(x[:, :, n] for x in law))
        best = tf.constant(probabilities[:, n].argmax(-1))
        ssm = model.motion.model(best, variances, law)
        smoothed = lgssm.smooth(ssm, q.mean[:, :, n], OBSERVED)
        np.testing.assert_allclose(
            found[there[:, n], 2:5, n],
            smoothed.smoothed_means.numpy()[there[:, n], 2:5, :M],
            rtol=1e-3,
            atol=1e-3,
        )
        if readings:
            expected, covariances = smoothed.smoothed_means[..., :M], smoothed.smoothed_covariances
            # The noisy position is one more state, seen by the reading alone.
            noise, r = model.motion.emission_noise.numpy(), variances.numpy()
            P = tf.linalg.diag_part(covariances)[..., :M].numpy()
            mean = (expected / noise + q.mean[:, :, n] / r) / (1 / noise + 1 / r)
            spread = np.sqrt(noise * r / (noise + r) + (r / (noise + r)) ** 2 * P)
            std = result.encoding_stds.numpy().reshape(B, T, N, M)[:, :, n]
            here = known & there[:, n][:, None]
            np.testing.assert_allclose(found[:, :, n][here], mean[here], rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(std[here], spread[here], rtol=1e-3, atol=1e-3)
    latents = model.smooth(FRAMES, OBSERVED, num_objects=COUNTS)
    assert latents.means.shape == (B, T, 4 * N)
    covariance = latents.covariances.numpy()
    np.testing.assert_array_equal(covariance[..., :4, 4:], 0.0)
    assert np.linalg.eigvalsh(covariance.astype(float)).min() > 0


def test_draws_follow_the_motion_and_the_seed(model):
    one, same, other = (model.generate(4, 5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.frames, same.frames)
    assert np.abs(one.frames - other.frames).max() > 0
    assert one.encodings.shape == (4, 5, N * M)
    np.testing.assert_allclose(one.frames, model.decode(one.encodings), atol=1e-6)


def test_the_motion_rests_at_first_and_the_weight_falls():
    model = new(frozen_updates=2, kl_weight=100.0, kl_updates=4)
    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    step = tf.function(model.train_step, autograph=False)

    def moved():
        before = [variable.numpy() for variable in model.motion.trainable_variables]
        step(BATCH)
        after = [variable.numpy() for variable in model.motion.trainable_variables]
        return any(np.any(old != new) for old, new in zip(before, after, strict=True))

    assert [moved() for _ in range(4)] == [False, False, True, True]
    for updates, weight in ((0, 100.0), (2, 10.0), (4, 1.0), (9, 1.0)):
        optimizer.iterations.assign(updates)
        bound = model.training_bound(BATCH, PAIR)
        expected = bound.terms["reconstruction"] + weight * bound.terms["regularisation"]
        np.testing.assert_allclose(bound.annealed, expected, rtol=1e-4)


def test_orders_of_the_likeliest_hypothesis():
    model, plain = (
        new(posterior="smoothed", emission_noise=1e-4, hypotheses=hypotheses)
        for hypotheses in (4, 0)
    )
    for one in (model, plain):
        one.attention.moments_bias.assign([0.0, 0.0, -9.0, -9.0])  # precise readings
    readings = plain.locate(FRAMES, None, COUNTS)
    located = model.locate(FRAMES, None, COUNTS)
    for x, y in zip(located, readings, strict=True):  # the same readings, in an order of their own
        np.testing.assert_allclose(np.sort(x, axis=2), np.sort(y, axis=2), atol=1e-6)
        np.testing.assert_allclose(x[0], y[0], atol=1e-6)  # one object
    assert np.abs(located.mean - readings.mean).max() > 1e-3
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.elbo(BATCH, PAIR).elbo)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    later = FRAMES.copy()
    later[:, 4:] = 1.0 - later[:, 4:]
    for one, two in zip(
        model.filter(FRAMES, num_objects=COUNTS), model.filter(later, num_objects=COUNTS),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(one[:, :4], two[:, :4], atol=1e-5)
    weights, others = (
        model.impute(frames, num_objects=COUNTS, method="filter").mode_weights
        for frames in (FRAMES, later)
    )
    np.testing.assert_allclose(weights[:, :4], others[:, :4], atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(weights, axis=-1), N, rtol=1e-5)


@pytest.mark.parametrize("degrees", [3.0, 1e7])
def test_readings_that_are_off_count_less(degrees, monkeypatch):
    """A ball on a straight line, one of whose readings is 30 standard deviations off."""
    gaussian, robust = (
        new(posterior="smoothed", emission_noise=1e-4, student_degrees=value)
        for value in (0.0, degrees)
    )
    line = np.linspace(0, 1, T)[:, None, None] * np.ones((B, T, N, M))
    readings = line.copy()
    readings[:, 3, 0] += 3.0
    q = Encoding(*(tf.constant(x, tf.float32) for x in (readings, np.full_like(line, 0.1))))
    monkeypatch.setattr(Cannonball, "_locate", lambda *_: q)
    errors = [
        np.abs(model.smooth(FRAMES).means.numpy().reshape(B, T, N, 4)[..., :M] - line)
        for model in (gaussian, robust)
    ]
    if degrees > 1e6:
        np.testing.assert_allclose(errors[1], errors[0], atol=1e-4)
    else:
        assert errors[1][:, 3, 0].max() < 0.5 * errors[0][:, 3, 0].min()
    # The same noise, so that the filter, which cannot see what comes, answers as before.
    one, two = (model.filter(FRAMES).means for model in (gaussian, robust))
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["smooth", "filter"])
def test_hidden_frames_may_be_means_over_draws(model, method):
    """Against a plain Monte Carlo mean; seen frames and all that is no frame stay the same."""
    given = {"num_objects": COUNTS, "method": method}
    plain = model.impute(FRAMES, OBSERVED, **given)
    try:
        model.decoded_paths = 256
        drawn = model.impute(FRAMES, OBSERVED, **given)
    finally:
        model.decoded_paths = 0
    for one, two in zip(drawn[1:5], plain[1:5], strict=True):
        np.testing.assert_array_equal(one, two)
    known = OBSERVED > 0
    np.testing.assert_allclose(drawn.frames[known], plain.frames[known], atol=1e-5)
    noise = np.random.default_rng(5).normal(size=(1000, *plain.encodings.shape))
    a = (plain.encodings + plain.encoding_stds * noise.astype(np.float32)).numpy()
    decoded = model.decode(a.reshape(1000 * B, T, -1), np.tile(COUNTS, 1000)).numpy()
    decoded = decoded.reshape(1000, B, T, *SHAPE)
    expected, spread = decoded.mean(0)[~known], decoded.std(0)[~known]
    # As the mean of 256 draws, and of evenly spread ones rather better.
    np.testing.assert_array_less(np.abs(drawn.frames[~known] - expected), spread / 4 + 1e-4)
    assert np.abs(expected - plain.frames[~known]).max() > 0.01


def test_a_map_between_the_planes_changes_no_frame():
    model = new(posterior="smoothed", map_degree=5)
    rng, t = np.random.default_rng(0), np.arange(12)[:, None]
    start, velocity = rng.uniform(-1, 1, size=(2, 100, 1, M)) * [[[[1.0]]], [[[0.1]]]]
    paths = start + velocity * t - [0.0, 0.01] * t**2
    bent = (paths + 0.08 * paths**2).astype(np.float32)
    straighten(model.to_motion, model.from_motion, bent)
    located = model.to_motion(bent)
    assert np.abs(located - bent).max() > 0.1
    positions = (np.repeat(x[:, :, np.newaxis], N, axis=2) for x in (located, bent))
    present = np.ones((100, 12, N), np.float32)
    after = model.decode(np.reshape(next(positions), [100, 12, -1]), np.full(100, N, np.int32))
    before = model.likelihood.mean(model.renderer(next(positions), present))
    assert np.abs(after - before).max() < 0.05 * np.ptp(before)


def new_refined(**options):
    """Readings of the light, with places of pixels that are anything."""
    model = new(posterior="smoothed", hypotheses=2, refinements=2, **options)
    rng = np.random.default_rng(4)
    light = model.light_readings
    light.places.assign(rng.normal(size=light.places.shape))
    light.is_fitted.assign(1.0)
    return model


def test_until_they_are_fitted_refinements_change_nothing():
    refined, plain = new_refined(), new(posterior="smoothed", hypotheses=2)
    known = {variable.path.split("/", 1)[-1]: variable for variable in plain.weights}
    for variable in refined.weights:
        if variable.path.split("/", 1)[-1] in known:
            variable.assign(known[variable.path.split("/", 1)[-1]])
    given = {"num_objects": COUNTS, "observed": OBSERVED}
    fitted = refined.smooth(FRAMES, **given).means
    assert np.abs(fitted - plain.smooth(FRAMES, **given).means).max() > 0.01
    refined.light_readings.is_fitted.assign(0.0)
    np.testing.assert_array_equal(
        refined.smooth(FRAMES, **given).means, plain.smooth(FRAMES, **given).means
    )


def test_refined_forecasts_are_smoothed_and_filters_do_not_look_ahead():
    model, given = new_refined(), {"num_objects": COUNTS}
    later = FRAMES.copy()
    later[:, 4:] = 1.0 - later[:, 4:]
    before, after = (
        model.impute(x, OBSERVED * 0 + 1, method="filter", **given).encodings
        for x in (FRAMES, later)
    )
    np.testing.assert_allclose(before[:, :4], after[:, :4], rtol=1e-5)
    ending = np.tile(np.arange(T) < 4, (B, 1)).astype(np.float32)
    filtered, smoothed = (
        model.impute(FRAMES, ending, method=m, **given) for m in ("filter", "smooth")
    )
    np.testing.assert_array_equal(filtered.encodings[:, 4:], smoothed.encodings[:, 4:])
    assert np.abs(filtered.encodings[:, :4] - smoothed.encodings[:, :4]).max() > 1e-3
    forecast = model.forecast(FRAMES[:, :4], num_steps=T - 4, **given)
    np.testing.assert_allclose(forecast.encodings, smoothed.encodings[:, 4:], atol=1e-4)


def test_attention_rests_while_readings_are_refined():
    model = new(posterior="smoothed", hypotheses=2, refinements=1, settling_start=3)
    attention, light = model.attention.trainable_variables, model.light_readings.trainable_variables
    learned = [{id(x) for x in phase.variables} for phase in model.phases]
    assert all(id(x) in learned[0] and id(x) not in learned[-1] for x in attention)
    assert all(id(x) not in learned[0] and id(x) in learned[-1] for x in light)


def test_bad_arguments(model):
    with pytest.raises(UserError, match="controls of size 2"):
        Cannonball(SHAPE, control_size=2)
    with pytest.raises(UserError, match="'tight'"):
        Cannonball(SHAPE, posterior="tight")
    with pytest.raises(UserError, match="student_degrees is 3.0, expected 0 with posterior='att"):
        Cannonball(SHAPE, student_degrees=3.0)
    for given, words in (
        ({"student_degrees": 3.0}, "--student_degrees is 3.0, expected 0, or --posterior"),
        ({"refinements": 2}, "--refinements is 2, expected 0, or --settling_epochs of 1 or more"),
        ({"kl_weight": 5.0}, "--kl_weight is 5, expected 1, or --kl_epochs of 1 or more"),
        ({"map_degree": 5}, "--map_degree is 5, expected 0, or --settling_epochs of 1 or more"),
    ):
        with pytest.raises(UserError, match=words):
            CannonballSettings(**given).validate(epochs=1)
    with pytest.raises(UserError, match="'best'"):
        model.impute(FRAMES, method="best")
