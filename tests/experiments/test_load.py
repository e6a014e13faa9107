"""Trained models by name and path: exports, runs, weights; and weights that are recovered."""

import json
import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import SAVED_MODELS

import kvae_tf
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.experiments import initial, package_data, recover, sources
from kvae_tf.experiments.settings import Settings
from kvae_tf.export import weights
from kvae_tf.export.loading import LoadedModel
from kvae_tf.models import DKF

NAMES = sorted(path.name for path in SAVED_MODELS.iterdir() if (path / "1").is_dir())


@pytest.fixture
def pendulum(tmp_path):
    """A copy of an export, with its weights."""
    shutil.copytree(SAVED_MODELS / "pendulum", tmp_path / "pendulum")
    return tmp_path / "pendulum"


def refusal(call):
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_committed_export_has_a_name_and_weights():
    assert sources.names() == NAMES
    for name in NAMES:
        folder = SAVED_MODELS / name
        assert sources.find(name) == sources.Source("export", folder / "1")
        size = (folder / weights.WEIGHTS).stat().st_size
        variables = folder / "1" / "variables" / "variables.data-00000-of-00001"
        assert size < 1.2 * variables.stat().st_size
        description = weights.read_description(folder / weights.MODEL)
        assert description.model == json.loads((folder / "settings.json").read_text())["model"]


@pytest.mark.parametrize("name", [
    "pendulum", *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n != "pendulum"),
])  # fmt: skip
def test_the_live_model_answers_as_the_export(name):
    live, exported = kvae_tf.load(name, trainable=True), kvae_tf.load(name)
    assert isinstance(exported, LoadedModel)
    assert not isinstance(live, LoadedModel)
    world = json.loads((SAVED_MODELS / name / "settings.json").read_text())["dataset"]
    test = kvae_tf.data.load(world, seed=0).test
    found = [recover.compare(live, exported, test, kind) for kind in (tf.int32, tf.int64)]
    assert {"elbo", "impute", "generate"} <= found[0].keys()
    assert min(max(answers.values()) for answers in found) < 1e-4
    assert live.optimizer.iterations.numpy() == 0
    assert live.optimizer.built
    assert (live.weight_updates, live.reconstruction_weight) == (0, 1.0)  # its training is over


@pytest.mark.parametrize("name", NAMES)
def test_a_training_may_start_from_every_export(name):
    world = json.loads((SAVED_MODELS / name / "settings.json").read_text())["dataset"]
    given = {"init_from": name, "dataset": world, "run_dir": "unused"}
    settings = Settings.from_dict(initial.complete(given))
    assert settings.model_name == weights.read_description(SAVED_MODELS / name / "model.json").model


def test_what_names_an_export(pendulum, tmp_path, monkeypatch):
    shutil.copytree(pendulum / "1", pendulum / "10")
    (pendulum / "2").mkdir()
    monkeypatch.chdir(tmp_path)
    for what, version in (
        ("pendulum", "10"), (pendulum / "1", "1"), ("pendulum/1", "1"), (str(pendulum), "10"),
    ):  # fmt: skip
        assert sources.find(what).path.resolve() == pendulum / version
    assert sources.find("box").path == SAVED_MODELS / "box" / "1"
    assert sources.find(pendulum / weights.WEIGHTS).kind == "weights"
    message = refusal(lambda: kvae_tf.load("bix"))
    assert message.startswith("bix does not exist, expected a run, an export's folder")
    assert message.endswith(f"or one of {', '.join(NAMES)}")
    assert "is no model" in refusal(lambda: kvae_tf.load(tmp_path))
    monkeypatch.setattr(package_data, "folder", lambda name: None)
    assert "where the package has its models" in refusal(lambda: kvae_tf.load("box"))


@pytest.mark.slow
def test_weights_are_recovered_from_an_export(pendulum):
    committed = {}
    for name in (weights.WEIGHTS, weights.MODEL):
        committed[name] = (pendulum / name).read_bytes()
        (pendulum / name).unlink()
    (pendulum / "scores.json").unlink()
    message = refusal(lambda: kvae_tf.load(pendulum, trainable=True))
    assert f"has no {weights.WEIGHTS} beside it" in message
    differences = recover.recover(pendulum / "1")
    assert max(differences.values()) < 1e-4
    # Later versions have more arguments.
    old, new = (
        json.loads(x) for x in (committed[weights.MODEL], (pendulum / weights.MODEL).read_bytes())
    )
    assert new["arguments"].items() >= old.pop("arguments").items()
    assert new | old == new
    with h5py.File(SAVED_MODELS / "pendulum" / weights.WEIGHTS) as one:
        arrays = {}
        one.visititems(lambda n, x: arrays.update({n: x[()]}) if hasattr(x, "shape") else None)
    with h5py.File(pendulum / weights.WEIGHTS) as other:
        for name, array in arrays.items():
            np.testing.assert_array_equal(other[name], array)
    assert len(arrays) > 20
    # The scores of good frames, from the weights and the data.
    one, two = (
        json.loads((folder / "scores.json").read_text())
        for folder in (pendulum, SAVED_MODELS / "pendulum")
    )
    quantiles = one.pop("quantiles"), two.pop("quantiles")
    assert one == two
    for name in ("scores", "encoding_scores", "reconstruction_scores"):
        np.testing.assert_allclose(*(x[name] for x in quantiles), atol=0.01)


@pytest.mark.parametrize(("changes", "words"), [
    ({"latent_size": 3}, "has other variables than its settings.json says"),
    pytest.param({"max_encoding_variance": 1.0}, "answers elbo by", marks=pytest.mark.slow),
])  # fmt: skip
def test_weights_of_other_settings_are_not_recovered(changes, words, pendulum):
    settings = json.loads((pendulum / "settings.json").read_text())
    storage.write_json(pendulum / "settings.json", settings | changes)
    before = (pendulum / weights.WEIGHTS).stat().st_mtime_ns
    assert words in refusal(lambda: recover.recover(pendulum / "1"))
    assert (pendulum / weights.WEIGHTS).stat().st_mtime_ns == before


def small(latent_size=2):
    model = DKF((4, 4, 1), units=(4,), latent_size=latent_size, dynamics_units=3)
    model.build()
    return model


def test_weights_go_round(tmp_path):
    """Through our file, a file of Keras with an optimiser, and back by Keras alone."""
    path = tmp_path / "w.weights.h5"
    model, other, third = small(), small(), small()
    model.set_weights([x + 0.5 for x in model.get_weights()])
    weights.write(path, model)
    weights.read(path, other)
    third.load_weights(path)
    for one, two, three in zip(*(m.get_weights() for m in (model, other, third)), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    weights.write(tmp_path / "compiled.weights.h5", model)
    assert (tmp_path / "compiled.weights.h5").stat().st_size == path.stat().st_size
    with h5py.File(tmp_path / "compiled.weights.h5") as file:
        assert "optimizer" not in file
    model.save_weights(tmp_path / "keras.weights.h5")
    other = small()
    weights.read(tmp_path / "keras.weights.h5", other)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "compiled.weights.h5", "keras.weights.h5", "w.weights.h5",
    ]  # fmt: skip


def linked(path):
    with h5py.File(path, "a") as file:
        name = next(n for n in file if n != "layers")
        del file[name]
        file[name] = h5py.ExternalLink("/etc/passwd", "/")


def not_a_number(path):
    model = small()
    model.set_weights([np.full_like(x, np.nan) for x in model.get_weights()])
    weights.write(path, model)


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda path: path.unlink(), "does not exist, expected a file of weights"),
    (lambda path: path.write_bytes(path.read_bytes()[:700]), "is damaged or no file of weights"),
    (lambda path: path.write_text("{}"), "is damaged or no file of weights"),
    (lambda path: weights.write(path, small(3)), "expected shape"),
    (linked, "is a link; expected an array in the file itself"),
    (not_a_number, "holds NaN or infinities"),
], ids=["missing", "cut off", "text", "other sizes", "link", "nan"])  # fmt: skip
def test_bad_weights(spoil, words, tmp_path):
    path = tmp_path / "w.weights.h5"
    weights.write(path, small())
    spoil(path)
    model = small()
    before = model.get_weights()
    assert words in refusal(lambda: weights.read(path, model))
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("text", "words"), [
    (None, "model.json does not exist, expected the description of a model"),
    ("[]", "expected the description of a model"),
    ({"steps_per_epoch": "many"}, "does not describe a model: steps_per_epoch is 'many'"),
    ({"frame_shape": [16, 16]}, "does not describe a model: frame_shape is [16, 16]"),
    ({"arguments": {"no_such": 1}}, "model.json does not fit: "),
    ({"arguments": {"latent_size": 3}}, "expected shape"),
])  # fmt: skip
def test_bad_descriptions(text, words, pendulum):
    path = pendulum / weights.MODEL
    if text is None:
        path.unlink()
    elif isinstance(text, str):
        path.write_text(text)
    else:
        values = json.loads(path.read_text())
        if "arguments" in text:
            text = {"arguments": values["arguments"] | text["arguments"]}
        storage.write_json(path, values | text)
    assert words in refusal(lambda: kvae_tf.load(pendulum, trainable=True))
