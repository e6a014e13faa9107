"""The SavedModel answers without this package."""

from __future__ import annotations

import subprocess
import sys

import tensorflow as tf

from kvae_tf.export import saved_model

ALONE = """
import sys
sys.modules["kvae_tf"] = sys.modules["tensorflow_probability"] = None  # not importable
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
for B, T in ((1, 1), (7, 15)):
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


def test_answers_without_the_package(exported):
    path = exported("kvae")
    result = subprocess.run(
        [sys.executable, "-c", ALONE, str(path)], capture_output=True, text=True, cwd=path
    )
    assert result.stdout.strip() == "answered", result.stderr[-2000:]


def test_an_export_is_replaced_whole(tmp_path, monkeypatch):
    class Small(tf.Module):
        def __init__(self, model):
            super().__init__()
            self.value = tf.Variable(model)

        signatures_by_name = None

    monkeypatch.setattr(saved_model, "Exported", Small)
    path = tmp_path / "pendulum" / "1"
    for value in (1.0, 2.0):
        saved_model.export(value, path)
        assert sorted(p.name for p in path.parent.iterdir()) == ["1"]
        assert tf.saved_model.load(str(path)).value.numpy() == value
