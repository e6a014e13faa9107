"""From a user's file to a trained run, and every study of the run and of its export."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from commands import run as script
from PIL import Image

from kvae_tf import studies
from kvae_tf.data.worlds import bouncing_ball
from kvae_tf.experiments import targets
from kvae_tf.studies.frames import GENERATED_STEPS

STUDIES = set(studies.STUDIES)
# A file has no longer sequences, no simulator, and counts no objects; a baseline has no modes and
# no moments of latent states.
OF_A_FILE = STUDIES - {
    "walk", "controls", "long_filtering", "objects", "continuations", "anomalies",
}  # fmt: skip
KINDS = {"kvae": OF_A_FILE, "ae_rnn": OF_A_FILE - {"modes", "regression"}}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A file as the KVAE authors released them: grey edges, controls that are pickled objects."""
    world = bouncing_ball.simulate("box", 60, 12, seed=0)
    images = world.frames[..., 0] / np.float32(255)
    images = np.clip(images + 0.2 * np.random.default_rng(0).random(images.shape), 0, 1)
    path = tmp_path_factory.mktemp("data") / "box.npz"
    controls = np.array([[None] * 12] * 60, dtype=object)
    np.savez(path, images=images.astype(np.float32), controls=controls, states=world.states,
             state_names=np.array(world.state_names))  # fmt: skip
    return path


@pytest.fixture(scope="module", params=["kvae", "ae_rnn"])
def run(request, released, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    result = script(
        "train", f"--dataset={released}", "--binarise", f"--run_dir={folder}",
        f"--model={request.param}", "--units=16", "--epochs=2", "--steps_per_epoch=3",
        "--batch_size=8", "--image_epochs=2", *(
            ["--pretraining_epochs=1"] if request.param == "ae_rnn" else ["--settling_epochs=1"]
        ),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return request.param, folder


@pytest.mark.slow
def test_a_released_file_trains_binarised(run):
    _, folder = run
    assert json.loads((folder / "settings.json").read_text())["binarise"] is True
    subject = targets.find(run=str(folder))
    assert set(np.unique(subject.splits.train.frames)) == {0, 255}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert len(metrics["missing_at_random/filter"]) == 10
    scores = json.loads((folder / "saved_model" / "scores.json").read_text())
    assert np.isfinite(scores["quantiles"]["scores"]).all()


@pytest.mark.slow
def test_every_study_of_an_export_agrees_with_the_run(run):
    kind, folder = run
    common = ("gap", "missing_at_random", "forecast")
    places = {"--run": folder, "--saved_model": folder / "saved_model" / "1"}
    for flag, place in places.items():
        names = common if flag == "--run" else sorted(KINDS[kind])
        output = folder / flag.strip("-")
        result = script(
            "evaluate", f"{flag}={place}", f"--output={output}", f"--experiment={','.join(names)}"
        )
        assert result.returncode == 0, result.stderr[-2000:]
        for name in names:
            assert json.loads((output / f"{name}.json").read_text())
            rows = list(csv.reader((output / f"{name}.csv").open()))
            assert len(rows) > 1
            assert {len(row) for row in rows} == {len(rows[0])}
            assert min(Image.open(output / f"{name}.png").size) > 50
    generated = Image.open(folder / "saved_model" / "generate.gif")
    assert generated.n_frames == GENERATED_STEPS
    for name in common:
        one, two = (
            json.loads((folder / flag.strip("-") / f"{name}.json").read_text()) for flag in places
        )
        assert one.keys() == two.keys()
        # Thresholded pixels may flip where compiled code differs in the last bit.
        error = {"gap": "errors", "missing_at_random": "errors", "forecast": "model"}[name]
        assert str(one[error])[:40] == str(two[error])[:40]
    if kind == "kvae":
        gap = json.loads((folder / "run" / "gap.json").read_text())
        assert set(gap["errors"]) == {"smooth", "filter", "generate", "last_frame"}
        measures = {"incorrect_pixels", "encoding_rmse", "position_rmse"}
        assert set(gap["errors"]["smooth"]) == measures


@pytest.mark.slow
def test_baselines_are_told_apart(run):
    kind, folder = run
    metrics = json.loads((folder / "metrics.json").read_text())
    if kind == "kvae":
        assert "test/elbo_per_frame" in metrics
    else:
        assert "test/joint_log_density_per_frame" in metrics
        assert "missing_at_random/smooth" not in metrics
        result = script("evaluate", f"--run={folder}", "--experiment=modes")
        assert result.returncode == 1
        assert "modes" in result.stderr


BAD_FLAGS = [
    ([], ["--run", "--saved_model"]),
    (["--run=/nowhere"], ["/nowhere/settings.json"]),
    (["--saved_model=/nowhere"], ["/nowhere", "saved_model.pb"]),
    (["--run=RUN", "--experiment=waltz"], ["--experiment", "waltz", "gap"]),
    (["--run=RUN", "--dataset=pendulum"], ["--dataset=pendulum", "(16, 16, 1)"]),
]


@pytest.mark.slow
def test_bad_flags_give_one_line(run, tmp_path):
    for flags, words in BAD_FLAGS:
        flags = [flag.replace("RUN", str(run[1])) for flag in flags]
        result = script("evaluate", *flags, f"--output={tmp_path / 'out'}")
        assert result.returncode == 1, flags
        *others, last = result.stderr.strip().splitlines()
        assert all(line.startswith("warning: ") for line in others)
        assert last.startswith("error: ")
        assert all(word in last for word in words), last
    assert not (tmp_path / "out").exists()
