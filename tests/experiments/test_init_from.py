"""Trainings that start from the weights of a trained model."""

import json
import shutil

import numpy as np
import pytest

import kvae_tf
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.experiments import flags as settings_flags
from kvae_tf.experiments import initial, presets, run
from kvae_tf.experiments.settings import Settings
from kvae_tf.export import weights
from kvae_tf.training.build import build
from kvae_tf.training.settings import TrainingSettings

# The model that is compiled soonest.
SMALL = {"model": "ed_lstm", "feature_size": 7, "state_size": 6, "units": [4]}
BRIEF = {"steps_per_epoch": 2, "batch_size": 8, "image_epochs": 0, "schedule": "constant",
         "test_sequences": 2}  # fmt: skip
RNG = np.random.default_rng(0)
IMAGES = RNG.random((30, 5, 8, 8), np.float32)
OTHERS = RNG.random((30, 5, 8, 8), np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a finished run, and its model."""
    folder = tmp_path_factory.mktemp("source") / "run"
    model = kvae_tf.train(IMAGES, run_dir=folder, epochs=1, **SMALL, **BRIEF)
    return folder, model


def refusal(call):
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def given(source, **values):
    return initial.complete({"init_from": str(source)} | values)


def test_settings_of_the_model_are_those_of_the_source(source):
    folder = source[0]
    values = given(folder)
    for name, value in SMALL.items():
        assert values[name] == (tuple(value) if isinstance(value, list) else value)
    # Those of the training are not.
    assert not values.keys() & {"epochs", "learning_rate", "batch_size", "dataset", "run_dir"}
    assert given(folder, units=[4], model="ed_lstm")["units"] == [4]
    assert initial.complete({"units": [3]}) == {"units": [3]}
    for changes, words in (
        ({"units": (4, 4)}, f"--units is 4,4, but --init_from={folder} has 4: expected the same"),
        ({"state_size": 9}, "--state_size is 9, but --init_from="),
        ({"model": "kvae"}, "--model is kvae, but --init_from="),
    ):
        assert words in refusal(lambda changes=changes: given(folder, **changes))


def test_what_concerns_the_training_only_may_differ():
    box = given("box")
    assert (box["num_modes"], box["decoded_frames"], box["learn_noise"]) == (3, 1, True)
    assert "settling_epochs" not in box  # a number of epochs
    assert given("box", decoded_frames=0)["decoded_frames"] == 0
    assert "--learn_noise is False" in refusal(lambda: given("box", learn_noise=False))
    assert "--initial_variance is 3.0" in refusal(lambda: given("box", initial_variance=3.0))


def test_flags_and_presets(monkeypatch):
    settings = presets.settings("gravity_from_box")
    assert settings.training.init_from == "box"
    gravity = presets.settings("gravity")
    assert settings.model.latent_size == gravity.model.latent_size
    updates = settings.training.epochs * settings.training.steps_per_epoch
    assert 4 * updates <= gravity.training.epochs * gravity.training.steps_per_epoch
    flags = settings_flags.read(["--init_from=pendulum", "--epochs=3"])
    assert Settings.from_dict(initial.complete(flags) | {"run_dir": "x"}).model.num_modes == 4
    with pytest.raises(UserError, match="--starts is 2, but --init_from=box is one start"):
        TrainingSettings(starts=2, starting_epochs=1, init_from="box").validate()


def test_a_layer_that_the_trained_model_lacks_keeps_its_start():
    train = kvae_tf.data.WORLDS["cannonballs"].splits(0, num_sequences=(4, 1, 1), num_steps=5).train
    model = kvae_tf.create("cannonball_3_refined", train)
    settled = kvae_tf.load("saved_models/cannonball_3/settled/weights.weights.h5", trainable=True)
    light = {id(variable) for variable in model.light_readings.weights}
    known = [variable for variable in model.weights if id(variable) not in light]
    for mine, theirs in zip(known, settled.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not model.light_readings.is_fitted.numpy()


def test_a_preset_starts_from_the_weights_from_python():
    train = kvae_tf.data.WORLDS["gravity"].splits(0, num_sequences=(4, 1, 1), num_steps=5).train
    model = kvae_tf.create("gravity_from_box", train)
    box = kvae_tf.load("box", trainable=True)
    for one, two in zip(model.get_weights(), box.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert model.settling_start == 5 * 750  # of its own config
    assert box.settling_start == 12 * 1000


def test_training_starts_from_the_weights(source, tmp_path):
    """Of a run, an export, a file: after updates of no length, the weights are those."""
    folder, model = source
    lone = tmp_path / "lone.weights.h5"
    shutil.copy(folder / "saved_model" / "weights.weights.h5", lone)
    for what, own in (
        (folder, {}),
        (folder / "saved_model" / "1", {}),
        (folder / "saved_model" / "weights.weights.h5", {}),
        (lone, SMALL),
    ):
        values = given(what, run_dir=str(tmp_path / "run"), **own)
        settings = Settings.from_dict(values)
        train = kvae_tf.data.as_splits(OTHERS).train
        started = initial.build_model(settings, train)
        for one, two in zip(started.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
    fresh = initial.build_model(Settings.from_dict(SMALL | {"run_dir": "x"}), train)
    assert any(
        (one != two).any()
        for one, two in zip(fresh.get_weights(), model.get_weights(), strict=True)
    )
    # Without settings beside it, a file needs those that are not the defaults.
    alone = {"init_from": str(lone), "model": "ed_lstm", "run_dir": "x"}
    message = refusal(lambda: initial.build_model(Settings.from_dict(alone), train))
    assert "pass the settings of the model that wrote the file" in message


def test_other_data_than_the_source_has(source):
    folder = source[0]
    for images, words in (
        (IMAGES[..., :6], "has frame_shape (8, 6, 1), but --init_from="),
        (IMAGES[..., None].repeat(3, -1), "has frame_shape (8, 8, 3)"),
        ({"images": IMAGES, "controls": IMAGES[..., 0, :2]}, "has control_size 2, but"),
    ):
        call = lambda data=images: kvae_tf.train(data, init_from=folder, **BRIEF)  # noqa: E731
        assert words in refusal(call)


@pytest.fixture
def training_only(monkeypatch):
    """Runs without evaluation and export, which take most of their time here."""
    for name in ("_evaluate", "export", "_describe"):
        monkeypatch.setattr(run, name, lambda *_: {})


def test_resumed_bit_for_bit_without_the_source(source, tmp_path, training_only):
    origin = tmp_path / "origin"
    shutil.copytree(source[0], origin)

    def train(name, epochs, **more):
        folder = tmp_path / name
        return kvae_tf.train(
            OTHERS, run_dir=folder, init_from=origin, epochs=epochs, **BRIEF, **more
        ).get_weights()

    whole = train("whole", 2)
    train("parts", 1)
    shutil.rmtree(origin)
    parts = train("parts", 2, resume=True)
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, two)
    written = json.loads((tmp_path / "parts" / "settings.json").read_text())
    assert written["init_from"] == str(origin)
    with pytest.raises(UserError, match="--init_from is box, but the checkpoint in"):
        kvae_tf.train(OTHERS, run_dir=tmp_path / "parts", init_from="box", resume=True,
                      epochs=2, **SMALL, **BRIEF)  # fmt: skip


def test_vectors_keep_the_scale_of_the_source(tmp_path):
    """The encoder's weights mean entries that are standardised as in their own training."""
    rng = np.random.default_rng(0)
    first, second = (rng.normal(m, 2.0 + m, (30, 6, 3)).astype("f4") for m in (0.0, 5.0))
    values = {"units": [4], "run_dir": "x"}
    settings = Settings.from_dict(values)
    model = build(settings.plan, kvae_tf.data.as_splits(first).train)
    weights.write(tmp_path / "w.weights.h5", model)
    weights.write_description(tmp_path / weights.MODEL, weights.describe(model, "kvae", 1))
    storage.write_json(tmp_path / "settings.json", settings.to_dict())
    loaded = kvae_tf.load(tmp_path / "w.weights.h5")
    started = initial.build_model(
        Settings.from_dict(given(tmp_path / "w.weights.h5", run_dir="x")),
        kvae_tf.data.as_splits(second).train,
    )
    fresh = build(settings.plan, kvae_tf.data.as_splits(second).train)
    expected = model.encode(second).mean
    for other in (loaded, started):
        np.testing.assert_array_equal(other.encode(second).mean, expected)
    fresh.set_weights(model.get_weights())
    assert np.abs(fresh.encode(second).mean - expected).max() > 0.1


def test_a_run_may_start_from_itself(source, tmp_path, monkeypatch, training_only):
    """What is overwritten is read before."""
    folder = tmp_path / "own"
    shutil.copytree(source[0], folder)
    started = []
    monkeypatch.setattr(run, "_train", lambda model, *_: started.append(model.get_weights()))
    kvae_tf.train(OTHERS, run_dir=folder, init_from=folder, overwrite=True, **BRIEF)
    for one, two in zip(started[0], source[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not list((folder / "checkpoints").glob("*"))


@pytest.mark.slow
def test_a_trained_model_is_better_than_a_fresh_one():
    """The pendulum's weights on other pendulums: 900 nats a frame after two updates."""
    splits = kvae_tf.data.WORLDS["pendulum"].splits(5, num_sequences=(40, 10, 10))
    model = kvae_tf.train(
        splits, init_from="dkf_pendulum", epochs=1, steps_per_epoch=2, batch_size=20,
        learning_rate=1e-5,
    )  # fmt: skip
    assert model.history.history["val_elbo"][-1] > 900
