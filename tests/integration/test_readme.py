"""README and docs: what they say runs, what they name is there, their tables are up to date."""

import functools
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import python, read, run

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
BASH = re.compile(r"```bash\n(.*?)```", re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
INSTALLED = re.findall(r'"(\w+)"', re.search(r"COMMANDS = \((.*?)\)", SETUP, re.DOTALL)[1])
FOLDERS = "configs|docs|kvae_tf|notebooks|saved_models|scripts|tests"
# Capital letters stand for something, as in saved_models/NAME/1.
PATH = re.compile(rf"(?<![\w/.])((?:{FOLDERS})/[\w/.-]*\w)")
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


def calls(text):
    """The calls of the package's commands in lines of a shell: name and arguments of each."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        for is_sign, group in itertools.groupby(words, lambda word: set(word) <= set("&|;<>")):
            command = "" if is_sign else shlex.join(group)
            found = re.match(r"(?:python3? scripts/(\w+)\.py|kvae-(\w+))(?: |$)", command)
            if found:
                assert found[1] or found[2] in INSTALLED, command
                yield found[1] or found[2], *shlex.split(command[found.end() :])


CALLS = {
    " ".join(call): call
    for text in TEXTS.values()
    for lines in [*BASH.findall(text), *(span for span in SPAN.findall(text) if " " in span)]
    for call in calls(lines)
}


@pytest.fixture
def clone(tmp_path):
    """A folder with all that the README's reader has; what commands write stays in it."""
    for name in ("kvae_tf", "scripts", "configs", "saved_models"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


# Trainings on data of one's own, which take half a minute each, and a model that is saved and read.
LONG_BLOCKS = ("docs/own_data.md", "docs/serving.md:3")


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, marks=pytest.mark.slow) if b.startswith(LONG_BLOCKS) else b for b in BLOCKS],
)
def test_quick_block(block, clone):
    language, text = BLOCKS[block]
    if language == "python":
        results = [python(text, cwd=clone)]
    else:
        commands = (re.match(r"python scripts/(\w+)\.py (.*)", line) for line in text.splitlines())
        results = (run(command[1], *shlex.split(command[2]), cwd=clone) for command in commands)
    for result in results:
        assert result.returncode == 0, result.stderr[-2000:]


accepted = functools.cache(lambda call: read(*call))


@pytest.mark.parametrize("call", CALLS)
def test_command_is_accepted(call):
    result = accepted(CALLS[call])
    assert result.returncode == 0, result.stderr[-2000:]


WRONG = {
    "python scripts/train.py --datset=box --run_dir=runs/a": "Unknown command line flag 'datset'",
    "python scripts/train.py --flagfile=configs/boxes.cfg": "does not exist, expected a file",
    "python scripts/train.py --flagfile=configs/box.cfg --max_objects=3": "has no such setting",
    "python scripts/train.py --flagfile=configs/box.cfg \\\n --units=many": "whole numbers",
    "python scripts/train.py --flagfile=configs/box.cfg --epochs=-1": "--epochs is -1, expected",
    "cd a && kvae-train --init_from=boxes --run_dir=runs/a": "--init_from=boxes does not exist",
    'python scripts/sweep.py --config=box --grid="seeds=0,1" --sweep_dir=runs/s': "'seeds'",
    "python scripts/sweep.py --config=boxes --grid=seed=0 --sweep_dir=runs/s": "does not exist",
    "kvae-evaluate --run=runs/box --experiment=gap,gaps": "unknown: gaps",
    "kvae-simulate --dataset=boxes --output=a.npz": "unknown: boxes",
    "python scripts/floor.py --worlds=pong --output=a.json": "unknown: pong",
    "python scripts/forecast.py --saved_model=saved_models/box/1": "--video is not set",
    "python scripts/benchmark.py steps": "subcommand is 'steps'",
    "python scripts/update_readme.py now": "unexpected argument 'now'",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_command_is_not_accepted(line):
    (call,) = calls(line)
    result = read(*call)
    assert result.returncode != 0
    assert WRONG[line] in result.stderr


def test_commands_are_found():
    names = {name for name, *_ in CALLS.values()}
    assert names == {path.stem for path in (ROOT / "scripts").glob("*.py")}
    line = "A=b . env/bin/activate && kvae-sweep --grid='a=1;b=2' | tee log; python scripts/card.py"
    assert list(calls(line)) == [("sweep", "--grid=a=1;b=2"), ("card",)]
    with pytest.raises(AssertionError):
        list(calls("kvae-floor --output=a.json"))


def test_every_flag_that_a_page_names_is_there():
    known = {"help", "flagfile"}  # of every command
    one_of_each = {call[0]: call for call in CALLS.values() if "--help" not in call}
    for call in one_of_each.values():
        known.update(accepted(call).stdout.rpartition("flags:")[2].split())
    assert {"tensor_float_32", "grid", "mixed_rates"} <= known
    for page, text in TEXTS.items():
        for span in SPAN.findall(text):
            if re.match(r"--|scripts/", span):
                for flag in re.findall(r"(?<!\S)--(\w+)", span):
                    assert flag in known or flag.removeprefix("no") in known, f"{page}: {span}"


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
