"""The emission noise after a calibration, also of runs that are interrupted or resumed."""

import json
import math

import numpy as np
import pytest

import kvae_tf
from kvae_tf import evaluation
from kvae_tf.data import SequenceData, from_vectors, gap, missing_at_random
from kvae_tf.errors import UserError
from kvae_tf.experiments import run
from kvae_tf.lgssm import LGSSM
from kvae_tf.models.kvae import KVAE, LinearKVAE
from kvae_tf.training import calibration

Q, R, N, T = 0.02, 0.5, 300, 12


@pytest.fixture(scope="module")
def walks():
    """Random walks that are seen with noise, and their model."""
    rng = np.random.default_rng(0)
    z = np.cumsum(rng.normal(size=(N, T, 2)) * np.sqrt([[[1.0]] + [[Q]] * (T - 1)])[0], axis=1)
    x = z + math.sqrt(R) * rng.normal(size=z.shape)
    model = LinearKVAE(
        (1, 2, 1), network="linear", latent_size=2, num_modes=1, dynamics_network="constant",
        learn_noise=True, learn_initial=True, standardise=[[0.0, 0.0], [1.0, 1.0]],
    )  # fmt: skip
    model.build()
    model.mixture.assign(
        LGSSM(np.eye(2), None, [Q, Q], np.eye(2), [R, R], np.zeros(2), np.eye(2)), None
    )
    return from_vectors(x.astype(np.float32)), model


@pytest.mark.parametrize("spoiled", [0.3, 1.0, 3.0])
def test_a_spoiled_noise_is_found_again(walks, spoiled, capsys):
    data, model = walks
    noise = model.log_emission_noise
    right = noise.numpy()
    noise.assign(right + np.float32(math.log(spoiled)))
    factor, of_methods = calibration.calibrate(model, data, seed=1)
    assert of_methods == {}
    found = noise.numpy()
    noise.assign(right)
    # About 6,000 entries: 0.004 of a coverage, 0.03 of the logarithm of a variance.
    assert abs(math.log(factor * spoiled)) < 0.1
    np.testing.assert_allclose(found - right, math.log(factor * spoiled), atol=1e-6)
    assert capsys.readouterr().out.count("\n") == 1


def test_a_noise_that_cannot_help_stays(walks):
    data, model = walks
    noise, q = model.log_emission_noise, model.mixture.log_transition_noise
    right, r = q.numpy(), noise.numpy()
    q.assign(right + math.log(1e6))
    with pytest.warns(UserWarning, match=r"no calibration: 90 % intervals .* hold 100.0%, and 100"):
        assert calibration.calibrate(model, data, seed=0) == (1.0, {})
    q.assign(right)
    np.testing.assert_array_equal(noise, r)


@pytest.mark.filterwarnings("ignore:no calibration")
@pytest.mark.parametrize("network", [pytest.param("lstm", marks=pytest.mark.slow), "state"])
def test_a_factor_for_each_method(network):
    levels = np.cumsum(np.random.default_rng(0).normal(size=(N, 7)), axis=1)[..., None, None, None]
    pixels = 0.5 + 0.1 * levels + 0.2 * np.random.default_rng(1).random((N, 7, 4, 4, 1))
    data = SequenceData.from_arrays(np.clip(pixels, 0.0, 1.0).astype(np.float32))
    model = KVAE(
        (4, 4, 1), units=(4,), num_modes=2, dynamics_network=network, learn_noise=True,
        paths=1 if network == "lstm" else 4, imputation_factors=True,
    )  # fmt: skip
    model.build()
    seen = np.tile(np.arange(7) % 3 < 2, (N, 1)).astype(np.float32)
    frames = data.unit_frames

    def answers():
        return {m: model.impute(frames, seen, method=m) for m in model.imputation_methods}

    model.imputation_factors.assign([0.5, 3.0])  # of a model that a training started from
    factor, of_methods = calibration.calibrate(model, data, seed=1)
    assert list(of_methods) == ["smooth", "filter"]
    np.testing.assert_allclose(model.imputation_factors, list(of_methods.values()), rtol=1e-6)
    masks = missing_at_random(N, 7, 0.5, 4, 1), gap(N, 7, *evaluation.middle_gap(7))
    found = [evaluation.coverage(model, data, mask, (0.9,), seed=1) for mask in masks]
    for method in of_methods:
        held = np.mean([of_mask[method][0] for of_mask in found])
        assert abs(held - 0.9) < 0.002  # an encoding is 0.0008 of a round

    scaled = answers()
    step = model.filter_step(model.filter_start(N), frames[:, 0], np.zeros(N, np.float32))[1]
    model.imputation_factors.assign(np.ones(2, np.float32))
    plain = answers()
    first = model.filter_step(model.filter_start(N), frames[:, 0], np.zeros(N, np.float32))[1]
    for method, value in of_methods.items():
        ratio = scaled[method].encoding_stds / plain[method].encoding_stds
        np.testing.assert_allclose(
            ratio, np.where(seen[..., None] > 0, 1.0, value) + 0 * ratio, rtol=1e-5
        )
        np.testing.assert_array_equal(scaled[method].frames, plain[method].frames)
    ratio = step["encoding_stds"] / first["encoding_stds"]
    np.testing.assert_allclose(ratio, of_methods["filter"], rtol=1e-5)


SMALL = {"units": (4,), "num_modes": 1, "dynamics_network": "constant", "learn_noise": True,
         "epochs": 1, "steps_per_epoch": 2, "batch_size": 8, "image_epochs": 0,
         "recipe": "off"}  # fmt: skip
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 7, 4, 4), np.uint8)


def noise(model):
    return model.log_emission_noise.numpy()


FACTORS = ["train/smooth_std_factor", "train/filter_std_factor"]


def deviations(*given):
    """Uniform up to two and three times the value that 90 % of normal errors are below."""
    grid = np.linspace(0.0, 1.0 / 0.9, 5001) * 1.6449
    return {"smooth": 2.0 * grid, "filter": 3.0 * grid}


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Trains in a folder of a name; no evaluation, no export, and a coverage that costs nothing."""
    for name in ("_write_verdict", "export", "_describe", "_evaluate"):
        monkeypatch.setattr(run, name, lambda *given: {})

    def coverage(model, *given):
        return {"smooth": [0.9 + 0.05 * math.tanh(noise(model)[0] + 3.0)]}

    monkeypatch.setattr(evaluation, "coverage", coverage)

    def train(name, **changes):
        return kvae_tf.train(IMAGES, run_dir=tmp_path / name, **SMALL | changes)

    return train


def check_weights(expected, *models):
    for model in models:
        for one, two in zip(expected, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_a_run_is_calibrated_once(train, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"

    def metrics():
        return json.loads((folder / "metrics.json").read_text())

    model = train("run", calibrate=True)
    (factor,) = metrics().values()
    assert abs(math.log(factor)) > 0.1
    calibrated = model.get_weights()
    check_weights(calibrated, kvae_tf.load(folder))

    # Without: only the noise is another.
    plain = train("run", resume=True)
    trained = plain.get_weights()
    check_weights(trained, kvae_tf.load(folder))
    assert metrics() == {}
    assert not (folder / "checkpoints" / "calibrated").exists()
    np.testing.assert_allclose(noise(model) - noise(plain), math.log(factor), atol=1e-6)
    changed = [not np.array_equal(a, b) for a, b in zip(trained, calibrated, strict=True)]
    assert sum(changed) == 1

    # A trained run is calibrated, interrupted, goes on, and is resumed again.
    calls = []

    def interrupted(*given, of=evaluation.coverage):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return of(*given)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "coverage", interrupted)
        with pytest.raises(KeyboardInterrupt, match="the checkpoint after epoch 1 is kept"):
            train("run", calibrate=True, resume=True)
    check_weights(trained, kvae_tf.load(folder))
    capsys.readouterr()
    for _ in range(2):
        model = train("run", calibrate=True, resume=True)
        assert capsys.readouterr().out.count("calibration: ") == 1
        assert metrics() == {"train/calibration_factor": factor}
        check_weights(calibrated, model, kvae_tf.load(folder))

    # And again, with a factor for each method.
    monkeypatch.setattr(evaluation, "deviations", deviations)
    model = train("run", calibrate=True, imputation_factors=True, resume=True)
    found = metrics()
    assert list(found) == ["train/calibration_factor", *FACTORS]
    np.testing.assert_allclose(model.imputation_factors, [found[name] for name in FACTORS])
    np.testing.assert_allclose(model.imputation_factors, [2.0, 3.0], rtol=1e-3)
    check_weights(model.get_weights(), kvae_tf.load(folder))
    train("run", calibrate=True, resume=True)
    check_weights(calibrated, kvae_tf.load(folder))


@pytest.mark.slow
def test_a_training_goes_on_as_if_nothing_had_been_calibrated(train, tmp_path):
    train("one", calibrate=True)
    parts = train("one", calibrate=True, resume=True, epochs=2)
    whole = train("whole", calibrate=True, epochs=2)
    check_weights(whole.get_weights(), parts, kvae_tf.load(tmp_path / "one"))


@pytest.mark.slow
def test_the_best_epoch_is_calibrated(train, tmp_path):
    """A learning rate at which the second epoch is worse than the first."""
    flags = {"epochs": 2, "patience": 5, "learning_rate": 1.0, "clip_norm": 0.0}
    best = train("best", **flags)
    assert json.loads((tmp_path / "best" / "time.json").read_text())["epochs"] == 2
    calibrated = train("best", calibrate=True, resume=True, **flags)
    assert len(list((tmp_path / "best" / "checkpoints" / "calibrated").glob("ckpt-1.index"))) == 1
    changed = noise(calibrated) - noise(best)
    assert np.ptp(changed) < 1e-6
    assert abs(changed[0]) > 0.01


@pytest.mark.parametrize(("given", "flags", "words"), [
    (IMAGES, {"learn_noise": False}, "--calibrate is set, expected --learn_noise"),
    (IMAGES[:, :1], {}, "--calibrate is set, but the validation sequences have 1 frames"),
    (IMAGES[:, :4], {}, "--calibrate is set, but the validation sequences have 4 frames"),
    ({"vectors": IMAGES[:, :, 0] / 255.0}, {}, "holds vectors: expected images"),
    (IMAGES, {"calibrate": False, "imputation_factors": True}, "is set, expected --calibrate"),
])  # fmt: skip
def test_where_it_makes_no_sense(given, flags, words, tmp_path):
    with pytest.raises(UserError) as error:
        kvae_tf.train(given, run_dir=tmp_path, **SMALL | {"calibrate": True} | flags)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "settings.json").exists()
