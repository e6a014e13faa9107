"""Frames one by one: the same as all at once, of every network and over a thousand steps."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import data
from kvae_tf.apps import benchmark
from kvae_tf.errors import UserError
from kvae_tf.export import streaming
from kvae_tf.models import KVAE

PENDULUM = Path(__file__).parents[2] / "saved_models" / "pendulum" / "1"


def stream(filter_step, state, frames, observed, controls):
    """What ``filter_step`` says of each frame, ``[B, T, ...]``."""
    found = []
    for t in range(frames.shape[1]):
        result = filter_step(
            state,
            tf.constant(frames[:, t]),
            tf.constant(observed[:, t]),
            tf.constant(controls[:, t]),
        )
        state = {name: x for name, x in result.items() if name.startswith("state_")}
        found.append({name: x.numpy() for name, x in result.items() if name not in state})
    return state, {name: np.stack([x[name] for x in found], axis=1) for name in found[0]}


@pytest.mark.parametrize("kind", ["gru", "fifo"])
def test_every_network_streams(kind):
    """As an export has it; that of an LSTM is saved and loaded in ``models/test_contract.py``."""
    rng = np.random.default_rng(0)
    B, T = 2, 6
    model = KVAE((6, 6, 1), 1, units=(8,), latent_size=3, num_modes=2, dynamics_network=kind)
    model.build()
    queries = streaming.signatures(model)
    frames = rng.random((B, T, 6, 6, 1)).astype(np.float32)
    observed = (rng.random((B, T)) > 0.4).astype(np.float32)
    controls = rng.normal(size=(B, T, 1)).astype(np.float32)
    state = queries["filter_start"](tf.constant(B))
    blanked = np.where(observed[..., None, None, None] > 0, frames, np.nan).astype(np.float32)
    state, found = stream(queries["filter_step"], state, blanked, observed, controls)
    expected = model.impute(frames, observed, controls, method="filter")
    for name in ("frames", "encodings", "encoding_stds", "latents"):
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-4, atol=1e-4)
    covariances = model.filter(frames, observed, controls).covariances
    np.testing.assert_allclose(found["latent_covariances"], covariances, rtol=1e-4, atol=1e-4)
    assert state["state_time"].numpy().tolist() == [T, T]


def test_a_thousand_frames_of_a_trained_model(loaded):
    model = loaded(PENDULUM).module
    T = 1000
    long = data.WORLDS["pendulum"].splits(0, num_sequences=(1, 1, 2), num_steps=T).test
    observed = data.missing_at_random(2, T, 0.3, 3, seed=0)
    frames, controls = long.unit_frames, long.controls
    _, found = stream(
        model.filter_step, model.filter_start(tf.constant(2)), frames, observed, controls
    )
    expected = model.signatures["impute_filter"](
        frames=tf.constant(frames), observed=tf.constant(observed), controls=tf.constant(controls)
    )
    # Both are recursions of T steps in float32, each of which rounds its state anew. The model is
    # stable: a step hands on what the steps before it rounded, and does not enlarge it (factor 1).
    tolerance = 1.0 * T * np.finfo(np.float32).eps
    for name in ("frames", "encodings", "latents"):
        scale = max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * scale)


def test_frames_a_second(capsys):
    found = benchmark.streaming(str(PENDULUM), [1, 3], repeats=5)
    assert min(found.values()) > 0
    assert "batch 3: " in capsys.readouterr().out
    with pytest.raises(UserError, match="--batch_sizes is"):
        benchmark.streaming(str(PENDULUM), [0])
