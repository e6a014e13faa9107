"""The comparison of devices: rows that are right, wrong, or raise, and the command."""

import json

import pytest
import tensorflow as tf
from commands import run as script

from kvae_tf.apps import device_check
from kvae_tf.apps.device_check import rows
from kvae_tf.errors import UserError


def compared(value, exact, tolerance=1e-3):
    return rows.compare(
        "x", lambda: lambda: {"x": tf.constant(value)}, lambda: {"x": tf.constant(exact)},
        tolerance, repeats=2,
    )  # fmt: skip


def test_rows_that_agree_differ_and_are_no_number():
    right, wrong = compared([1.0, 2.0], [1.0, 2.001]), compared([1.0, 2.0], [1.0, 2.1])
    assert (right.ok, wrong.ok) == (True, False)
    assert wrong.error == pytest.approx(0.1 / 2.1, rel=1e-4)
    assert right.milliseconds > 0
    nothing = compared([float("nan")], [1.0])
    assert (nothing.ok, nothing.error, nothing.message) == (False, None, "the error is nan")
    assert compared([0.0], [0.0]).ok
    assert not compared([0.1], [0.0]).ok
    assert "NOT OK" in rows.line(wrong)


def test_a_row_that_raises_is_one_line():
    def bad():
        raise ValueError("two\nlines")

    row = rows.compare("x", lambda: bad, lambda: {}, 1e-3, repeats=1)
    assert (row.ok, row.message) == (False, "ValueError: two lines")
    assert (row.milliseconds, row.error) == (None, None)
    row = rows.compare("x", lambda: lambda: {}, bad, 1e-3, repeats=1)
    assert "ValueError" in rows.line(row)


def test_every_model_and_network_has_a_config():
    from kvae_tf.experiments import presets
    from kvae_tf.models import registry

    chosen = [presets.settings(name).plan.spec.name for name in device_check.default_configs()]
    assert set(chosen) == set(registry.names())


@pytest.mark.slow
def test_the_command_writes_its_table(tmp_path):
    path = tmp_path / "device.json"
    result = script(
        "device_check", "--sizes=2x21", "--configs=dkf_pendulum", "--batch_size=2",
        "--exports=dvbf_ball", "--repeats=1", f"--write={path}",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    table = json.loads(path.read_text())
    assert table["tensorflow"] == tf.__version__
    names = [row["name"] for row in table["rows"]]
    assert names == [
        *(f"{task}, sequential, B=2 T=21 n=4{jit}" for task in ("filter", "smooth", "gradients")
          for jit in ("", ", jit")),
        "dkf_pendulum: step, float32, --jit=off",
        "dkf_pendulum: step, float32, --jit=on",
        "dvbf_ball: impute", "dvbf_ball: filter", "dvbf_ball: generate",
    ]  # fmt: skip
    assert all(row["ok"] and row["error"] <= row["tolerance"] for row in table["rows"])
    assert all(row["milliseconds"] > 0 for row in table["rows"])
    assert all(name in result.stdout for name in names)


def test_rows_are_added_to_a_table_of_the_same_machine(tmp_path):
    facts = device_check.facts()
    old = facts | {"rows": [{"name": "a", "error": 1}, {"name": "b", "error": 2}]}
    new = facts | {"rows": [{"name": "b", "error": 3}, {"name": "c", "error": 4}]}
    rows = device_check.added(new, old)["rows"]
    assert [(row["name"], row["error"]) for row in rows] == [("a", 1), ("b", 3), ("c", 4)]
    path = tmp_path / "device.json"
    path.write_text(json.dumps(old | {"device": "another"}))
    result = script("device_check", "--parts=engine", f"--write={path}")
    assert result.returncode == 1
    assert "--write has a table with device another, expected CPU" in result.stderr
    assert json.loads(path.read_text())["device"] == "another"


def test_a_wrong_row_gives_a_status(tmp_path):
    """An export that cannot be loaded: the row says so, and the others go on."""
    folder = tmp_path / "broken" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"no graph")
    result = script(
        "device_check", "--parts=exports", f"--saved_models={tmp_path}",
        f"--write={tmp_path / 'x.json'}",
    )  # fmt: skip
    assert result.returncode == 1
    assert "rows are not ok" in result.stdout
    assert "Traceback" not in result.stderr
    table = json.loads((tmp_path / "x.json").read_text())
    assert [row["ok"] for row in table["rows"]] == [False] * len(table["rows"])
    assert table["rows"]
    assert all("broken" in row["message"] for row in table["rows"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parts": ["magic"]}, "--parts has 'magic'"),
        ({"parts": []}, "--parts is empty"),
        ({"sizes": [(0, 5)]}, "--sizes has 0x5"),
        ({"parts": ["steps"], "configs": ["moon"]}, "--configs: preset 'moon'"),
        ({"parts": ["steps"], "precision_config": "moon"}, "--precision_config: preset 'moon'"),
        ({"parts": ["exports"], "saved_models": "/nowhere"}, "--saved_models=/nowhere"),
        ({"parts": ["exports"], "names": ["moon"]}, "--exports has 'moon'"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(UserError, match=words):
        device_check.check(**arguments)


def test_bad_flags_give_one_line(tmp_path):
    for flags, words in [
        (["--parts=moon"], "--parts has 'moon'"),
        (["--repeats=0"], "repeats"),
        (["--sizes=3"], "--sizes has '3'"),
        (["--write=/dev/null/x/y.json"], "--write=/dev/null/x"),
    ]:
        result = script("device_check", *flags)
        assert result.returncode == 1, flags
        (line,) = result.stderr.strip().splitlines()
        assert line.startswith("error: ")
        assert words in line
