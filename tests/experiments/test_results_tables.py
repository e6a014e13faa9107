"""Runs beside each other, and the README's tables made of them."""

import json

import numpy as np
import pytest

from kvae_tf.errors import UserError
from kvae_tf.experiments import compare, results_tables
from kvae_tf.studies import bayes_floor


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def metrics(scale=1.0, methods=("smooth", "filter")):
    found = {"missing_at_random/rates": [0.1 * i for i in range(1, 11)],
             "gap/frames": list(range(1, 16, 2)), "train/updates": 6000}  # fmt: skip
    for term, value in (("elbo", -13.0), ("reconstruction", -11.5), ("regularisation", -1.5)):
        found[f"test/{term}_per_frame"] = scale * value
    for i, method in enumerate(methods):
        found[f"missing_at_random/{method}"] = [scale * (k + i) / 1000 for k in range(10)]
        found[f"gap/{method}"] = [scale * (k + i) / 1000 for k in range(8)]
    return found


def make_run(folder, flags, found):
    own = {"run_dir": str(folder), "latent_size": 4, "seed": 0}
    write(folder / "settings.json", own | flags)
    write(folder / "metrics.json", found)
    return folder


def test_compare_tells_what_is_shared_and_what_differs(tmp_path):
    runs = [
        make_run(tmp_path / str(s), {"model": "kvae", "seed": s}, {"a/b": s, "c/d": [s, 2.0]})
        for s in (1, 3)
    ]
    found = compare.compare(runs, tmp_path / "out" / "seeds.json")
    assert json.loads((tmp_path / "out" / "seeds.json").read_text()) == found
    assert found["flags"] == {"latent_size": 4, "model": "kvae"}
    assert [run["flags"] for run in found["runs"]] == [{"seed": 1}, {"seed": 3}]
    assert found["mean"] == {"a/b": 2.0, "c/d": [2.0, 2.0]}
    np.testing.assert_allclose(found["sd"]["c/d"], [np.sqrt(2.0), 0.0])


def test_compare_keeps_to_what_all_have(tmp_path):
    one = make_run(tmp_path / "1", {"model": "kvae"}, {"a/b": 1.0, "gap/smooth": [1.0]})
    two = make_run(tmp_path / "2", {"model": "ae_rnn"}, {"a/b": 2.0})
    found = compare.compare([one, two], tmp_path / "out.json")
    assert set(found["mean"]) == {"a/b"}
    assert found["runs"][0]["metrics"]["gap/smooth"] == [1.0]


@pytest.mark.parametrize("name", ["settings.json", "metrics.json"])
def test_compare_names_what_is_missing(tmp_path, name):
    run = make_run(tmp_path / "1", {}, {})
    (run / name).unlink()
    with pytest.raises(UserError, match=f"1/{name} does not exist"):
        compare.compare([run], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.fixture
def saved_models(tmp_path):
    folder = tmp_path / "saved_models"
    write(folder / "pendulum" / "metrics.json", {"test/elbo_per_frame": 939.123456, "x": [1]})
    filled = {
        method: {"rmse": [0.5, 0.7], "coverage": coverage}
        for method, coverage in (
            ("interpolation", [None, None]), ("UnobservedComponents", [0.9, 0.94]),
            ("DynamicFactorMQ", [0.9, 0.9]), ("kvae_tf", [0.88, 0.9]),
        )
    }  # fmt: skip
    write(folder / "tables" / "filling.json", {"sea": {"shape": [61, 12], "20 %": filled}})
    strange = {"verdict": "no_dynamics", "reconstruction": 0.2, "smoothing": 0.612,
               "filtering": 0.7, "last_frame": 0.7, "to_last_frame": 0.874, "sequences": 31,
               "cpu_minutes": 11.7, "kept_out": True}  # fmt: skip
    write(folder / "tables" / "foreign.json", {"mars": strange})
    planned = {"policy": "model", "model": "kite", "horizon": 20, "successes": 47, "episodes": 50,
               "return": 0.781, "return_std": 0.057, "cpu_seconds": 36.8}  # fmt: skip
    chance = planned | {"policy": "random", "model": "", "horizon": 0, "successes": 0}
    write(folder / "tables" / "planning.json", {"loop": {"model kite": planned, "random": chance}})
    timed = [
        {"size": "3x4", "task": task, "library": library, "path": path, "minimum_ms": ms,
         "median_ms": 2 * ms, "calls": 7, "first_call_s": 1.5,
         "error": {"log_likelihood": 1e-7, "transition": error}}
        for task, library, path, ms, error in (
            ("forward", "kvae_tf", "eager call", 3.0, 1e-8),
            ("forward", "kvae_tf", "jit_compile", 2.0, 1e-8),
            ("gradients", "kvae_tf", "eager call", 6.0, 1e-8),
            ("gradients", "kvae_tf", "jit_compile", 5.0, 1e-8),
            ("forward", "slow", "steps", 4.0, 1e-5),
            ("forward", "slow", "scan", 3.5, 1e-6),
            ("gradients", "slow", "scan", 4.0, None),
        )
    ]  # fmt: skip
    row = {"name": "filter", "milliseconds": 1.26, "error": 4e-8, "tolerance": 1e-5, "ok": False}
    write(folder / "tables" / "device_h100.json", {"rows": [row]})
    found = {"hidden": 0.0121, "hidden_se": 0.0005}
    reached = {"config": "fast", "goal": "good", "seconds": None, "value": None}
    write(folder / "tables" / "quality.json",
          [reached | {"seed": 0}, reached | {"seed": 2, "seconds": 7.6}])  # fmt: skip
    ahead = {"wasserstein": 2.5, "wasserstein_se": 0.1, "wasserstein_by_frame": [0.25] * 40}
    irregular = {"60/2/order": found, "40x5/0/gaps": found, "forecast/1/continuous": ahead}
    irregular["60/0/order"] = found | {"hidden": 0.0123}
    write(folder / "tables" / "irregular.json", irregular)
    write(folder / "tables" / "engine_against.json",
          {"processor": "Abacus 9", "versions": {"slow": "1.2"}, "rows": timed})  # fmt: skip
    for world in results_tables.WORLDS:
        write(folder / world / "metrics.json", metrics())
        runs = [
            make_run(tmp_path / world / model, {"model": model, "missing_rate": 0.8},
                     metrics(2.0, ("filter",)))
            for model in ("ae_rnn", "vae_rnn")
        ]  # fmt: skip
        compare.compare(runs, folder / world / "baselines.json")
    runs = [
        make_run(tmp_path / "long" / str(rate), {"model": "ae_rnn", "missing_rate": rate}, found)
        for rate, found in ((0.0, metrics(3.0, ("filter",))), (0.8, metrics(4.0, ("filter",))))
    ]
    compare.compare(runs, folder / "box" / "baselines_long.json")
    for name, flag, values in (
        ("seeds", "seed", (0, 1, 2)),
        ("missing", "missing_rate", (0.0, 0.4)),
        ("networks", "dynamics_network", ("lstm", "lstm", "mlp")),
    ):
        runs = [
            make_run(tmp_path / name / str(i), {"model": "kvae", flag: value}, metrics(1.0 + i))
            for i, value in enumerate(values)
        ]
        compare.compare(runs, folder / "box" / f"{name}.json")
        if name == "seeds":
            compare.compare(runs, folder / "box_state" / "seeds.json")
    states = {f"r2/{name}": 0.9 for name in ("sin", "cos", "velocity")}
    runs = [
        make_run(
            tmp_path / f"{model}_{seed}",
            {"model": model, "network": "mlp", "seed": seed},
            states | {"test/elbo_per_frame": 900.0 + seed, "test/reconstruction_per_frame": 905.0,
                      "test/regularisation_per_frame": -5.0},
        )
        for model in ("kvae", "dvbf")
        for seed in (0, 2)
    ]  # fmt: skip
    for run in runs[2:]:
        write(run / "time.json", {"seconds": 90.0, "epochs": 3})
    compare.compare(runs, folder / "pendulum" / "systems.json")
    compare.compare(runs[:2], folder / "pendulum" / "paper_sizes.json")
    compare.compare(runs[3:], folder / "dvbf_pendulum_long" / "seeds.json")
    continued = {"generation/frames": [5, 6]} | {
        f"generation/{measure}": [1.0, 2.5]
        for measure in ("nats", "incorrect_pixels", "position_error")
    }
    located = {"position_r2/1": 0.99, "position_r2/2": 0.96, "identity_switch_rate": 0.042,
               "acceleration/ratio": 1.05, "acceleration/angle_degrees": 3.6}  # fmt: skip
    runs = [
        make_run(tmp_path / model, {"model": model, "seed": seed}, found)
        for model, seed, found in (
            ("cannonball", 1, continued | located),
            ("ed_lstm", 0, continued),
        )
    ]
    compare.compare(runs, folder / "cannonball" / "systems.json")
    # Of a longer table: as many frames as the rows ask for.
    long = {
        f"{group}/{measure}": [float(i) for i in range(5, 25)]
        for group in ("generation", "interpolation")
        for measure in ("frames", "nats", "incorrect_pixels", "position_error")
    }
    three = long | located | {
        "position_r2/3": 0.93, "count_accuracy": 0.987,
        "mix_up_rate/2": 0.004, "mix_up_rate/3": 0.051,
    }  # fmt: skip
    runs_of_three = [
        make_run(tmp_path / f"three_{model}", {"model": model, "seed": 3}, found)
        for model, found in (("cannonball", three), ("ed_lstm", long))
    ]
    compare.compare(runs_of_three, folder / "cannonball_3" / "systems.json")
    met = long | located | {
        "position_rmse/2": 0.31, "position_filter_rmse/1": 0.42, "position_filter_rmse/2": 0.53,
    }  # fmt: skip
    colliding = [
        make_run(tmp_path / f"met_{modes}_{model}",
                 {"model": model, "seed": 4, "collision_modes": modes}, found)
        for model, modes, found in (
            ("cannonball", 8, met), ("cannonball", 0, met), ("ed_lstm", 0, long)
        )
    ]  # fmt: skip
    compare.compare(colliding, folder / "billiards" / "systems.json")
    compare.compare(runs[:1], folder / "cannonball" / "seeds.json")
    evaluation = folder / "dvbf_ball" / "evaluation"
    write(evaluation / "regression.json", {"r_squared": {"x": 0.9994, "velocity_x": 0.92}})
    errors = {"true": [0.1] * 20, "zero": [0.15] * 20, "one step late": [0.2] * 20}
    for name in ("pendulum", "dvbf_pendulum", "dvbf_ball"):
        write(folder / name / "evaluation" / "controls.json", {"pixel_rmse": errors})
    write(
        folder / "pendulum" / "evaluation" / "walk.json",
        {"context": 15, "step": 45, "r_squared": {"forecast": {"sin": 0.998, "cos": 0.876}}},
    )
    for place, last, lost in ((".", 1e9, 3), ("seed_2", 0.75, 0)):
        rmse = {"15": {"sin": 0.25}, "100": {"sin": 0.5}, "500": {"sin": last}}
        write(
            folder / "dvbf_pendulum" / "evaluation" / place / "long_filtering.json",
            {"lost": lost, "sequences": 9, "rmse": rmse, "rmse_of_worst_sequence": {"sin": last}},
        )
    write(
        folder / "box" / "evaluation" / "coverage.json",
        {
            "coverage_0.9/smooth": 0.9123,
            "coverage_0.5/smooth": 0.5,
            "crps/smooth": [0.02, 0.03],
            "random/near_bounce/coverage_0.9/smooth": 0.8765,
            "random/far_from_bounce/coverage_0.9/smooth": 0.9321,
        },
    )
    return folder


def test_tables_hold_the_numbers_of_the_files(saved_models, tmp_path):
    readme = tmp_path / "README.md"
    tables = "\n".join(f"<!-- table {n} -->\nold\n<!-- /table -->" for n in results_tables.TABLES)
    readme.write_text(f"before\n{tables}\nafter\n")
    results_tables.update(readme, saved_models)
    text = readme.read_text()
    assert text.count("| Cannonball, attention's order | 1 |") == 2  # once, and continued
    assert "| 20 of 60 | discrete, times unknown | 2 | 0.0122 ± 0.0001 |  |" in text
    assert "| 20 of 40, off the grid | discrete, gaps in a grid | 1 | 0.0121 ± 0.0000 |  |" in text
    assert "| continuous time | 1 | 2.50 ± 0.00 | 0.25 ± 0.00 |" in text
    assert text.count("| continuous time | 1 |") == 1  # no frames that were filled in
    assert "| dvbf_pendulum | 0 | 3 of 9 | sin 0.25 | sin 0.5 | no bound | no bound |" in text
    assert "| dvbf_pendulum | 2 | 0 of 9 | sin 0.25 | sin 0.5 | sin 0.75 | sin 0.75 |" in text
    assert "| KVAE, mlp, the paper's sizes | 2 | 901.00 " in text
    assert "| DVBF, mlp, with recovery | 1 | 902.00 " in text
    assert "| filter | 1.3 | 4e-08 | 1e-05 | **no** |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    least, spread = (
        of("gravity", "gap", [9])["filter"][0]
        for of in (bayes_floor.floor, bayes_floor.floor_errors)
    )
    for line in (
        "| test/elbo_per_frame | 939.1235 |",
        "| KVAE, smoothing | 0.0000 | 0.0010 | 0.0020 |",
        "| AE-RNN | 0.0000 | 0.0020 |",
        "| *paper: KVAE, smoothing* | *0.0057* |",
        "| VAE-RNN | yes | 6,000 | 0.0000 | 0.0080 | 0.0140 |",
        "| AE-RNN | no | 6,000 | 0.0000 | 0.0120 | 0.0210 |",
        "| pong | KVAE, filtering | 0.0050 | 0.0080 |",
        "| pong | VAE-RNN | 0.0080 | 0.0140 |",
        "| p = 0.5, smoothing | 0.0080 ± 0.0040 | 0.0040, 0.0080, 0.0120 |",
        "| seeds that failed to learn | 0 of 3 |",
        "| 40 % | 6000 | 0.0080 |",
        "| sea (61 x 12) | 20 % | 0.600 ± 0.141 | 0.600 ± 0.141 (0.92) | 0.600 ± 0.141 (0.90) |",
        "| lstm | 2 | 0.0060 ± 0.0028 |",
        "| mlp | 1 | 0.0120 ± 0.0000 |",
        "| KVAE, mlp | 2 | 901.00 ± 1.41 | 905.00 ± 0.00 | -5.00 ± 0.00 | 0.00 ± 0.00 |",
        "| DVBF, mlp | 2 | 901.00 ± 1.41 |",
        "| 1.5 | 798.56 |",
        "| Cannonball | 1 | 0.990 | 0.960 | 4.2 % | 1.050 | 3.6° |",
        "| ED-LSTM | 0 | generation | 6 | 2.5 | 2.5 | 2.5 |",
        "| Cannonball | 3 | 0.990 | 0.960 | 0.930 | 4.2 % | 0.4 % | 5.1 % | 98.7 % |",
        "| ED-LSTM | 3 | generation | 7.0 | 7 | 7 | 7 |",
        "| ED-LSTM | 3 | interpolation | 24.0 | 24 | 24 | 24 |",
        "| Cannonball | 4 | 0.42 | 0.53 | 0.31 | 4.2 % | 9.00 | 14.00 | 24.00 | 24.0000 |",
        "| Cannonball, nothing is met | 4 | 0.42 | 0.53 | 0.31 | 4.2 % | 9.00 | 14.00 | 24.00 |",
        "| ED-LSTM | 4 |  |  |  |  | 9.00 | 14.00 | 24.00 | 24.0000 |",
        "| DVBF, mlp | 0.900 ± 0.000 | 0.900 ± 0.000 | 0.900 ± 0.000 | 0.90, 0.90 | "
        "0.961 / 0.982 / 0.916 |",
        "| KVAE | ball in a box, half of the frames hidden: incorrect pixels of hidden frames | "
        "0.0080 ± 0.0040 | 0.0075 |",
        "| box | filtered state, seeds: 3 | 0.0000 ± 0.0000 | 0.0080 ± 0.0040 | 0.0140 ± 0.0070 |",
        "| box | encodings | 0.0000 | 0.0040 | 0.0070 | 0.0050 | 0.0080 | -13.00 |",
        "| Cannonball | two balls: R² of their positions | 0.960 ± 0.000 |  |",
        "| box | smoothing | 0.912 |",
        "| box | half, at random | smoothing | 0.876 | 0.932 | 0.0250 |",
        "| KVAE | -13.00 | -11.50 | -1.50 |",
        "| pendulum | forecast | 30 | sin 1.00, cos 0.88 |",
        "| dvbf_ball | 10 | 1.5 | 2.0 |",
        "| 0.999 | 0.920 |",
        f"| gravity | gap of 9 | filtering | {least:.5f} ± {spread:.5f} |  | 0.0050 "
        f"({0.005 / least:.1f}) |  |",
        "| loop | planned by a model, distance of encodings | `kite` | 20 | 47 of 50 | "
        "0.78 ± 0.06 | 37 |",
        "| loop | random |  |  | 0 of 50 | 0.78 ± 0.06 | 37 |",
        "| 3 x 4 | forward | 3.00 | 2.00 | 3.50 (1.8) |",
        "| 3 x 4 | gradients | 6.00 | 5.00 | 4.00 (0.8) |",
        'calls itself "Abacus 9", with 7 to 7 calls each',
        "is 2.00 to 2.00 times their minimum",
        "| slow | steps | 1e-05 | no gradients | 1.5 |",
        "| slow | scan | 1e-06 | not finite | 1.5 |",
        "| kvae_tf | eager call | 1e-07 | 1e-07 | 1.5 |",
        "Versions: slow 1.2.",
        "| mars, kept out | `no_dynamics` | 0.20 | 0.61 | 0.70 | 0.70 | 0.87 | 31 | 12 |",
    ):
        assert line in text, line
    results_tables.update(readme, saved_models)
    assert readme.read_text() == text


def test_pages_beside_the_readme_are_written_too_all_or_none(saved_models, tmp_path):
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "results" / "kvae.md"
    page.parent.mkdir(parents=True)
    readme.write_text("<!-- table seeds -->\n<!-- /table -->\n")
    page.write_text("<!-- table gap -->\nold\n<!-- /table -->\n")
    plain = tmp_path / "docs" / "index.md"
    plain.write_text("no markers")
    results_tables.update(readme, saved_models)
    assert "| KVAE, filtering |" in page.read_text()
    assert "old" not in page.read_text()
    assert plain.read_text() == "no markers"
    before = "<!-- table seeds -->\nold\n<!-- /table -->\n"
    readme.write_text(before)
    page.write_text("<!-- table moon -->\n<!-- /table -->")
    with pytest.raises(UserError, match="kvae.md has the tables moon"):
        results_tables.update(readme, saved_models)
    assert readme.read_text() == before


def test_a_world_without_baselines_has_its_kvae_alone(saved_models):
    (saved_models / "box" / "baselines.json").unlink()
    table = results_tables.gap(saved_models)
    assert "| KVAE, filtering |" in table
    assert "| AE-RNN |" not in table


def test_a_failed_seed_is_counted(saved_models):
    path = saved_models / "box" / "seeds.json"
    found = json.loads(path.read_text())
    found["runs"][2]["metrics"]["missing_at_random/smooth"][4] = 0.0121
    path.write_text(json.dumps(found))
    assert "| seeds that failed to learn | 1 of 3 |" in results_tables.seeds(saved_models)


def test_wrong_markers_and_missing_files_are_told(saved_models, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- table moon -->\n<!-- /table -->")
    with pytest.raises(UserError, match="moon; expected some of summary"):
        results_tables.update(readme, saved_models)
    readme.write_text("nothing")
    with pytest.raises(UserError, match="none; expected"):
        results_tables.update(readme, saved_models)
    readme.write_text("<!-- table seeds -->\n<!-- /table -->")
    (saved_models / "box" / "seeds.json").unlink()
    with pytest.raises(UserError, match="seeds.json does not exist"):
        results_tables.update(readme, saved_models)
    assert "table seeds" in readme.read_text()
