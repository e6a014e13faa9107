"""The benchmarks at the smallest sizes: what they report, not how fast it is."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.apps import benchmark
from kvae_tf.apps.benchmark import step
from kvae_tf.errors import UserError


def test_a_timing_counts_its_calls():
    calls = []

    def function(x):
        calls.append(1)
        return [x + 1.0]

    timing = benchmark.measure(function, [tf.constant([1.0])], repeats=5)
    assert timing.calls == 5
    assert len(calls) == 1 + 3 + 5
    assert timing.milliseconds > 0


@pytest.mark.slow
@pytest.mark.tfp
def test_engines_are_right_where_they_are_timed(capsys):
    rows = benchmark.engine([(2, 5)], [3], ["tfp", "sequential"], repeats=1)
    assert [(row["task"], row["method"]) for row in rows] == [
        ("forward", "tfp"), ("forward", "sequential"), ("forward", "eager call"),
        ("gradients", "tfp"), ("gradients", "sequential"), ("gradients", "eager call"),
    ]  # fmt: skip
    assert max(row["max_error"] for row in rows) < 1e-3
    assert all(row["tfp_ratio"] > 0 for row in rows if row["method"] == "sequential")
    assert "TFP/ours" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([(2, 5)], [3], ["magic"], 1), "--methods has 'magic'"),
        (([(0, 5)], [3], ["tfp"], 1), "--sizes is"),
        (([(2, 5)], [], ["tfp"], 1), "--latent_sizes is"),
    ],
)
def test_bad_sizes(arguments, words):
    with pytest.raises(UserError, match=words):
        benchmark.engine(*arguments)


@pytest.mark.slow
def test_step_of_box_reports_both_precisions(monkeypatch, capsys):
    small = step._CASES["box"]._replace(batch_size=1)
    monkeypatch.setitem(step._CASES, "box", small)
    train = step.data.WORLDS["box"].splits(0, num_sequences=(2, 1, 1), num_steps=3)
    monkeypatch.setattr(step.data, "load", lambda *_, **__: train)
    results = step._box(repeats=1)
    for precision in ("float32", "mixed_bfloat16"):
        ratio = results[f"{precision}: step to frame networks alone, ratio"]
        parts = [results[f"{precision}: {name}"] for name in ("whole step", step._NETWORKS)]
        np.testing.assert_allclose(ratio, parts[0] / parts[1])
    assert "mixed_bfloat16: whole step" in capsys.readouterr().out
