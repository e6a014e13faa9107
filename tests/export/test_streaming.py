"""Frames one by one: the same as all at once, in the model and in its export."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import data
from kvae_tf.apps import benchmark
from kvae_tf.errors import UserError
from kvae_tf.export.saved_model import export
from kvae_tf.models import KVAE

PENDULUM = Path(__file__).parents[2] / "saved_models" / "pendulum" / "1"


def stream(filter_step, state, frames, observed, controls):
    """What ``filter_step`` says of each frame, ``[B, T, ...]``."""
    found = []
    for t in range(frames.shape[1]):
        result = filter_step(
            frames=tf.constant(frames[:, t]),
            observed=tf.constant(observed[:, t]),
            controls=tf.constant(controls[:, t]),
            **state,
        )
        state = {name: x for name, x in result.items() if name.startswith("state_")}
        found.append({name: x.numpy() for name, x in result.items() if name not in state})
    return state, {name: np.stack([x[name] for x in found], axis=1) for name in found[0]}


@pytest.mark.parametrize("kind", ["lstm", "gru", "fifo"])
def test_export_of_every_network_streams(kind, tmp_path):
    rng = np.random.default_rng(0)
    B, T = 2, 9
    model = KVAE((6, 6, 1), 1, units=(8,), latent_size=3, num_modes=2, dynamics_network=kind)
    model.build()
    export(model, tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    frames = rng.random((B, T, 6, 6, 1)).astype(np.float32)
    observed = (rng.random((B, T)) > 0.4).astype(np.float32)
    controls = rng.normal(size=(B, T, 1)).astype(np.float32)
    state = loaded.signatures["filter_start"](batch_size=tf.constant(B))
    blanked = np.where(observed[..., None, None, None] > 0, frames, np.nan).astype(np.float32)
    state, found = stream(loaded.signatures["filter_step"], state, blanked, observed, controls)
    expected = model.impute(frames, observed, controls, method="filter")
    for name in ("frames", "encodings", "encoding_stds", "latents"):
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-4, atol=1e-4)
    covariances = model.filter(frames, observed, controls).covariances
    np.testing.assert_allclose(found["latent_covariances"], covariances, rtol=1e-4, atol=1e-4)
    assert state["state_time"].numpy().tolist() == [T, T]


def test_a_thousand_frames_of_a_trained_model():
    model = tf.saved_model.load(str(PENDULUM))
    T = 1000
    long = data.WORLDS["pendulum"].splits(0, num_sequences=(1, 1, 2), num_steps=T).test
    observed = data.missing_at_random(2, T, 0.3, 3, seed=0)
    frames, controls = long.unit_frames, long.controls
    state = model.signatures["filter_start"](batch_size=tf.constant(2))
    _, found = stream(model.signatures["filter_step"], state, frames, observed, controls)
    expected = model.signatures["impute_filter"](
        frames=tf.constant(frames), observed=tf.constant(observed), controls=tf.constant(controls)
    )
    for name in ("frames", "encodings", "latents"):
        scale = max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5 * scale)


def test_frames_a_second(capsys):
    found = benchmark.streaming(str(PENDULUM), [1, 3], repeats=5)
    assert min(found.values()) > 0
    assert "batch 3: " in capsys.readouterr().out
    with pytest.raises(UserError, match="--batch_sizes is"):
        benchmark.streaming(str(PENDULUM), [0])
