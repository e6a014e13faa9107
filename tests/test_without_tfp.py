"""TensorFlow Probability is needed for what is asked of it by name, and for nothing else."""

import ast
import sys
from pathlib import Path

import pytest
import reference
from commands import python
from training_cases import CASES, model_of

from kvae_tf import lgssm
from kvae_tf.apps import benchmark
from kvae_tf.errors import UserError
from kvae_tf.models import registry

PACKAGE = Path(__file__).parents[1] / "kvae_tf"
NAMES = ("tensorflow_probability", "tf_keras")
# One training step of each case, then an export of the last one, which is loaded again.
TRAINING = """
import sys
sys.path.insert(0, "tests")
import tensorflow as tf
from training_cases import build
from kvae_tf.export import loading, saved_model
folder, *cases = sys.argv[1:]
for case in cases:
    model, batch = build(case)
    before = model.get_weights()
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    assert any((x != y).any() for x, y in zip(before, model.get_weights())), case
if folder:
    saved_model.export(model, folder)
    answer = loading.LoadedModel(folder).impute(batch["frames"], batch["observed"])
    assert answer.frames.shape == batch["frames"].shape
"""
BY_COMMANDS = ("kvae", "dvbf", "dkf", "cannonball")  # trained in tests/integration, as here


def importers(path):
    """Lines of a module that import TensorFlow Probability or ``tf_keras``."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (node.lineno for name in names if name.split(".")[0] in NAMES)


def test_one_module_imports_it():
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
             if list(importers(path))}  # fmt: skip
    assert found == {"lgssm/probability.py"}


def test_callers_are_few():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "probability.require(" in path.read_text()
    }
    assert found == {"lgssm/inference.py", "lgssm/model.py", "apps/benchmark/engine.py"}


def test_commands_of_the_tests_run_without_it():
    for name in NAMES:
        result = python(f"import {name}")
        assert result.returncode, name
        assert "ModuleNotFoundError" in result.stderr


def test_models_train_without_it():
    assert {model_of(case) for case in CASES} == set(registry.names())
    others = [name for name in CASES if name in registry.names() and name not in BY_COMMANDS]
    assert others
    result = python(TRAINING, "", *others)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.slow
def test_every_model_trains_and_one_is_exported_without_it(tmp_path):
    result = python(TRAINING, tmp_path / "1", *CASES, "kvae")
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.fixture
def hidden(monkeypatch):
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("function", [lgssm.filter, lgssm.smooth, lgssm.log_likelihood])
def test_the_engine_says_what_to_install(function, hidden):
    model, y = problem()
    with pytest.raises(UserError, match="method 'tfp' needs TensorFlow Probability") as caught:
        function(model, y, method="tfp")
    assert_one_line(caught)


def test_a_distribution_and_a_benchmark_say_it_too(hidden):
    with pytest.raises(UserError, match=r"LGSSM.to_tfp needs TensorFlow Probability") as caught:
        problem()[0].to_tfp(3)
    assert_one_line(caught)
    with pytest.raises(UserError, match="--methods=tfp needs TensorFlow Probability") as caught:
        benchmark.engine([(1, 2)], [2], ["tfp"], 1)
    assert_one_line(caught)


def problem():
    rng = reference.np.random.default_rng(0)
    model = reference.random_model(rng, 1, 3, 2, 1)
    y = reference.simulate(rng, model, 1, 3)[1]
    return lgssm.LGSSM(*model), y


def assert_one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    assert "pip install tensorflow-probability tf_keras" in message
