"""README and docs: what they say runs, what they name is there, their tables are up to date."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import python, run

from kvae_tf.experiments import results_tables

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"<!-- quick -->\n```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = {
    f"{name}:{i}": block
    for name, text in TEXTS.items()
    for i, block in enumerate(BLOCK.findall(text))
}
FOLDERS = "configs|docs|kvae_tf|notebooks|saved_models|scripts|tests"
# Capital letters stand for something, as in saved_models/NAME/1.
PATH = re.compile(rf"(?<![\w/.])((?:{FOLDERS})/[\w/.-]*\w)")
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


@pytest.fixture
def clone(tmp_path):
    """A folder with all that the README's reader has; what commands write stays in it."""
    for name in ("kvae_tf", "scripts", "configs", "saved_models"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS)
def test_quick_block(block, clone):
    language, text = BLOCKS[block]
    if language == "python":
        results = [python(text, cwd=clone)]
    else:
        commands = (re.match(r"python scripts/(\w+)\.py (.*)", line) for line in text.splitlines())
        results = (run(command[1], *shlex.split(command[2]), cwd=clone) for command in commands)
    for result in results:
        assert result.returncode == 0, result.stderr[-2000:]


def test_there_are_such_blocks():
    assert {language for language, _ in BLOCKS.values()} == {"bash", "python"}
    for page in ("README.md", "docs/own_data.md", "docs/serving.md", "docs/engine.md"):
        assert any(block.startswith(page) for block in BLOCKS), page


@pytest.mark.parametrize("page", TEXTS)
def test_every_path_that_a_page_names_is_there(page):
    for name in PATH.findall(TEXTS[page]):
        if not re.search(r"[A-Z]{3}", name.replace("README", "")):
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in LINK.findall(TEXTS[page]):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_readme_is_short_and_its_beginning_is_enough():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    beginning = "\n".join(lines[:60])
    for name in ("configs/pendulum.cfg", "pytest -n 2", "import kvae_tf", "docs/own_data.md"):
        assert name in beginning, name


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for page in TEXTS:
        if page != "README.md":
            assert page.removeprefix("docs/") in menu, page


def test_tables_hold_what_the_files_say(tmp_path):
    copy = tmp_path / "README.md"
    shutil.copy(README, copy)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    results_tables.update(copy, ROOT / "saved_models")
    for page, text in TEXTS.items():
        assert (tmp_path / page).read_text(encoding="utf-8") == text, (
            f"{page}: run scripts/update_readme.py"
        )


def test_every_table_is_on_some_page():
    for name in results_tables.TABLES:
        assert any(f"<!-- table {name} -->" in text for text in TEXTS.values()), name


def test_docs_build_strictly(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    site = tmp_path / "site"
    assert (site / "saved_models/pendulum/imputations.png").exists()
    assert not list(site.glob("*.py"))
    example = (site / "adding_a_model/index.html").read_text(encoding="utf-8")
    assert "8&lt;" not in example  # the snippet is in its place
    # Nothing on a page is fetched from elsewhere.
    fetched = re.compile(r"<(?:script|img|link)[^>]*(?:src|href)=\"?https?://(?!localhost)")
    for page in site.rglob("*.html"):
        assert not fetched.search(page.read_text(encoding="utf-8")), page
