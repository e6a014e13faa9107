"""``filter_step`` as a file of LiteRT and of ONNX: a model's own answers, frame by frame."""

import re
import sys

import numpy as np
import pytest
import tensorflow as tf
import vector_models
from commands import run

import kvae_tf
from kvae_tf.apps import edge
from kvae_tf.errors import UserError
from kvae_tf.export import litert, onnx_file, step_graph, step_runtimes

CONVERT = {"tflite": litert.convert_step, "onnx": onnx_file.convert_step}
RUNTIMES = {"tflite": "ai_edge_litert", "onnx": "onnxruntime"}
EPS = np.finfo(np.float32).eps
# Answers to frames are recursions of T float32 steps. LiteRT also subtracts covariances in float32:
# the pendulum's first ones are 100, its emission noise is 3e-5.
STEPS = {"tflite": 8 * EPS, "onnx": EPS}
SCORES = 30  # times that for log densities, whose slope is 1 / std, 180 at the pendulum's noise


@pytest.fixture(params=CONVERT)
def kind(request):
    pytest.importorskip(RUNTIMES[request.param])
    if request.param == "onnx":
        pytest.importorskip("tf2onnx")
    return request.param


def assert_same(errors, kind, num_frames):
    assert {"frames", "encodings", "encoding_stds", "latents", "latent_covariances"} <= set(errors)
    for name, error in errors.items():
        limit = STEPS[kind] * num_frames * (SCORES if name.endswith("scores") else 1)
        assert error < limit, name


@pytest.fixture(scope="module")
def pendulum():
    return kvae_tf.load("pendulum", trainable=True)


def test_two_hundred_frames_of_a_trained_model(kind, pendulum, tmp_path):
    """And a model that is a little different is seen to be."""
    model, path = pendulum, tmp_path / f"filter_step.{kind}"
    CONVERT[kind](model, path)
    found = edge.replay(model, path)
    assert_same(found.errors, kind, edge.NUM_FRAMES)
    assert found.frames_per_second > 0
    rate, error = re.match(r"([\d,]+) frames a second, .* error (\S+) \(\w+\)", str(found)).groups()
    assert int(rate.replace(",", "")) == round(found.frames_per_second)
    np.testing.assert_allclose(float(error), max(found.errors.values()), rtol=0.1)
    noise = model.mixture.log_emission_noise
    before = noise.numpy()
    noise.assign(before + 0.1)
    other = edge.replay(model, path, num_frames=20)
    noise.assign(before)
    with pytest.raises(AssertionError):
        assert_same(other.errors, kind, 20)


@pytest.mark.parametrize("case", ["kvae_state", pytest.param("linear", marks=pytest.mark.slow)])
def test_other_models(case, kind, live, tmp_path):
    """One whose mode weights read latents, and vectors without a network."""
    model = vector_models.linear(2, "lstm")[0] if case == "linear" else live(case)
    path = tmp_path / f"filter_step.{kind}"
    CONVERT[kind](model, path)
    assert_same(edge.replay(model, path, num_frames=20).errors, kind, 20)


def test_a_state_of_zeros_is_the_start_and_hidden_frames_may_hold_anything(kind, live, tmp_path):
    model, path = live("kvae"), tmp_path / f"filter_step.{kind}"
    CONVERT[kind](model, path)
    step = step_runtimes.load(path)
    H, W, C = model.frame_shape
    shapes = {name: shape for name, (shape, _) in step.inputs.items() if "state" not in name}
    assert shapes == {"frames": (1, H, W, C), "observed": (1,), "controls": (1, 1)}
    given = {"frames": np.full((1, H, W, C), np.nan, np.float32), "controls": np.ones((1, 1), "f4")}
    found = step.call(**step.start(), observed=np.zeros(1, "f4"), **given)
    _, expected = model.filter_step(
        model.filter_start(1), given["frames"], np.zeros(1, "f4"), given["controls"]
    )
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)
    later = {name: x for name, x in found.items() if name.startswith("state_")}
    assert {name: (x.shape, x.dtype) for name, x in later.items()} == {
        name: step.inputs[name] for name in later
    }
    assert later["state_time"] == 1


def test_graphs_hold_what_their_runtimes_know(live):
    for single in (False, True):
        graph = step_graph.trace(live("kvae"), single_precision=single).graph
        types = {value.type for node in graph.node for value in node.attr.values()}
        assert (tf.float64.as_datatype_enum in types) is not single
        assert not {"Log1p", "Assert", "VarHandleOp", "ReadVariableOp"} & {
            node.op for node in graph.node
        }


def test_what_cannot_be_converted_is_one_line_and_no_file(live, tmp_path):
    path = tmp_path / "filter_step.tflite"
    for convert in CONVERT.values():
        if convert is litert.convert_step or "tf2onnx" in sys.modules:
            with pytest.raises(UserError, match="a DVBF does not filter frame by frame"):
                convert(live("dvbf"), path)
    # Standard deviations of decoded vectors come from draws.
    with pytest.raises(UserError, match="LiteRT lacks operations of the model: .*Random") as caught:
        litert.convert_step(vector_models.vector(1)[0], path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_packages_that_are_not_installed(live, monkeypatch, tmp_path):
    for name in ("onnx", "tf2onnx", "onnxruntime", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"writing ONNX needs .* pip install 'kvae_tf\[edge\]'"):
        onnx_file.convert_step(live("kvae"), tmp_path / "filter_step.onnx")
    for name in RUNTIMES:
        path = tmp_path / f"filter_step.{name}"
        with pytest.raises(UserError, match=r"running it needs .* pip install 'kvae_tf\[edge\]'"):
            step_runtimes.load(path)
        assert edge.comparison(live("kvae"), path).startswith("not compared: ")


@pytest.mark.parametrize("command", ["export_litert", "export_onnx"])
def test_commands_refuse_in_one_line(command, tmp_path):
    result = run(command, "--saved_model=dvbf_ball", f"--output={tmp_path}")
    assert result.returncode == 1
    assert result.stderr.startswith("error: a DVBF does not ")
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
