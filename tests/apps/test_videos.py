"""A video in, film, strip, frames and latents out; the scripts; simulated worlds as files."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from commands import ROOT, run
from conftest import SAVED_MODELS
from PIL import Image

from kvae_tf import data
from kvae_tf.apps import simulation, videos
from kvae_tf.data import video
from kvae_tf.errors import UserError
from kvae_tf.export.loading import LoadedModel
from kvae_tf.visualisation import films

SHAPE = (16, 16, 1)


@pytest.fixture(scope="module")
def path():
    return SAVED_MODELS / "pendulum" / "1"


@pytest.fixture(scope="module")
def model(path):
    return LoadedModel(path)


def folder_of(tmp_path, length=20, size=(16, 16)):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for t in range(length):
        picture = rng.integers(0, 255, size).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{t:03}.png")
    rows = "".join(f"{t},{0.1 * t},{int(t != 7)}\n" for t in range(length + 4))
    (tmp_path / "a.csv").write_text("frame,push,observed\n" + rows)
    return folder


def test_clip_takes_the_form_of_the_model(model, tmp_path):
    folder = folder_of(tmp_path)
    clip = videos.read(folder, model, (), str(tmp_path / "a.csv"), hidden="2-4,12", ahead=4)
    assert clip.frames.shape == (20, *SHAPE)
    assert clip.controls.shape == (24, 1)
    assert np.flatnonzero(clip.observed == 0).tolist() == [2, 3, 4, 7, 12]
    for options, words in (
        ({}, "0 controls, expected 1"),
        ({"annotations_path": str(tmp_path / "a.csv")}, "frame is 20, expected 0 to 19"),
    ):
        with pytest.raises(UserError, match=words):
            videos.read(folder, model, **options)
    for hidden, words in (("5-2", "0 to 19 only"), ("a", "as 10-19"), ("19-20", "0 to 19 only")):
        with pytest.raises(UserError, match=words):
            videos.read(folder, model, (), str(tmp_path / "a.csv"), hidden=hidden, ahead=4)


def test_answers_are_those_of_the_model(model, tmp_path):
    folder = folder_of(tmp_path)
    clip = videos.read(folder, model, (), str(tmp_path / "a.csv"), hidden="9-12", ahead=4)
    answer = videos.impute(model, clip)
    inputs = clip.frames[None], clip.observed[None], clip.controls[None, :20]
    expected = model.impute(*inputs)
    np.testing.assert_allclose(answer.frames, expected.frames[0], atol=1e-5)
    np.testing.assert_allclose(answer.encoding_stds, expected.encoding_stds[0], atol=1e-5)
    spread = np.sqrt(np.diagonal(model.smooth(*inputs).covariances[0], axis1=1, axis2=2))
    np.testing.assert_allclose(answer.latent_stds, spread, rtol=1e-3)
    ahead = videos.forecast(model, clip, 6)
    padded = np.pad(clip.controls, [(0, 2), (0, 0)])[None]
    expected = model.forecast(clip.frames[None], clip.observed[None], padded, num_steps=6)
    np.testing.assert_allclose(ahead.frames, expected.frames[0], atol=1e-5)


def test_long_videos_are_answered_in_blocks(monkeypatch):
    """A trained model forgets what lies further away than the context."""
    model = LoadedModel(ROOT / "saved_models" / "pendulum" / "1")
    long = data.WORLDS["pendulum"].splits(0, num_sequences=(1, 1, 1), num_steps=90).test
    observed = data.missing_at_random(1, 90, 0.3, 3, seed=0)[0]
    clip = videos.Clip(long.unit_frames[0], observed, long.controls[0])
    whole = videos.impute(model, clip)
    monkeypatch.setattr(videos, "_BLOCK", 30)
    monkeypatch.setattr(videos, "_CONTEXT", 25)
    parts = videos.impute(model, clip)
    assert [x.shape for x in whole] == [x.shape for x in parts]
    np.testing.assert_allclose(whole.frames, parts.frames, atol=0.05)
    np.testing.assert_allclose(whole.encodings, parts.encodings, atol=0.05)


@pytest.mark.slow
def test_scripts(path, tmp_path):
    folder = folder_of(tmp_path)
    common = [f"--saved_model={path}", f"--video={folder}", f"--annotations={tmp_path / 'a.csv'}"]
    result = run("forecast", *common, "--steps=4", "--format=mp4", f"--output={tmp_path / 'f'}")
    assert result.returncode == 0, result.stderr
    assert len(video.read(tmp_path / "f" / "film.mp4")) == 24
    (tmp_path / "a.csv").write_text("frame,u\n" + "".join(f"{t},0\n" for t in range(20)))
    result = run("impute", *common, "--hide=5-9", f"--output={tmp_path / 'i'}")
    assert result.returncode == 0, result.stderr
    assert len(video.read(tmp_path / "i" / "film.gif")) == 20
    with np.load(tmp_path / "i" / "frames.npz") as arrays:
        assert arrays["frames"].shape == arrays["frame_stds"].shape == (20, *SHAPE)
        assert arrays["observed"].sum() == 15
    with open(tmp_path / "i" / "latents.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    stds = [float(rows[t]["encoding_std_1"]) for t in range(5, 10)]
    assert np.argmax(stds) not in (0, 4)  # least is known in the middle of what is hidden
    result = run("impute", *common, "--hide=5-90", f"--output={tmp_path / 'bad'}")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "bad").exists()


def test_worlds_as_files(tmp_path):
    simulation.write("box", tmp_path / "a.npz", 3, (4, 2, 2), 5)
    splits = data.load(str(tmp_path / "a.npz"), 0)
    truth = data.WORLDS["box"].splits(3, num_sequences=(4, 2, 2), num_steps=5)
    for one, two in zip(splits, truth, strict=True):
        np.testing.assert_array_equal(one.frames, two.frames)
        np.testing.assert_array_equal(one.states, two.states)
    for name in ("a.gif", "a.mp4"):
        simulation.write("box", tmp_path / name, 3, (), 5)
        found = video.read(tmp_path / name)[..., 0] > 127
        single = data.WORLDS["box"].splits(3, num_sequences=(1, 1, 1), num_steps=5).test
        assert np.mean(found != (single.frames[0, ..., 0] > 127)) < 0.01
    for arguments, words in (
        (("bix", tmp_path / "a.npz"), "expected one of: billiards, "),
        (("box", tmp_path / "a.txt"), "expected .npz"),
        (("box", tmp_path / "a.npz", 0, (1, 2)), "2 numbers, expected 3"),
    ):
        with pytest.raises(UserError, match=words):
            simulation.write(*arguments)


def test_films_refuse_what_does_not_fit(tmp_path):
    with pytest.raises(UserError, match="all alike"):
        films.side_by_side({"a": np.zeros((2, 4, 4, 1)), "b": np.zeros((3, 4, 4, 1))})
    with pytest.raises(UserError, match="expected .gif or .mp4"):
        films.write(tmp_path / "a.png", np.zeros((2, 4, 4, 3), np.uint8))
