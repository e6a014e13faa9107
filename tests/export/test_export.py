"""The SavedModel answers without this package."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.export.saved_model import export
from kvae_tf.models import KVAE


@pytest.fixture(scope="module")
def model():
    model = KVAE(
        (16, 16, 1), control_size=1, units=(16,), latent_size=3, num_modes=2, likelihood="gaussian"
    )
    model.build()
    return model


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "pendulum" / "1"
    export(model, path)
    return path


ALONE = """
import sys
sys.modules["kvae_tf"] = sys.modules["tensorflow_probability"] = None  # not importable
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
for B, T in ((1, 1), (7, 15), (1, 40), (7, 1)):
    frames = np.random.default_rng(0).random((B, T, 16, 16, 1)).astype(np.float32)
    observed = np.ones((B, T), np.float32)
    if T > 1:
        observed[:, T // 2] = 0
        frames[:, T // 2] = np.nan
    inputs = dict(
        frames=tf.constant(frames), observed=tf.constant(observed), controls=tf.zeros([B, T, 1])
    )
    for name in ("filter", "smooth", "impute", "impute_filter", "serving_default"):
        for key, value in model.signatures[name](**inputs).items():
            assert np.isfinite(value).all() and value.shape[:2] == (B, T), (name, key)
    ahead = model.signatures["forecast"](**inputs, num_steps=tf.constant(5))
    assert ahead["frames"].shape == (B, 5, 16, 16, 1) and np.isfinite(ahead["frames"]).all()
    code = model.signatures["encode"](frames=tf.constant(np.nan_to_num(frames)))["encodings"]
    assert model.signatures["decode"](encodings=code)["frames"].shape == frames.shape
    # Scalars stand for "all seen" and "no controls"; the functions have them as defaults.
    whole = tf.constant(np.nan_to_num(frames))
    one = model.signatures["impute"](
        frames=whole, observed=tf.constant(1.0), controls=tf.constant(0.0)
    )
    two = model.impute(whole)
    np.testing.assert_array_equal(one["frames"], two["frames"])
draw = lambda seed: model.signatures["generate"](
    num_sequences=tf.constant(3), num_steps=tf.constant(20), controls=tf.constant(0.0),
    seed=tf.constant(seed),
)["frames"].numpy()
assert draw(1).shape == (3, 20, 16, 16, 1)
assert np.array_equal(draw(1), draw(1)) and not np.array_equal(draw(1), draw(2))
print("answered")
"""


def test_answers_without_the_package(path):
    result = subprocess.run(
        [sys.executable, "-c", ALONE, str(path)], capture_output=True, text=True, cwd=path
    )
    assert result.stdout.strip() == "answered", result.stderr[-2000:]


def test_export_equals_the_model(model, path):
    loaded = tf.saved_model.load(str(path))
    rng = np.random.default_rng(1)
    frames = rng.random((4, 9, 16, 16, 1)).astype(np.float32)
    observed = (rng.random((4, 9)) > 0.4).astype(np.float32)
    controls = rng.normal(size=(4, 9, 1)).astype(np.float32)
    direct = model.impute(frames, observed, controls)
    again = loaded.impute(frames, observed, controls)
    for name, value in direct._asdict().items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    ahead = model.forecast(frames, observed, controls, num_steps=3)
    again = loaded.forecast(frames, observed, controls, tf.constant(3))
    np.testing.assert_allclose(again["frames"], ahead.frames, rtol=1e-5, atol=1e-5)


def test_an_export_is_replaced_whole(model, path):
    export(model, path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["1"]
