"""Initialisations that compete: the best goes on, and a killed competition goes on too."""

import json

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import data
from kvae_tf.errors import UserError
from kvae_tf.experiments import run
from kvae_tf.experiments.settings import Settings
from kvae_tf.training import build as building
from kvae_tf.training import callbacks, restarts


class KilledError(Exception):
    pass


@pytest.fixture
def values(tmp_path):
    images = np.random.default_rng(0).random((30, 5, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", images=images)
    return {"dataset": str(tmp_path / "mine.npz"), "epochs": 3, "steps_per_epoch": 3,
            "batch_size": 8, "units": [8], "starts": 2, "starting_epochs": 1, "model": "ae_rnn",
            "pretraining_epochs": 2,
            "test_sequences": 1, "reconstruction_weight": 0.1, "weight_epochs": 2}  # fmt: skip


def final_state(run_dir):
    path = tf.train.latest_checkpoint(str(run_dir / "checkpoints" / "last"))
    reader = tf.train.load_checkpoint(path)
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith(("model", "optimizer"))]
    assert names
    return {name: reader.get_tensor(name) for name in names}


@pytest.mark.slow
def test_the_best_start_goes_on_also_after_a_kill(values, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    metrics = run.run(Settings.from_dict(values | {"run_dir": str(whole)}))
    assert metrics["train/updates"] == 9
    found = json.loads((whole / "starts" / "losses.json").read_text())
    assert len(set(found["losses"])) == 2
    assert found["losses"][found["best"]] == min(found["losses"])
    assert json.loads((whole / "time.json").read_text())["epochs"] == 3
    assert not list(whole.glob("starts/*/checkpoints"))

    # Killed in the second start, one update after the first start was done.
    calls = []

    def die(guard, batch, logs=None):
        del guard, batch, logs
        calls.append(1)
        if len(calls) == 4:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.NaNGuard, "on_train_batch_end", die)
        with pytest.raises(KilledError):
            run.run(Settings.from_dict(values | {"run_dir": str(parts)}))
    assert (parts / "starts" / "0" / "checkpoints" / "last").exists()
    again = run.run(Settings.from_dict(values | {"run_dir": str(parts), "resume": True}))
    assert again == metrics
    for (name, one), (other, two) in zip(
        sorted(final_state(whole).items()), sorted(final_state(parts).items()), strict=True
    ):
        assert name == other
        np.testing.assert_array_equal(one, two, err_msg=name)


def poisoned(patch, starts_that_diverge):
    """These starts have a NaN among their weights from the beginning."""

    def build(plan, train, start=0):
        model = building.build(plan, train, start)
        if start in starts_that_diverge:
            poisoned_weight = model.trainable_variables[0]
            poisoned_weight.assign(np.full(poisoned_weight.shape, np.nan))
        return model

    patch.setattr(restarts, "build", build)


def begin(values, run_dir, number):
    settings = Settings.from_dict(values | {"run_dir": str(run_dir), "starts": number})
    splits = run.load_data(settings)
    model = building.build(settings.plan, splits.train)
    checkpoints = building.compile_model(
        model, settings.plan, splits.train, run_dir / "checkpoints"
    )
    restarts.select_best(model, checkpoints, settings.plan, splits, run_dir)
    return model


def test_a_start_that_diverges_is_out(values, tmp_path, monkeypatch, capsys):
    poisoned(monkeypatch, {0})
    model = begin(values, tmp_path / "run", 2)
    losses = json.loads(
        (tmp_path / "run" / "starts" / "losses.json").read_text(), parse_constant=pytest.fail
    )
    assert losses["losses"][0] is None
    assert np.isfinite(losses["losses"][1])
    assert losses["best"] == 1
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    lines = [line for line in capsys.readouterr().out.splitlines() if " is out: " in line]
    assert len(lines) == 1
    assert lines[0].startswith("start 1 of 2 is out: ")
    assert " not finite after update " in lines[0]


def test_a_held_out_error_that_is_no_number_is_never_the_best(values, tmp_path, monkeypatch):
    losses = iter([np.nan, 2.0, -np.inf, 1.0])
    monkeypatch.setattr(restarts, "held_out_error", lambda *given: next(losses))
    monkeypatch.setattr(restarts, "train", lambda *given: given[1].save(is_best=True))
    begin(values, tmp_path / "run", 4)
    written = json.loads((tmp_path / "run" / "starts" / "losses.json").read_text())
    assert written == {"losses": [None, 2.0, None, 1.0], "best": 3}


def test_all_starts_diverge(values, tmp_path, monkeypatch):
    monkeypatch.setattr(restarts, "held_out_error", lambda *given: np.nan)
    monkeypatch.setattr(restarts, "train", lambda *given: given[1].save(is_best=True))
    with pytest.raises(UserError, match=r"--starts=2: no initialisation has a finite loss"):
        begin(values, tmp_path / "run", 2)
    assert not (tmp_path / "run" / "starts" / "losses.json").exists()


def test_held_out_error_is_the_weighted_bound(values, tmp_path):
    settings = Settings.from_dict(values | {"run_dir": str(tmp_path / "run"), "model": "kvae"})
    splits = run.load_data(settings)
    model = building.build(settings.plan, splits.train)
    building.compile_model(model, settings.plan, splits.train, tmp_path / "checkpoints")
    batch = next(iter(data.evaluation_batches(splits.validation, len(splits.validation))))
    bound = model.elbo(batch, tf.constant([0, 1], tf.int64))
    terms = 0.1 * bound.terms["reconstruction"] + bound.terms["regularisation"]
    loss = restarts.held_out_error(model, splits.validation)
    np.testing.assert_allclose(loss, -np.mean(terms / bound.num_frames), rtol=1e-5)


def test_the_first_start_is_what_a_single_one_would_be(values, tmp_path):
    settings = Settings.from_dict(values | {"run_dir": str(tmp_path / "run")})
    splits = run.load_data(settings)
    single, first, second = (
        building.build(settings.plan, splits.train, *start).get_weights()
        for start in ((), (0,), (1,))
    )
    assert all(np.array_equal(*pair) for pair in zip(single, first, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(single, second, strict=True))


@pytest.mark.parametrize("epochs", [0, 3])
def test_starts_need_epochs(values, tmp_path, epochs):
    with pytest.raises(UserError, match=f"--starting_epochs is {epochs}"):
        Settings.from_dict(values | {"run_dir": str(tmp_path), "starting_epochs": epochs})
