"""Commands: their help, their one-line errors, plugins, and what they import before flags."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from commands import ROOT, run

from kvae_tf.experiments.settings import parts
from kvae_tf.models import registry
from kvae_tf.training import callbacks

COMMANDS = ROOT / "kvae_tf" / "apps" / "commands"
LIGHT = ["impute", "forecast", "score", "simulate", "report", "sweep", "compare", "record",
         "export_litert"]  # fmt: skip

# Runs a command, and says last whether TensorFlow was imported.
LIGHTLY = """
import importlib, sys
name, *arguments = sys.argv[1:]
command = importlib.import_module(f"kvae_tf.apps.commands.{name}")
sys.argv = [f"kvae-{name}", *arguments]
try:
    command.main()
finally:
    print("imported" if "tensorflow" in sys.modules else "not imported")
"""

PLUGIN = """
import dataclasses
from kvae_tf.data.settings import setting
from kvae_tf.models import KVAE, register
from kvae_tf.models.kvae.spec import SCHEDULE, SPEC, KVAESettings

@dataclasses.dataclass(frozen=True)
class Mine(KVAESettings):
    network: str = setting("mlp", "Read by mine.", choices=("mlp", "dense"))
    strangeness: float = setting(0.5, "How strange it is.", least=0.0, most=1.0)

def create(setup):
    arguments = dataclasses.asdict(setup.settings) | setup.training | {"network": "mlp"}
    for name in ("strangeness", *SCHEDULE):
        del arguments[name]
    train = setup.train
    return KVAE(train.frame_shape, train.control_size, seed=setup.seed, **arguments)

register(dataclasses.replace(SPEC, name="mine", settings=Mine, create=create))
"""


def words(page):
    """The page without its line breaks."""
    return " ".join(page.split())


def listed(page):
    """The names of the flags on the page, in order."""
    return re.findall(r"^  --(?:\[no\])?(\w+)", page, re.MULTILINE)


def defined(*names):
    """The names of the flags that commands define by themselves, and those the last requires."""
    texts = [(COMMANDS / f"{name}.py").read_text() for name in names]
    text = "".join(texts)
    required = "".join(re.findall(r"mark_flags?_as_required\((.*?)\)", texts[-1]))
    return re.findall(r'DEFINE_\w+\(\s*"(\w+)"', text), re.findall(r'"(\w+)"', required)


def check_page(result):
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", LIGHT)
def test_help_and_a_missing_flag_come_without_tensorflow(name):
    of_videos = name in ("forecast", "score")  # these share flags with impute
    names, required = defined(*(["impute"] if of_videos else []), name)
    if of_videos:
        names = [n for n in names if n not in ("hide", "method", "table")]
    command = [sys.executable, "-c", LIGHTLY, name]
    for word in ("--help", "-h"):
        result = subprocess.run([*command, word], cwd=ROOT, capture_output=True, text=True)
        page, _, end = result.stdout.rpartition("not imported")
        check_page(result)
        assert end == "\n"
        assert listed(page) == names
        assert words(page).count("(required)") == len(required) > 0
        assert words(page).count("(default: ") == len(names) - len(required)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert re.fullmatch(r"error: --\w+ is not set, but required: .+\n", result.stderr)
    assert result.stdout == "not imported\n"
    result = subprocess.run([*command, "--no_such=1"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert re.fullmatch(r"error: Unknown command line flag 'no_such'.*\n", result.stderr)


def test_trains_help_is_that_of_the_chosen_model():
    models = registry.names()
    calls = [["--help"], *([f"--model={name}", "--help"] for name in models)]
    calls += [["--flagfile=ed_lstm", "--help"], ["--flagfile", "configs/box_missing.cfg", "-h"]]
    calls += [["--flagfile=ed_lstm", "--model=dkf", "--epochs=many", "--help"]]
    results = [run("train", *call) for call in calls]
    for model, result in zip(["kvae", *models, "ed_lstm", "kvae", "dkf"], results, strict=True):
        check_page(result)
        page = words(result.stdout)
        assert f"Model (of --model={model};" in page
        kinds = parts(model)
        fields = {f.name: f for kind in kinds.values() for f in dataclasses.fields(kind)}
        assert sorted(listed(result.stdout)) == sorted(["model", "plugin", *fields])
        for field in fields.values():
            assert words(field.metadata["help"].removesuffix(" (required).")) in page
            for choice in field.metadata["choices"] or ():
                assert re.search(rf"--{field.name}=(\S+\|)?{choice}\b", page), field.name
        places = [page.index(title) for title in ("Data:", "Model (", "Training:", "Run:")]
        assert places == sorted(places)
        assert "metrics.json (required)" in page
        assert "--epochs=N Epochs to train. (default: 80; at least 1)" in page


def test_evaluates_help():
    result = run("evaluate", "--help")
    check_page(result)
    assert sorted(listed(result.stdout)) == sorted(["plugin", *defined("evaluate")[0]])
    assert "missing_at_random, gap" in words(result.stdout)


BAD = [
    (["--flagfile=box", "--max_objects=3"], "--max_objects is set, but --model=kvae has no such"),
    (["--flagfile=box", "--nosecond_order"], "--second_order is set, but --model=kvae has no"),
    (["--flagfile=boxes"], "--flagfile=boxes does not exist, expected a file or one of: ae_rnn"),
    (["--flagfile=elsewhere/box.cfg"], "--flagfile=elsewhere/box.cfg does not exist"),
    (["--flagfile=boxes", "--help"], "--flagfile=boxes does not exist"),
    (["--flagfile"], "--flagfile with no argument"),
    (["--model=kave"], "--model is 'kave', expected one of kvae, dvbf"),
    (["--model=kave", "--help"], "--model is 'kave', expected one of kvae, dvbf"),
    (["--network=tree"], "--network is 'tree', expected one of mlp, cnn"),
    (["--epochs=many"], "--epochs=many"),
    (["--plugin=no_such_module"], "--plugin=no_such_module: No module named"),
    (["--plugin=none.py"], "--plugin=none.py does not exist"),
    (["--plugin"], "plugin"),
    (["--nojit"], "Unknown command line flag 'nojit'"),
    (["--nobinarise=yes"], "--nobinarise=yes does not take an argument"),
    (["--model=vae_rnn"], "--pretraining_epochs is 0, expected 1 or more for ae_rnn"),
    (["--run_dri=x"], "Unknown command line flag 'run_dri'"),
    (["--run_dir=x", "surplus"], "unexpected argument 'surplus'"),
    ([], "--run_dir is not set"),
]


def test_bad_flags_of_train():
    for arguments, expected in BAD:
        result = run("train", *arguments)
        assert result.returncode == 1, arguments
        assert result.stdout == "", arguments
        assert expected in result.stderr
        assert re.fullmatch(r"error: .+\n", result.stderr), result.stderr


def test_plugins_bring_models_and_their_settings(tmp_path):
    (tmp_path / "my_model.py").write_text(PLUGIN)
    (tmp_path / "other.py").write_text(PLUGIN.replace('"mine"', '"other"'))
    (tmp_path / "my.cfg").write_text(f"--plugin={tmp_path / 'my_model.py'}\n--model=mine\n")
    mine = [f"--plugin={tmp_path / 'my_model.py'}"]
    calls = [
        [*mine, "--model=mine", "--help"],
        [f"--flagfile={tmp_path / 'my.cfg'}", "--help"],
        [*mine, "--plugin", str(tmp_path / "other.py"), "--model=other", "--help"],
        [*mine, "--model=mine", "--strangeness=2", f"--run_dir={tmp_path / 'run'}"],
        [*mine, "--strangeness=0.1", f"--run_dir={tmp_path / 'run'}"],
    ]
    *pages, limits, model = (run("train", *call) for call in calls)
    for page in pages:
        check_page(page)
        text = words(page.stdout)
        assert "--strangeness=X How strange it is. (default: 0.5; 0.0 to 1.0)" in text
        assert "--network=mlp|dense Read by mine. (default: mlp)" in text
    assert limits.stderr == "error: --strangeness is 2.0, expected 0.0 to 1.0\n"
    assert "--strangeness is set, but --model=kvae has no such setting" in model.stderr
    assert limits.returncode == model.returncode == 1


@pytest.mark.slow
def test_a_plugins_model_is_swept_and_evaluated(tmp_path):
    (tmp_path / "my_model.py").write_text(PLUGIN)
    plugin, folder = f"--plugin={tmp_path / 'my_model.py'}", tmp_path / "sweep"
    changes = ("model=mine", "epochs=1", "steps_per_epoch=2", "test_sequences=20", "network=dense")
    result = run(
        "sweep", plugin, "--config=pendulum_smoke", f"--sweep_dir={folder}",
        "--grid=strangeness=0.25", *(f"--set={change}" for change in changes),
    )  # fmt: skip
    assert result.returncode == 0, (folder / "strangeness=0.25" / "log.txt").read_text()
    chosen = json.loads((folder / "strangeness=0.25" / "settings.json").read_text())
    assert (chosen["model"], chosen["strangeness"]) == ("mine", 0.25)
    result = run("evaluate", plugin, f"--run={folder / 'strangeness=0.25'}", "--experiment=gap")
    assert result.returncode == 0, result.stderr
    assert (folder / "strangeness=0.25" / "evaluation").is_dir()
    result = run("evaluate", f"--run={folder / 'strangeness=0.25'}", "--experiment=gap")
    assert "a model of your own comes with --plugin" in result.stderr


def test_output_that_is_no_terminal_gets_a_line_an_epoch(capfd, monkeypatch):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((8, 2), np.float32)

    def fit():
        model.fit(x, x[:, :1], batch_size=2, epochs=3, verbose=callbacks.verbosity(),
                  callbacks=[callbacks.EpochLines()])  # fmt: skip
        return capfd.readouterr().out

    lines = fit().splitlines()
    assert len(lines) == 3
    for epoch, line in enumerate(lines, start=1):
        assert re.fullmatch(rf"epoch {epoch} of 3: loss [\d.e+-]+", line)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    shown = fit()
    assert "epoch 1 of 3" not in shown
    assert "Epoch 1/3" in shown


def test_modules_start_as_scripts_do(tmp_path):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-m", "kvae_tf.apps.commands.simulate", "--dataset=pendulum",
         "--num_sequences=2,1,1", "--num_steps=3", "--output=x.npz"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "x.npz\n", "")
    assert np.load(tmp_path / "x.npz")["train_images"].shape[:2] == (2, 3)
    page = subprocess.run(
        [sys.executable, "-m", "kvae_tf.apps.commands.compare", "--help"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    check_page(page)
    assert listed(page.stdout) == ["runs", "output"]
