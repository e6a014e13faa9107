"""Flagfiles by path and by name, from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvae_tf.errors import UserError
from kvae_tf.experiments import flagfiles, flags, presets

CONFIGS = Path(__file__).parents[2] / "configs"


def test_names_of_packaged_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("box", "box.cfg", "configs/box.cfg", "configs/box", "./box"):
        assert Path(flagfiles.find(name)).samefile(CONFIGS / "box.cfg")
    assert flagfiles.names() == sorted(path.stem for path in CONFIGS.glob("*.cfg"))
    for name in ("boxes", "elsewhere/box.cfg", str(tmp_path / "box.cfg"), "configs"):
        with pytest.raises(UserError, match=f"--flagfile={name} does not exist"):
            flagfiles.find(name)


def test_nested_lines_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    expected = flagfiles.expand(["--flagfile=configs/box_missing.cfg"])
    assert "--dataset=box" in expected
    assert expected[-1] == "--nomixed_rates"
    monkeypatch.chdir(tmp_path)
    for words in (["--flagfile=box_missing"], ["--flagfile", "configs/box_missing.cfg"]):
        assert flagfiles.expand(words) == expected
    assert flagfiles.expand(["--epochs", "3", "--flagfile=box_missing", "--seed=1"]) == [
        "--epochs", "3", *expected, "--seed=1",
    ]  # fmt: skip
    # A file of one's own may build upon a config.
    (tmp_path / "my.cfg").write_text("# mine\n\n--flagfile=configs/box_missing.cfg\n--seed=3\n")
    assert flagfiles.expand(["--flagfile=my.cfg"]) == [*expected, "--seed=3"]


def test_files_come_before_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = flagfiles.expand(["--flagfile=box_missing"])
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "box.cfg").write_text("--epochs=1\n")
    (tmp_path / "box").mkdir()  # a folder is no flagfile
    assert flagfiles.expand(["--flagfile=configs/box.cfg"]) == ["--epochs=1"]
    assert len(flagfiles.expand(["--flagfile=box"])) > 5
    # The package's own files mean each other.
    assert flagfiles.expand(["--flagfile=box_missing"]) == expected
    assert presets.flags("box_missing")["epochs"] > 1


def test_the_model_of_a_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert flags.chosen_model([]) == "kvae"
    assert flags.chosen_model(["--flagfile=ed_lstm", "--help"]) == "ed_lstm"
    assert flags.chosen_model(["--flagfile=ed_lstm", "--epochs", "3", "--model", "dkf"]) == "dkf"


def test_a_preset_that_sets_no_setting(tmp_path, monkeypatch):
    (tmp_path / "wrong.cfg").write_text("--epochs=2\n--no_such_thing=3\n")
    (tmp_path / "worse.cfg").write_text("--epochs=few\n")
    monkeypatch.setattr(flagfiles, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match="wrong.cfg: Unknown command line flag 'no_such_thing'"):
        presets.flags("wrong")
    with pytest.raises(UserError, match="worse.cfg: .*epochs=few"):
        presets.flags("worse")
