"""What the README says can be done quickly runs as printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- quick -->\n```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.fixture
def clone(tmp_path):
    """A folder with all that the README's reader has; what commands write stays in it."""
    for name in ("kvae_tf", "scripts", "configs", "saved_models"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_quick_block(language, text, clone):
    if language == "bash":
        text = re.sub(r"^python ", f"{sys.executable} ", text, flags=re.MULTILINE)
        command = ["bash", "-e", "-c", text]
    else:
        command = [sys.executable, "-c", text]
    result = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]


def test_there_are_such_blocks():
    assert {language for language, _ in BLOCKS} == {"bash", "python"}
    assert len(BLOCKS) >= 3


def test_every_script_and_config_that_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"(?:scripts|configs)/[\w/]+\.(?:py|cfg)", text)):
        assert (ROOT / name).exists(), name
