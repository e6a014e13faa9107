"""The package as others install it: a wheel, a source archive, a clone in editable mode."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from commands import ROOT

import kvae_tf

pytestmark = pytest.mark.slow

CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.cfg"))
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "configs", "kvae_tf")


def call(folder, *command, **variables):
    """What a command printed in a folder, where no clone is on Python's path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= variables
    result = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, f"{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The sources, without what earlier builds left, in a folder of the package's name."""
    folder = tmp_path_factory.mktemp("parent") / "kvae_tf"
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def environment(folder):
    """A fresh environment that finds the packages of this one; gives the folder of its programs."""
    call(folder, sys.executable, "-m", "venv", "venv")
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"])
    return folder / "venv" / "bin"


def wheel_of(clone, folder, **variables):
    call(clone, sys.executable, "-m", "pip", "wheel", "-q", ".", "--no-deps",
         "--no-build-isolation", f"--wheel-dir={folder}", **variables)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_wheel_with_models(clone, tmp_path):
    for name in ("box", "pendulum"):
        shutil.copytree(ROOT / "saved_models" / name, clone / "saved_models" / name)
    try:
        wheel = wheel_of(clone, tmp_path, KVAE_TF_MODELS="pendulum")
    finally:
        shutil.rmtree(clone / "saved_models")
    held = [n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("kvae_tf/saved_models/")]
    assert {name.split("/")[2] for name in held} == {"pendulum"}
    assert not [name for name in held if name.endswith((".png", ".gif"))]
    programs = environment(tmp_path)
    call(tmp_path, programs / "python", "-m", "pip", "install", "-q", "--no-deps", wheel)
    load = "import kvae_tf; print([kvae_tf.load('pendulum', t).frame_shape for t in (True, False)])"
    assert "[(16, 16, 1), (16, 16, 1)]" in call(tmp_path, programs / "python", "-c", load)


def test_wheel_alone(clone, tmp_path):
    wheel = wheel_of(clone, tmp_path)
    assert wheel.stat().st_size < 1e6
    assert wheel.name.startswith(f"kvae_tf-{kvae_tf.__version__}-")
    held = zipfile.ZipFile(wheel).namelist()
    assert sorted(Path(n).name for n in held if n.startswith("kvae_tf/configs/")) == CONFIGS
    assert {"kvae_tf/py.typed", "kvae_tf/studies/bayes_floor.json"} <= set(held)
    assert not [name for name in held if "saved_models" in name]
    assert {name.split("/")[0].partition("-")[0] for name in held} == {"kvae_tf"}
    programs = environment(tmp_path)
    call(tmp_path, programs / "python", "-m", "pip", "install", "-q", "--no-deps", wheel)

    work = tmp_path / "work"
    work.mkdir()
    place = call(work, programs / "python", "-c", "import kvae_tf; print(kvae_tf.__file__)")
    assert Path(place).is_relative_to(tmp_path / "venv")
    assert "--num_modes=N" in call(work, programs / "kvae-train", "--help")
    call(work, programs / "kvae-simulate", "--dataset=pendulum", "--num_sequences=4,1,1",
         "--output=x.npz")  # fmt: skip
    assert (work / "x.npz").exists()
    printed = call(work, programs / "kvae-train", "--flagfile=pendulum_smoke", "--run_dir=r",
                   "--epochs=2", "--steps_per_epoch=2", "--test_sequences=20")  # fmt: skip
    lines = printed.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 2
    assert not {"\r", "\b"} & set(printed)
    load = "import kvae_tf; print(kvae_tf.load('r/saved_model/1').generate(2, 5).frames.shape)"
    assert "(2, 5, 16, 16, 1)" in call(work, programs / "python", "-c", load)
    preset = "from kvae_tf import presets; print(presets.settings('box_missing').data.missing_rate)"
    assert call(work, programs / "python", "-c", preset) == "0.4\n"


def test_a_clone_is_found_from_its_parent_folder(clone, tmp_path):
    programs = environment(tmp_path)
    call(tmp_path, programs / "python", "-m", "pip", "install", "-q", "--no-deps",
         "--no-build-isolation", "-e", clone)  # fmt: skip
    code = "import kvae_tf; print(kvae_tf.__file__, kvae_tf.KVAE.__name__, kvae_tf.presets.names())"
    printed = call(clone.parent, programs / "python", "-c", code)
    assert printed.startswith(f"{clone / 'kvae_tf' / '__init__.py'} KVAE ['ae_rnn_box', ")
    assert "--runs=" in call(clone.parent, programs / "kvae-compare", "--help")


def test_source_archive_holds_the_configs(clone, tmp_path):
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    call(clone, sys.executable, "-c", build, tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as held:
        names = held.getnames()
    assert sorted(Path(n).name for n in names if Path(n).parent.name == "configs") == CONFIGS
