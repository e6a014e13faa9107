"""The way in from Python: presets, plain Keras training, exports that answer as models do."""

import ast
from pathlib import Path

import numpy as np
import pytest

import kvae_tf
from kvae_tf import data
from kvae_tf.errors import UserError
from kvae_tf.experiments import presets
from kvae_tf.export.saved_model import export


@pytest.fixture(scope="module")
def splits():
    return data.WORLDS["pendulum"].splits(0, num_sequences=(60, 10, 10))


def test_every_config_is_a_preset():
    assert {"box", "pendulum", "dvbf_pendulum", "cannonball"} <= set(presets.names())
    for name in presets.names():
        assert presets.settings(name).to_dict()["run_dir"] == f"runs/{name}"
    assert presets.settings("pendulum_mlp").model.learn_noise is False
    assert presets.settings("pendulum_cnn").model.units == (32, 32, 32)
    assert presets.settings("box", seed=7).training.seed == 7


def test_bad_names():
    with pytest.raises(UserError, match="'bix' is unknown, expected one of: ae_rnn_box"):
        presets.settings("bix")
    with pytest.raises(UserError, match="unknown settings: sead"):
        presets.settings("box", sead=1)
    with pytest.raises(AttributeError, match="no attribute 'KVEA'"):
        _ = kvae_tf.KVEA
    assert {"KVAE", "create", "load"} <= set(dir(kvae_tf))


def test_editors_are_told_the_public_names():
    tree = ast.parse(Path(kvae_tf.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {}
    exec(ast.unparse(block.body), told)
    del told["__builtins__"]
    assert set(told) == set(kvae_tf.__all__)
    for name, value in told.items():
        assert value is getattr(kvae_tf, name)


@pytest.mark.slow
def test_preset_trains(splits):
    model = kvae_tf.create("pendulum_smoke", splits.train, epochs=2, steps_per_epoch=5)
    batches = data.training_batches(splits.train, 20, seed=0)
    history = model.fit(batches, steps_per_epoch=5, epochs=2, verbose=0).history
    assert history["elbo"][1] > history["elbo"][0]


@pytest.mark.slow
def test_plain_keras_and_back(splits, tmp_path):
    shape, size = splits.train.frame_shape, splits.train.control_size
    model = kvae_tf.KVAE(shape, size, units=(16,), latent_size=3, likelihood="gaussian")
    model.compile("adam")
    model.fit(data.training_batches(splits.train, 20, seed=0), steps_per_epoch=3, verbose=0)
    export(model, tmp_path / "1")
    loaded = kvae_tf.load(tmp_path / "1")
    frames, controls = splits.test.unit_frames, splits.test.controls
    observed = np.ones(frames.shape[:2], np.float32)
    observed[:, 5:9] = 0
    for method in model.imputation_methods:
        one, two = (m.impute(frames, observed, controls, method) for m in (model, loaded))
        np.testing.assert_allclose(one.frames, two.frames, atol=1e-4)
    one, two = (m.forecast(frames[:, :5], None, controls, num_steps=4) for m in (model, loaded))
    np.testing.assert_allclose(one.frames, two.frames, atol=1e-4)
