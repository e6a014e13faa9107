"""The SavedModel answers without this package, and refuses what does not fit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.export import saved_model
from kvae_tf.models import KVAE

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


@pytest.mark.slow
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


# What the graphs refuse. A case is a signature, the inputs that are changed, and the message.

B, T, U = 2, 5, 1
HIDDEN = np.array([[1, 1, 0, 0, 1], [1, 0, 1, 1, 1]], np.float32)
RNG = np.random.default_rng(0)
FRAMES = RNG.random((B, T, 16, 16, 1), np.float32)
CONTROLS = RNG.normal(size=(B, T + 9, U)).astype(np.float32)
NAN = np.where(HIDDEN[..., None, None, None] > 0, FRAMES, np.float32(np.nan))
SEQUENCES = ("filter", "smooth", "impute", "impute_filter", "forecast", "elbo")
OF_CONTROLS = "controls: expected a tensor of shape 2 5 1 or one number, found"
OF_MORE = "controls: expected a tensor with at least as many steps as 2 4 1 or one number, found"
OF_MASK = "observed: expected a tensor of shape 2 5 or one number, found"
OF_FRAMES = "frames: number of sequences, of frames: expected a whole number from 1 on, found"
WRONG = [
    ("impute", {"controls": np.swapaxes(CONTROLS[:, :T], 0, 1)}, f"{OF_CONTROLS} 5 2 1"),
    ("impute", {"controls": CONTROLS[:, : T - 1]}, f"{OF_CONTROLS} 2 4 1"),
    ("impute", {"controls": CONTROLS[:, : T + 1]}, f"{OF_CONTROLS} 2 6 1"),
    ("impute", {"controls": np.zeros((B, T, U + 1), np.float32)}, f"{OF_CONTROLS} 2 5 2"),
    ("impute", {"controls": np.zeros((B, T * U), np.float32)}, f"{OF_CONTROLS} 2 5"),
    ("impute", {"controls": np.zeros((B, T, U, 1), np.float32)}, f"{OF_CONTROLS} 2 5 1 1"),
    ("impute", {"controls": np.float32(np.nan)}, "controls: expected finite"),
    ("impute", {"observed": 255 * HIDDEN}, "observed: expected 1 (seen) or 0"),
    ("impute", {"observed": np.float32(2)}, "observed: expected 1"),
    ("impute", {"observed": HIDDEN / 2}, "observed: expected 1"),
    ("impute", {"observed": np.where(HIDDEN > 0, 1, np.nan).astype("f")}, "observed: expected 1"),
    ("impute", {"observed": HIDDEN[:, :-1]}, f"{OF_MASK} 2 4"),
    ("impute", {"observed": HIDDEN[0]}, f"{OF_MASK} 5"),
    ("impute", {"frames": 255 * FRAMES}, "frames: expected floats in 0, 1"),
    ("impute", {"frames": 2 * FRAMES - 1}, "frames: expected floats in 0, 1"),
    ("impute", {"frames": np.where(FRAMES > 0.5, np.inf, FRAMES)}, "frames: expected floats"),
    ("impute", {"frames": np.where(FRAMES > 0.5, np.inf, -np.inf).astype("f")}, "frames: expected"),
    ("impute", {"frames": FRAMES[:, :0]}, f"{OF_FRAMES} 2 0"),
    ("impute", {"frames": FRAMES[:0]}, f"{OF_FRAMES} 0 5"),
    ("impute", {"frames": FRAMES[0, 0]}, "Shape of tensor frames"),
    ("impute", {"frames": FRAMES[:, :, :-1]}, "Shape of tensor frames"),
    ("impute", {"frames": FRAMES[:, :, ::2, ::2].reshape(B, T, 8, 4, 2)}, "Shape of tensor frames"),
    ("encode", {"frames": FRAMES[0]}, "Shape of tensor frames"),
    ("decode", {"encodings": np.zeros((B, T, 3), np.float32)}, "Shape of tensor encodings"),
    ("forecast", {"num_steps": np.ones(2, np.int32)}, "Shape of tensor num_steps"),
    ("filter_step", {"frames": FRAMES}, "Shape of tensor frames"),
    ("encode", {"frames": 255 * FRAMES}, "frames: expected floats in 0, 1"),
    ("forecast", {"num_steps": np.int32(0)}, "num_steps: expected a whole number from 1"),
    ("forecast", {"controls": CONTROLS[:, : T - 2]}, f"{OF_MORE} 2 3 1"),
    ("generate", {"num_steps": np.int32(-1)}, "num_steps: expected a whole number from 1"),
    ("generate", {"num_sequences": np.int32(0)}, "num_sequences: expected a whole number from 1"),
    ("generate", {"controls": CONTROLS[:1]}, "or one number, found 1 14 1"),
    ("filter_start", {"batch_size": np.int32(0)}, "batch_size: expected a whole number from 1"),
    ("filter_step", {"frames": 255 * FRAMES[:, 0]}, "frames: expected floats in 0, 1"),
    ("filter_step", {"controls": CONTROLS[:, 0, 0]}, "shape 2 1 or one number, found 2"),
    ("filter_step", {"observed": HIDDEN[:, 0] / 2}, "observed: expected 1"),
    ("filter_step", {"state_mean": 0}, "state_mean: expected as many rows as frames 2 found 1"),
]  # fmt: skip


def valid(signature):
    """Valid inputs of a signature of an export of the KVAE: all that it takes."""
    specs = signature.structured_input_signature[1]
    known = {
        "frames": FRAMES, "observed": HIDDEN, "controls": CONTROLS[:, :T],
        "encodings": np.zeros((B, T, 2), np.float32), "num_sequences": np.int32(B),
        "num_steps": np.int32(3), "batch_size": np.int32(B), "seed": np.int32(0),
    }  # fmt: skip
    if "state_time" in specs:
        known = {name: known[name][:, 0] for name in ("frames", "observed", "controls")}
        known |= {
            name: np.zeros([B, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
            for name, spec in specs.items()
            if name.startswith("state_")
        }
    return {name: known[name] for name in specs}


def call(signature, **given):
    specs = signature.structured_input_signature[1]
    found = signature(**{name: tf.constant(x, specs[name].dtype) for name, x in given.items()})
    return {name: x.numpy() for name, x in found.items()}


@pytest.fixture(scope="module")
def signatures(exported, loaded):
    return loaded(exported("kvae")).module.signatures


@pytest.mark.parametrize(("name", "changes", "message"), WRONG)
def test_graphs_refuse_what_does_not_fit(name, changes, message, signatures):
    given = valid(signatures[name])
    call(signatures[name], **given)
    if "state_mean" in changes:  # of one sequence
        changes = {"state_mean": given["state_mean"][:1]}
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        call(signatures[name], **given | changes)
    # Without the brackets around each part of a message.
    assert message in str(caught.value).replace("[", "").replace("]", "")


@pytest.mark.parametrize("name", SEQUENCES)
def test_frames_with_nan_are_missing(name, signatures):
    """As under a mask, and whatever lies there."""
    given = valid(signatures[name])
    hidden = np.where(HIDDEN[..., None, None, None] > 0, FRAMES, np.float32(255))
    expected = call(signatures[name], **given | {"frames": hidden})
    for observed in (np.float32(1), np.ones_like(HIDDEN), HIDDEN):
        found = call(signatures[name], **given | {"frames": NAN, "observed": observed})
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    seen = call(signatures[name], **given | {"observed": np.float32(1)})
    assert any(np.any(seen[key] != value) for key, value in expected.items())


def test_controls_ahead(signatures):
    """Those of a forecast may end a step before its context does, or go on after its end."""
    given = valid(signatures["forecast"])
    frames = {
        length: call(signatures["forecast"], **given | {"controls": CONTROLS[:, :length]})["frames"]
        for length in (T - 1, T, T + 3, T + 9)
    }
    padded = np.pad(CONTROLS[:, : T - 1], [(0, 0), (0, 4), (0, 0)])
    again = call(signatures["forecast"], **given | {"controls": padded})["frames"]
    np.testing.assert_array_equal(frames[T - 1], again)
    np.testing.assert_array_equal(frames[T + 3], frames[T + 9])
    assert np.any(frames[T] != frames[T - 1])


def test_counts_of_objects_are_refused(live):
    """By the one signature that takes them and is quick to trace."""
    model = live("cannonball")
    decode = saved_model.Exported(model).signatures_by_name["decode"]
    encodings = tf.zeros([B, T, model.encoding_size])
    most = model.max_objects
    for counts in (most, [1, most]):
        assert np.isfinite(decode(encodings, tf.constant(counts))["frames"]).all()
    for counts, message in (
        (99, "num_objects: expected whole numbers from 1 to 2"),
        ([1, -1], "num_objects: expected whole numbers from 1 to 2"),
        ([1, 1, 1], r"num_objects: .* of shape\] \[2\] .* found\] \[3\]"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            decode(encodings, tf.constant(counts))


def test_vectors_of_nan_are_missing():
    model = KVAE((1, 3, 1), units=(8,), latent_size=2, num_modes=1, dynamics_network="constant",
                 standardise=[[0.0] * 3, [1.0] * 3])  # fmt: skip
    model.build()
    impute = saved_model.Exported(model).signatures_by_name["impute"]
    vectors = 10 * RNG.normal(size=(B, T, 1, 3, 1)).astype(np.float32)
    vectors[1, 1, 0, 0] = np.nan  # one entry of a vector that is there
    other = vectors.copy()
    vectors[0, 2] = np.nan
    mask = np.ones((B, T), np.float32)
    mask[0, 2] = 0
    one, two = impute(tf.constant(vectors)), impute(tf.constant(other), tf.constant(mask))
    np.testing.assert_array_equal(one["frames"], two["frames"])
    assert np.isfinite(one["frames"]).all()
    vectors[1, 2, 0, 1] = np.inf
    with pytest.raises(tf.errors.InvalidArgumentError, match="frames: expected finite numbers"):
        impute(tf.constant(vectors))


@pytest.mark.parametrize("name", ["filter_step", pytest.param("impute", marks=pytest.mark.slow)])
def test_xla_compiles_the_graphs(name, signatures):
    """It leaves the assertions out."""
    given = {key: tf.constant(x) for key, x in valid(signatures[name]).items()}
    compiled = tf.function(lambda **x: signatures[name](**x), jit_compile=True, autograph=False)
    expected = signatures[name](**given)
    for key, value in compiled(**given).items():
        np.testing.assert_allclose(value, expected[key], atol=1e-4, err_msg=key)


def test_sessions_assert(exported):
    """The form in which TensorFlow Serving runs an export."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(exported("kvae")))
        impute = meta.signature_def["impute"]
        values = {"frames": FRAMES, "observed": HIDDEN, "controls": CONTROLS[:, :T]}
        feed = {impute.inputs[name].name: x for name, x in values.items()}
        fetch = impute.outputs["frames"].name
        assert np.isfinite(session.run(fetch, feed)).all()
        feed[impute.inputs["observed"].name] = 2 * HIDDEN
        with pytest.raises(tf.errors.InvalidArgumentError, match="observed: expected 1"):
            session.run(fetch, feed)
