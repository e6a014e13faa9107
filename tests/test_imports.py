"""The architecture: imports point one way, the root is small, and models are named in one place."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kvae_tf"
# Low to high: a package may import those before it, and itself.
ORDER = (
    "errors", "lgssm", "layers", "data", "models", "planning", "evaluation", "visualisation",
    "training", "export", "studies", "experiments", "apps",
)  # fmt: skip
MODEL_NAMES = re.compile(r"cannonball|\"kvae\"|'kvae'|dvbf|dkf|ed_lstm")
# Where models may be named: their own package, the worlds of the data, the least errors of these
# worlds, and tables of results.
NAMED = (
    "models", "data/worlds", "studies/least_error", "experiments/results_tables.py",
    "studies/paper_values.py",
)  # fmt: skip
MOST_ENTRIES = 15


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(module, nodes):
    """Modules of the package that import statements among ``nodes`` name, with line numbers."""
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if MODULES[module].name == "__init__.py" else parent(module)
                for _ in range(node.level - 1):
                    package = parent(package)
                base = f"{package}.{base}".rstrip(".")
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name not in MODULES and "." in name:
                name = parent(name)
            if name in MODULES:
                yield name, node.lineno


def parent(module):
    return module.rpartition(".")[0]


def at_import(node):
    """The statements that run when a module is imported: none of functions' bodies."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import(child)


def tree(module):
    return ast.parse(MODULES[module].read_text())


def test_imports_point_one_way():
    """Also those inside functions, and those for type checkers alone."""
    wrong = []
    for module in MODULES:
        if module == "kvae_tf":  # its table of public names is loaded when asked for
            continue
        own = ORDER.index(module.split(".")[1])
        for other, line in imported(module, ast.walk(tree(module))):
            if other == "kvae_tf" or ORDER.index(other.split(".")[1]) > own:
                wrong.append(f"{module}:{line} imports {other}")
    assert not wrong


def test_the_root_imports_nothing_before_it_is_asked():
    assert not list(imported("kvae_tf", at_import(tree("kvae_tf"))))


def test_scripts_leave_the_import_of_tensorflow_to_the_command_line():
    """So no script prints TensorFlow's start-up notes."""
    scripts = sorted((ROOT / "scripts").glob("*.py"))
    assert scripts
    for script in scripts:
        nodes = at_import(ast.parse(script.read_text()))
        names = {name for name, _ in imported(script.stem, nodes)}
        assert all(name.startswith("kvae_tf.apps") for name in names), script


@pytest.mark.parametrize("package", ORDER[1:])
def test_no_cycles(package):
    """Depth first over the imports of modules; a package imported by its own modules is one too."""
    prefix = f"kvae_tf.{package}"
    inside = [name for name in MODULES if name == prefix or name.startswith(f"{prefix}.")]
    edges = {
        name: {
            other for other, _ in imported(name, at_import(tree(name))) if other in inside
        } - {name}
        for name in inside
    }  # fmt: skip
    assert inside
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in sorted(edges[name]):
            visit(other)
        done.add(path.pop())

    for name in inside:
        visit(name)


def test_every_part_has_its_place_in_the_order():
    parts = {name.split(".")[1] for name in MODULES if "." in name}
    assert parts == set(ORDER)


def test_the_root_is_small():
    listed = subprocess.run(
        ["git", "ls-files", "kvae_tf"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git, or no repository")
    entries = {line.split("/")[1] for line in listed.stdout.splitlines()}
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_models_are_named_in_their_own_package_only():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if place == "__init__.py" or place.startswith(NAMED):
            continue
        found += [
            f"{place}:{number}: {line.strip()}"
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if MODEL_NAMES.search(line)
        ]
    assert not found


def test_the_checks_see_what_they_look_for():
    """A module of one import each: absolute, relative, inside a function, for type checkers."""
    lines = (
        "import kvae_tf.apps.cli",
        "from ..apps import cli",
        "def f():\n    from kvae_tf.apps import cli",
        "if TYPE_CHECKING:\n    from kvae_tf.apps.cli import main",
    )
    for text in lines:
        (found,) = imported("kvae_tf.lgssm.model", ast.walk(ast.parse(text)))
        assert found[0] == "kvae_tf.apps.cli"
    bare = [list(imported("kvae_tf.lgssm.model", at_import(ast.parse(text)))) for text in lines]
    assert [bool(found) for found in bare] == [True, True, False, False]
    assert MODEL_NAMES.search('if name == "kvae":')
    assert not MODEL_NAMES.search("import kvae_tf")
