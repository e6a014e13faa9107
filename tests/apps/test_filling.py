"""The comparison on public tables: what is hidden, what is chosen, what is counted."""

import numpy as np
import pytest
from commands import run

from kvae_tf.apps.filling import comparison, public_tables, references
from kvae_tf.errors import UserError


def test_hidden_entries():
    table = np.zeros((200, 5))
    few, many = (public_tables.hide(table, "entries", rate, 0) for rate in (0.2, 0.5))
    assert abs(few.mean() - 0.2) < 0.05
    assert (few <= many).all()
    blocks = public_tables.hide(table, "blocks", 0.2, 0)
    assert (np.abs(blocks.mean(0) - 0.2) <= 0.045).all()
    for column in blocks.T:
        ends = np.flatnonzero(np.diff(np.concatenate([[0], column, [0]])))
        assert (ends[1::2] - ends[::2] >= public_tables.BLOCK).all()
    assert not np.array_equal(blocks, public_tables.hide(table, "blocks", 0.2, 1))


def test_interpolation_holds_the_ends():
    table = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, 3.0], [4.0, np.nan]])
    filled, stds = references.interpolation(table)
    np.testing.assert_array_equal(filled, [[2, 1], [2, 2], [3, 3], [4, 3]])
    assert stds is None


def test_the_best_option_on_validation_entries_is_reported_on_test_entries(monkeypatch):
    """The table is noise of variance 1: an answer of 0 has an error of 1, and intervals of 90 %."""
    table = np.random.default_rng(0).normal(size=(400, 3))

    def answers(value, std):
        return lambda seen, **options: (
            np.full(seen.shape, value + options.get("worse", 0.0)), np.full(seen.shape, std)
        )  # fmt: skip

    monkeypatch.setitem(public_tables.TABLES, "noise", lambda: table)
    monkeypatch.setattr(references, "unobserved_components", answers(0.0, 1.0))
    monkeypatch.setattr(references, "dynamic_factors", answers(1.0, 0.1))
    options = {"bad": {"worse": 3.0}, "good": {}}
    monkeypatch.setattr(references, "UNOBSERVED_COMPONENTS", options)
    monkeypatch.setattr(references, "DYNAMIC_FACTORS", {"one": {"factors": 1}, "x": {"factors": 3}})
    monkeypatch.setattr(comparison, "_fill_in", answers(0.0, 1.0))
    monkeypatch.setattr(comparison, "partial", lambda f, **options: lambda seen: f(seen, **options))
    found = comparison.compare("noise", [0, 1])
    assert found["shape"] == [400, 3]
    for pattern in public_tables.PATTERNS:
        rows = found[pattern]
        assert rows["UnobservedComponents"]["chosen"] == ["good", "good"]
        assert rows["DynamicFactorMQ"]["chosen"] == ["one", "one"]
        for method in ("UnobservedComponents", comparison.OURS):
            np.testing.assert_allclose(rows[method]["rmse"], 1.0, atol=0.12)
            np.testing.assert_allclose(rows[method]["coverage"], 0.9, atol=0.05)
        np.testing.assert_allclose(rows["DynamicFactorMQ"]["rmse"], np.sqrt(2.0), atol=0.15)
        assert max(rows["DynamicFactorMQ"]["coverage"]) < 0.2
        assert rows["interpolation"]["coverage"] == [None, None]


@pytest.mark.parametrize("method", ["unobserved_components", "dynamic_factors"])
def test_references_find_a_simulated_model(method):
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=100)) * 0.3
    truth = np.stack([walk, -walk], axis=1) + 0.1 * rng.normal(size=(100, 2))
    hidden = rng.random(truth.shape) < 0.2
    options = {"level": "llevel"} if method == "unobserved_components" else {"factors": 1}
    means, stds = getattr(references, method)(np.where(hidden, np.nan, truth), **options)
    assert np.sqrt(np.mean(np.square(means - truth)[hidden])) < 0.35
    assert 0.8 < (np.abs(means - truth) < 1.6449 * stds)[hidden].mean() <= 1.0


def test_a_missing_package_is_named(monkeypatch):
    with pytest.raises(UserError, match=r"no_such is not installed, .*\[compare\]"):
        public_tables.need("no_such")


def test_an_unknown_table_is_refused(tmp_path):
    result = run("compare_filling", "--tables=stocks", f"--output={tmp_path / 'x' / 'y.json'}")
    assert result.returncode == 1
    assert "--tables has 'stocks', expected some of macrodata" in result.stderr
    assert not (tmp_path / "x").exists()
