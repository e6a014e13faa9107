"""The constrained objective: its phases, gradients and initialisations, and that it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kvae_tf
from kvae_tf import data, evaluation, lgssm
from kvae_tf.data import SequenceData
from kvae_tf.experiments.settings import Settings
from kvae_tf.layers import BernoulliFrames, GaussianFrames, ModeMixture
from kvae_tf.models.inputs import random_clip
from kvae_tf.models.kvae.constraint import ReconstructionConstraint
from kvae_tf.models.kvae.initialisation import initialise_frames, start_at_constant_velocity
from kvae_tf.models.kvae.model import KVAE
from kvae_tf.training.build import build, compile_model
from kvae_tf.training.fit import train as fit

SHAPE, B, T = (6, 5, 1), 4, 7


def new(**changes):
    keras.utils.set_random_seed(0)
    model = KVAE(
        SHAPE,
        units=(8,),
        encoding_size=2,
        latent_size=4,
        num_modes=2,
        dynamics_units=4,
        **(
            {"objective": "constrained", "likelihood": "gaussian", "standardised": True}
            | {"pretraining_updates": 1}
            | changes
        ),
    )
    model.build()
    return model


def batch(seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.uniform(size=(B, T, *SHAPE)).astype(np.float32)
    observed = np.ones((B, T), np.float32)
    observed[0, 2] = observed[1, 4:] = 0.0
    return {"frames": tf.constant(frames), "observed": tf.constant(observed)}


@pytest.mark.slow
def test_phases():
    model = new(likelihood="gaussian", settling_start=2, finishing_start=3)
    optimizer = keras.optimizers.SGD(1e-4)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    step = tf.function(model.train_step, autograph=False)
    parts = {
        name: getattr(model, name)
        for name in ("encoder", "decoder", "likelihood", "network", "mixture", "constraint")
    }
    moves = []
    for _ in range(4):
        before = {n: [v.numpy() for v in p.trainable_variables] for n, p in parts.items()}
        step(batch())
        after = {n: [v.numpy() for v in p.trainable_variables] for n, p in parts.items()}
        moves.append({n for n in parts if not all(map(np.array_equal, before[n], after[n]))})
    assert moves[0] == {"encoder", "decoder", "likelihood"}
    assert moves[1] == set(parts)
    assert moves[2] == {"decoder", "likelihood", "network", "mixture"}
    assert moves[3] == set(parts) - {"constraint"}


@pytest.mark.parametrize("objective", ["constrained", "collapsed"])
def test_linear_features_rest_only_without_a_constraint(objective):
    model = new(linear_encoder=True, objective=objective)
    first = {id(variable) for variable in model.phases[0].variables}
    learns = [id(variable) in first for variable in model.encoder.trainable_variables]
    assert all(learns) if objective == "constrained" else not any(learns)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_loss_is_minus_the_bound(likelihood):
    """Training and validation losses have the same unit, whatever the gradient is."""
    model, seed = new(likelihood=likelihood), tf.constant([0, 1], tf.int64)
    bound = model.training_bound(batch(), seed)
    np.testing.assert_allclose(bound.elbo, model.elbo(batch(), seed).elbo, rtol=1e-5)
    np.testing.assert_allclose(bound.annealed, bound.elbo, rtol=1e-5)
    np.testing.assert_allclose(sum(bound.terms.values()), bound.elbo, rtol=1e-5)
    first = model.auto_encoder_bound(batch(), seed)
    np.testing.assert_allclose(first.annealed, first.elbo, rtol=1e-5)


def test_gradients_of_the_penalty():
    constraint = ReconstructionConstraint()
    constraint.build(SHAPE)
    constraint.target.assign(0.1)
    share = tf.Variable([0.05, 0.12, 0.5])
    for start, expected in (
        (np.log(3.0), [0.5, -0.2, -1.0]),  # excesses -.5, .2, and 4, of which 1 counts
        (20.0, [0.5, 0.0, 0.0]),  # above its limit it can only fall
        (-20.0, [0.0, -0.2, -1.0]),
    ):
        constraint.log_multiplier.assign(start)
        with tf.GradientTape(persistent=True) as tape:
            terms = tf.unstack(constraint.penalty(share))
        multiplier = np.clip(np.exp(start), 1e-2, 1e4)
        for i, (term, slope) in enumerate(zip(terms, expected, strict=True)):
            np.testing.assert_allclose(term, multiplier * share[i] / 0.1, rtol=1e-5)
            by_share = tape.gradient(term, share)
            np.testing.assert_allclose(by_share[i], multiplier / 0.1, rtol=1e-5)
            by_multiplier = tape.gradient(term, constraint.log_multiplier)
            np.testing.assert_allclose(by_multiplier, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [BernoulliFrames, lambda: GaussianFrames(SHAPE)])
def test_distortion(kind):
    layer = kind()
    layer.build((None, *SHAPE))
    frames = tf.constant(np.random.default_rng(1).uniform(0.1, 0.9, (3, *SHAPE)), tf.float32)
    perfect = layer.inverse_mean(frames)
    np.testing.assert_allclose(layer.mean(perfect), frames, atol=1e-6)
    np.testing.assert_allclose(layer.distortion(perfect, frames), 0.0, atol=1e-5)
    off = perfect + 0.5
    distortion = layer.distortion(off, frames).numpy()
    assert (distortion > 0.1).all()
    np.testing.assert_allclose(layer.distortion(off, frames, 2.0), 2.0 * distortion, rtol=1e-6)
    # One picture for all frames, as the mean frame.
    first = layer.distortion(off[0], frames).numpy()
    np.testing.assert_allclose(first[0], distortion[0], rtol=1e-6)
    left = np.zeros(SHAPE, np.float32)
    left[:, :2] = 1.0
    parts = [layer.distortion(off, frames, x).numpy() for x in (left, 1.0 - left)]
    np.testing.assert_allclose(sum(parts), distortion, rtol=1e-5)


def test_frames_are_standardised_and_weighted():
    rng = np.random.default_rng(2)
    frames = np.full((30, T, *SHAPE), 0.5, np.float32)
    frames[:, :, 0] += 0.3 * rng.uniform(-1, 1, (30, 1, 5, 1))  # a background of each sequence
    frames[:, :, 3] += 0.1 * rng.uniform(-1, 1, (30, T, 5, 1))  # what changes within sequences
    train = SequenceData.from_arrays(frames)
    model = new()
    initialise_frames(model, train)
    np.testing.assert_allclose(model.encoder.centre, frames.mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(model.decoder.spread[3], frames.std((0, 1))[3], rtol=1e-4)
    assert (model.decoder.spread.numpy()[1] > 0.01).all()  # a pixel that never changes
    weights = model.constraint.pixel_weights.numpy()
    np.testing.assert_allclose(weights[0], 0.02, atol=1e-3)
    assert (weights[3] > 0.7).all()
    shares = model.constraint.share(model.likelihood, model.decoder.centre, frames)
    np.testing.assert_allclose(np.mean(shares), 1.0, rtol=1e-4)
    inner = model.encoder.trunk[0]
    standardised = (frames[0, 0] - model.encoder.centre) / model.encoder.spread
    expected = model.encoder.head(inner(tf.reshape(standardised, [1, -1])))[0, :2]
    np.testing.assert_allclose(model.encode(frames[0, 0]).mean, expected, atol=1e-5)


def test_constant_velocity():
    """What moves straight on is predicted to within its noise; a random walk is not as good."""
    rng = np.random.default_rng(3)
    steps = np.arange(12.0)[:, None]
    start, velocity = rng.normal(size=(2, 40, 1, 2))
    a = start + velocity * steps + 0.01 * rng.normal(size=(40, 12, 2))
    mixture = ModeMixture(2, 4, 2)
    mixture.build()
    start_at_constant_velocity(mixture, a, np.ones((40, 12), bool), seed=0)
    model = mixture(tf.fill([40, 13, 2], 0.5), tf.zeros([40, 12, 0]))
    predicted = lgssm.filter(model, tf.constant(a, tf.float32)).predicted_means
    error = np.asarray(predicted)[:, 4:, :2] - a[:, 4:]
    # The modes differ by a little at first.
    assert np.sqrt(np.mean(error**2)) < 0.3 * np.sqrt(np.mean(np.diff(a, axis=1) ** 2))
    few = np.zeros((40, 12), bool)
    few[:, ::4] = True  # no two in a row
    start_at_constant_velocity(mixture, a, few, seed=0)
    assert all(np.isfinite(v).all() for v in mixture.get_weights())


@pytest.mark.parametrize(("m", "n"), [(3, 2), (3, 3), (2, 3), (2, 7)])
def test_constant_velocity_of_any_size(m, n):
    mixture = ModeMixture(2, n, m)
    mixture.build()
    a = np.random.default_rng(4).normal(size=(9, 8, m))
    start_at_constant_velocity(mixture, a, np.ones((9, 8), bool), seed=0)
    model = mixture(tf.fill([9, 9, 2], 0.5), tf.zeros([9, 8, 0]))
    assert np.isfinite(lgssm.log_likelihood(model, tf.constant(a, tf.float32))).all()


def test_random_clips():
    x = tf.range(20.0)[tf.newaxis] + 100.0 * tf.range(300.0)[:, tf.newaxis]
    (clip,) = random_clip(8, lgssm.as_sampler(0), x)
    assert clip.shape == (300, 8)
    np.testing.assert_array_equal(np.diff(clip, axis=1), 1.0)
    starts = clip.numpy()[:, 0] - 100.0 * np.arange(300)
    assert set(starts) == set(range(13))
    (whole,) = random_clip(30, lgssm.as_sampler(0), x)
    np.testing.assert_array_equal(whole, x)


FLAGS = {
    "model": "kvae", "dataset": "pendulum", "objective": "constrained", "standardised": True,
    "likelihood": "gaussian", "per_pixel_std": False, "encoding_size": 3, "latent_size": 6,
    "num_modes": 2, "dynamics_units": 16, "learn_noise": True, "learn_initial": True,
    "max_encoding_variance": 1.0, "learning_rate": 0.003, "schedule": "constant", "jit": "off",
}  # fmt: skip


@pytest.mark.slow
def test_learns_to_fill_in():
    splits = data.load("pendulum", 0, num_sequences=(200, 10, 60))
    flags = {name: value for name, value in FLAGS.items() if name != "dataset"}
    own = {"units": [64], "pretraining_epochs": 2, "epochs": 5, "steps_per_epoch": 100}
    model = kvae_tf.train(splits, **flags, **own, recipe="off")
    found = evaluation.ask(model, splits.test)
    assert found.to_last_frame < 0.5
    assert found.information > 3.0
    assert evaluation.word(found) == "good"
    # What the constraint asks for.
    frames = splits.test.unit_frames
    decoded = model.decoder(model.encode(frames).mean)
    share = model.constraint.share(model.likelihood, decoded, frames)
    assert np.mean(share) < 2.0 * float(model.constraint.target)


@pytest.mark.slow
def test_a_run_that_must_collapse():
    splits = data.load("pendulum", 0, num_sequences=(100, 10, 60))
    flags = {"objective": "collapsed", "reconstruction_weight": 1e-6, "standardised": False}
    flags = {name: x for name, x in (FLAGS | flags).items() if name != "dataset"}
    own = {"units": [16], "epochs": 1, "steps_per_epoch": 100}
    model = kvae_tf.train(splits, **flags, **own, recipe="off")
    assert evaluation.judge(model, splits.test)["verdict"] == "collapsed"


@pytest.mark.slow
def test_resumed_bit_for_bit(tmp_path):
    """From a checkpoint of before the dynamics were initialised."""
    splits = data.load("pendulum", 0, num_sequences=(20, 4, 4))
    own = {"units": (8,), "pretraining_epochs": 1, "epochs": 3, "steps_per_epoch": 2}
    plan = Settings.from_dict(FLAGS | own | {"run_dir": "unused", "image_epochs": 0}).plan

    def trained(folder, *stops):
        for stop in stops:
            model = build(plan, splits.train)
            states = compile_model(model, plan, splits.train, folder / "checkpoints")
            states.restore_last()
            fit(model, states, plan, splits, folder, stop)
        return model.get_weights()

    at_once, resumed = trained(tmp_path / "one", 3), trained(tmp_path / "two", 1, 3)
    assert all(map(np.array_equal, at_once, resumed))


@pytest.mark.slow
def test_a_trained_model_goes_on_with_its_dynamics(tmp_path):
    """Neither ``fit`` nor ``--init_from`` trains the auto-encoder alone again."""
    splits = data.load("pendulum", 0, num_sequences=(60, 10, 10))
    flags = {name: x for name, x in FLAGS.items() if name != "dataset"} | {"recipe": "off"}
    own = {"units": [8], "epochs": 2, "steps_per_epoch": 5}
    kvae_tf.train(splits, run_dir=tmp_path / "run", pretraining_epochs=1, **flags, **own)
    export = tmp_path / "run" / "saved_model"
    model = kvae_tf.load(export, trainable=True)
    assert len(model.phases) == 1
    target = float(model.constraint.target)
    assert 0.0 < target <= 1.0
    tuned = kvae_tf.train(splits, init_from=str(export), learning_rate=1e-6, epochs=1)
    np.testing.assert_allclose(tuned.constraint.target, target)
    for mine, theirs in zip(tuned.mixture.get_weights(), model.mixture.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
