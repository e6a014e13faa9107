"""The notebook runs from top to bottom."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    # Pictures are shown by Jupyter alone; all else is plain Python.
    stand_in = (
        "import sys, types\nshown = types.ModuleType('IPython.display')\n"
        "shown.Image = lambda data: data\nsys.modules['IPython.display'] = shown\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", stand_in + "\n".join(code)], cwd=path.parent, capture_output=True,
        text=True, timeout=3600, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]


def test_it_is_there_with_its_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["tour"]
    cells = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"]
    pictures = [
        output for cell in cells for output in cell.get("outputs", ())
        if any(kind.startswith("image/") for kind in output.get("data", ()))
    ]  # fmt: skip
    assert len(pictures) >= 5
    assert not any(output["output_type"] == "error" for cell in cells
                   for output in cell.get("outputs", ()))  # fmt: skip
