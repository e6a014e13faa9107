"""The comparison with other libraries at the smallest size: what it reports, not how fast it is."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import reference
from commands import run

from kvae_tf.apps.against import by_kvae_tf, by_tfp, child, compare, libraries, problem
from kvae_tf.errors import UserError

GRAPH = by_kvae_tf.GRAPH


def log_likelihood(given):
    """By the oracle, summed over sequences."""
    model = reference.Model(
        given.transition, None, given.transition_noise, given.emission, given.emission_noise,
        given.initial_mean, given.initial_covariance,
    )  # fmt: skip
    return reference.loop_filter(model, given.observations).log_likelihood


def test_the_reference_is_that_of_numpy():
    given, rng = problem.random_problem(2, 5), np.random.default_rng(0)
    found = compare.reference(given)
    np.testing.assert_allclose(found["log_likelihood"], log_likelihood(given), rtol=1e-12)
    for name in problem.SOURCES:
        direction = rng.normal(size=getattr(given, name).shape)
        step = 1e-5 * direction
        above, below = (
            log_likelihood(given._replace(**{name: getattr(given, name) + sign * step})).sum()
            for sign in (1, -1)
        )
        slope = np.sum(found[name] * direction)
        np.testing.assert_allclose(slope, (above - below) / 2e-5, rtol=1e-5)


def test_a_problem_is_exact_in_float32_and_returns_from_its_file(tmp_path):
    given = problem.random_problem(2, 3)
    problem.save(tmp_path / "2x3.npz", given)
    for one, other in zip(given, problem.load(tmp_path / "2x3.npz"), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, one.astype(np.float32))
    assert given.observations.shape == (2, 3, problem.OBSERVATION_SIZE)


@pytest.fixture
def in_process(monkeypatch):
    """No child processes, and the path alone that compiles nothing."""

    def call(name, folder, repeats, sizes):
        child.run(name, folder, repeats, sizes)
        return json.loads((folder / f"{name}.json").read_text())

    monkeypatch.setattr(compare, "_run", call)
    monkeypatch.setattr(by_kvae_tf, "_exported", lambda *_: None)
    for caller in (by_kvae_tf, by_tfp):
        paths = caller.paths
        monkeypatch.setattr(
            caller, "paths", lambda given, paths=paths: {GRAPH: paths(given)[GRAPH]}
        )


@pytest.mark.parametrize(
    "name", ["kvae_tf", pytest.param("tfp", marks=[pytest.mark.tfp, pytest.mark.slow])]
)
def test_rows_and_errors(name, in_process, capsys):
    numbers = compare.against([name], [(2, 3), (1, 2)], repeats=2)
    rows = numbers["rows"]
    names = dict.fromkeys(["kvae_tf", name])
    assert [(row["size"], row["task"], row["library"], row["path"]) for row in rows] == [
        (size, task, library, GRAPH)
        for library in names
        for size in ("2x3", "1x2")
        for task in ("forward", "gradients")
    ]
    for row in rows:
        sources = problem.SOURCES if row["task"] == "gradients" else ()
        assert set(row["error"]) == {"log_likelihood", *sources}
        assert 0 < max(row["error"].values()) < 1e-5
        assert 0 < row["minimum_ms"] <= row["median_ms"]
        assert row["calls"] == 2
    assert set(numbers["versions"]) >= {"kvae_tf", "tensorflow"}
    assert json.loads(json.dumps(numbers)) == numbers
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines() if line.startswith(("2x3", "1x2"))]
    assert [line[:3] for line in lines] == [
        [row["size"], row["task"], row["library"]] for row in rows
    ]


def test_wrong_results_are_seen():
    exact = {"transition": np.array([1.0, -4.0])}
    assert compare.errors({"transition": np.array([1.0, -2.0])}, exact) == {"transition": 0.5}
    assert compare.errors({"transition": np.array([np.nan, -4.0])}, exact) == {"transition": None}
    assert compare.errors({"x": np.array([0.5])}, {"x": np.zeros(1)}) == {"x": 0.5}
    with pytest.raises(UserError, match=r"transition has shape \[1\], expected \[2\]"):
        compare.errors({"transition": np.array([1.0])}, exact)


def test_the_processor_is_named(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Abacus: 9\n")
    assert compare.processor(tmp_path / "cpuinfo") == "Abacus: 9"
    assert compare.processor(tmp_path / "none") == "unknown"


def test_slow_calls_are_fewer(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(child.time, "perf_counter", lambda: next(clock))
    times = child.times_of(lambda: None, repeats=300)
    assert 5 <= times["calls"] < 10
    assert times["minimum_ms"] == times["median_ms"] == 1000.0


def test_libraries_that_are_missing(monkeypatch):
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda name: None)
    assert libraries.chosen([libraries.INSTALLED]) == ["kvae_tf"]
    with pytest.raises(UserError, match="--against=torch-kf needs torch_kf, torch, not installed"):
        libraries.chosen(["torch-kf"])


def test_every_library_has_its_caller():
    folder = Path(libraries.__file__).parent
    callers = {f"{library.caller}.py" for library in libraries.LIBRARIES.values()}
    assert callers == {path.name for path in folder.glob("by_*.py")}


def test_a_library_that_fails_ends_in_one_line(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nImportError: no such thing\n")
    monkeypatch.setattr(compare.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="^tfp ended with status 1: ImportError: no such thing$"):
        compare._run("tfp", tmp_path, 1, ["2x3"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lgssm", "--against=magic"], "--against has 'magic', expected some of kvae_tf, tfp"),
        (["step", "--against=tfp"], "--against is set for step, expected lgssm"),
        (["stream", "--cost"], "--cost is set for stream, expected lgssm"),
        (["lgssm", "--cost", "--sizes=2x3"], "--sizes is set, but not used with --cost"),
        (["lgssm", "--figure=x.png"], "--figure is set without --cost, expected both or none"),
        (["lgssm", "--against=kvae_tf", "--latent_sizes=4"], "--latent_sizes is set, but not used"),
        (["lgssm", "--against=kvae_tf", "--sizes=0x3"], "--sizes is [0, 3], expected positive"),
    ],
)
def test_bad_flags(arguments, words, tmp_path):
    output = tmp_path / "numbers.json"
    result = run("benchmark", *arguments, f"--output={output}")
    assert result.returncode == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not output.exists()


@pytest.mark.slow
def test_the_command(tmp_path):
    output = tmp_path / "numbers.json"
    result = run(
        "benchmark", "lgssm", "--against=installed", "--sizes=2x3", "--repeats=1",
        f"--output={output}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    numbers = json.loads(output.read_text())
    rows = [row for row in numbers["rows"] if row["library"] == "kvae_tf"]
    assert len(rows) == 8
    assert all(max(row["error"].values()) < 1e-6 for row in rows)
    for row in numbers["rows"]:
        assert max(row["error"].values()) < 1e-2, row
