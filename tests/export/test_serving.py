"""The committed exports under TensorFlow Serving's conventions, asked by TensorFlow's own tool."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TOOL = Path(sys.executable).with_name("saved_model_cli")


def tool(*arguments):
    result = subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=3600)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.mark.slow
@pytest.mark.skipif(not TOOL.exists(), reason="TensorFlow came without saved_model_cli")
def test_saved_model_cli_runs_the_default_signature(tmp_path):
    folder = str(ROOT / "saved_models" / "pendulum" / "1")
    listed = tool("show", "--dir", folder, "--tag_set", "serve")
    names = set(re.findall(r'"(\w+)"', listed))
    assert {"serving_default", "impute", "filter", "smooth", "forecast", "generate"} <= names
    rng = np.random.default_rng(0)
    observed = np.ones((2, 9), np.float32)
    observed[:, 3:6] = 0
    inputs = {
        "frames": rng.random((2, 9, 16, 16, 1)).astype(np.float32),
        "observed": observed,
        "controls": np.zeros((2, 9, 1), np.float32),
    }
    words = []
    for name, value in inputs.items():
        np.save(tmp_path / f"{name}.npy", value)
        words.append(f"{name}={tmp_path / name}.npy")
    tool("run", "--dir", folder, "--tag_set", "serve", "--signature_def", "serving_default",
         "--inputs", ";".join(words), "--outdir", str(tmp_path / "out"))  # fmt: skip
    frames = np.load(tmp_path / "out" / "frames.npy")
    assert frames.shape == (2, 9, 16, 16, 1)
    assert np.isfinite(frames).all()


@pytest.mark.parametrize(
    "model", sorted(path.parent.name for path in (ROOT / "saved_models").glob("*/settings.json"))
)
def test_every_export_lies_as_serving_wants_it(model):
    """A folder a model, in it folders named by whole numbers; cards and metrics beside them."""
    folder = ROOT / "saved_models" / model
    versions = [path for path in folder.iterdir() if (path / "saved_model.pb").exists()]
    assert versions
    assert all(path.name.isdigit() for path in versions)
    for name in ("README.md", "metrics.json", "settings.json"):
        assert (folder / name).exists()
    size = sum(path.stat().st_size for path in versions[0].rglob("*") if path.is_file())
    assert size < 10 * 2**20
