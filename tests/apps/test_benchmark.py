"""The benchmarks at the smallest sizes: what they report, not how fast it is."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.apps import benchmark
from kvae_tf.apps.benchmark import step
from kvae_tf.errors import UserError
from kvae_tf.experiments import flagfiles


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


@pytest.mark.slow
def test_cost_of_small_sizes(capsys):
    rows = benchmark.cost({"T": [5], "m": [1], "B": [2]}, chunk=2)
    assert [(row["axis"], row["T"], row["task"], row["method"]) for row in rows] == [
        ("T", 5, "forward", "sequential, chunks"),
        ("T", 5, "forward", "sequential"), ("T", 5, "gradients", "sequential"),
        ("T", 5, "forward", "parallel"), ("T", 5, "gradients", "parallel"),
        ("m", 20, "forward", "sequential"), ("m", 20, "gradients", "sequential"),
        ("B", 20, "forward", "sequential"), ("B", 20, "forward", "no arithmetic"),
        ("B", 20, "gradients", "sequential"),
    ]  # fmt: skip
    assert rows[-2]["milliseconds"] < rows[-3]["milliseconds"]
    assert all(row["milliseconds"] > 0 and row["peak_mib"] > 0 for row in rows)
    assert "sequential, chunks" in capsys.readouterr().out


def test_a_figure_of_cost_has_one_panel_an_axis():
    sizes = {"B": 1, "T": 5, "n": 4, "m": 2, "task": "forward", "method": "sequential"}
    rows = [
        sizes | {"axis": axis, axis: value, "milliseconds": 0.1 * value}
        for axis in ("m", "T")
        for value in (1, 10, 100)
    ]
    one, two = (benchmark.cost_figure(rows[:number]) for number in (3, 6))
    assert one.dtype == np.uint8
    assert two.shape[0] == one.shape[0]
    assert two.shape[1] == 2 * one.shape[1]


def test_the_least_time_is_that_of_the_processor(monkeypatch):
    clock = iter([0.0, 0.5, 1.0, 1.2, 2.0, 2.4])
    monkeypatch.setattr(benchmark.timing.time, "process_time", lambda: next(clock))
    found = benchmark.timing.least_cpu_milliseconds(lambda x: [x], [tf.constant([1.0])], 1.0)
    np.testing.assert_allclose(found, 200.0)


def test_a_goal_is_reached_when_the_bound_stays_there():
    lines = [
        (3.0, "starting\n"),
        (5.0, "epoch 1 of 3: elbo -9.1, val_elbo -12.5, val_loss 12.5\n"),
        (7.0, "epoch 2 of 3: elbo 900.1, val_elbo 811, val_loss 3\n"),
        (9.0, "epoch 3 of 3: elbo 900.1, val_elbo 700.25, val_loss 3\n"),
    ]
    rows = list(benchmark.reached(iter(lines), (-20.0, 700.0, 810.0)))
    assert [(row["seconds"], row["value"]) for row in rows] == [
        (5.0, -12.5), (7.0, 811.0), (None, None),
    ]  # fmt: skip


def test_quality_is_for_configs_with_goals():
    with pytest.raises(UserError, match="--configs has 'pong', expected some of pendulum_fast"):
        benchmark.quality(["pong"], [0], "runs")
    for config in benchmark.GOALS:
        assert config in flagfiles.names()


def test_a_training_that_fails_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "bad.cfg").write_text("--epochs=-1\n")
    monkeypatch.setitem(benchmark.GOALS, str(tmp_path / "bad.cfg"), benchmark.GOALS["box_fast"])
    with pytest.raises(UserError, match="failed: error: --epochs is -1, expected"):
        benchmark.quality([str(tmp_path / "bad.cfg")], [0], tmp_path / "runs")
