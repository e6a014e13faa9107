"""``kvae_tf.train``: data in memory or on disk, settings by keyword, a fitted model."""

import json
import tempfile

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import kvae_tf
from kvae_tf import data
from kvae_tf.data import SequenceData, as_splits
from kvae_tf.errors import DivergedError, UserError
from kvae_tf.experiments import run

# The model that is compiled soonest.
SMALL = {
    "model": "ed_lstm", "feature_size": 7, "state_size": 6, "units": (4,), "epochs": 1,
    "steps_per_epoch": 2, "batch_size": 8, "image_epochs": 0, "test_sequences": 2,
}  # fmt: skip
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 5, 8, 8), np.uint8)
CONTROLS = RNG.normal(size=(30, 5, 2))


def refusal(call):
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def written(logs):
    """Texts in TensorBoard's event files, by tag."""
    found = EventAccumulator(str(logs), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [event.tensor_proto.string_val[0].decode() for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


def test_arrays_train_as_their_file_does(tmp_path, monkeypatch):
    """The same weights, bit for bit; and nothing stays on the disk."""
    np.savez(tmp_path / "mine.npz", images=IMAGES, controls=CONTROLS)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    one = kvae_tf.train(tmp_path / "mine.npz", **SMALL | {"seed": np.int64(3)})
    two = kvae_tf.train({"images": IMAGES, "controls": CONTROLS}, **SMALL, seed=3)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not list((tmp_path / "temporary").glob("kvae_tf*"))
    assert {path.name for path in tmp_path.iterdir()} == {"mine.npz", "temporary"}
    assert np.isfinite(two.history.history["val_loss"]).all()
    history = two.fit(
        data.training_batches(as_splits({"images": IMAGES, "controls": CONTROLS}).train, 8, seed=0),
        steps_per_epoch=1, verbose=0,
    )  # fmt: skip
    assert np.isfinite(history.history["loss"]).all()


def test_a_run_of_arrays(tmp_path):
    folder = tmp_path / "run"
    model = kvae_tf.train(IMAGES, run_dir=folder, **SMALL)
    metrics = json.loads((folder / "metrics.json").read_text())
    (text,) = written(folder / "logs" / "test")["verdict"]
    assert text == f"**{metrics['verdict']}** {kvae_tf.evaluation.paragraph(metrics)}"
    (points,) = folder.rglob("projector_config.pbtxt")
    assert list(points.parent.glob("events.out.*"))  # or TensorBoard does not find the points
    for path in (folder / "settings.json", folder / "saved_model" / "settings.json"):
        assert json.loads(path.read_text())["dataset"] == "<arrays>"
    assert "<arrays>" in (folder / "saved_model" / "README.md").read_text()
    # The run, its export and its live export are the same model.
    seen = as_splits(IMAGES).test.unit_frames[:2]
    expected = model.forecast(seen, num_steps=2).frames
    for found in (
        kvae_tf.load(folder),
        kvae_tf.load(folder / "saved_model"),
        kvae_tf.load(folder / "saved_model", trainable=True),
    ):
        np.testing.assert_allclose(found.forecast(seen, num_steps=2).frames, expected, atol=1e-6)
    assert kvae_tf.load(folder).optimizer.iterations.numpy() == 2
    other = IMAGES.copy()
    other[0, 0, 0, 0] ^= 1
    again = SMALL | {"resume": True, "epochs": 2}
    message = refusal(lambda: kvae_tf.train(other, run_dir=folder, **again))
    assert message.startswith("--dataset=<arrays> has other contents now than those that")
    message = refusal(lambda: kvae_tf.train(IMAGES, run_dir=folder, **SMALL))
    assert "pass --resume to go on with it" in message
    assert "was in memory when the model was trained" in refusal(lambda: run.restore(folder))
    longer = kvae_tf.train(IMAGES, run_dir=folder, **again)
    assert longer.optimizer.iterations.numpy() == 4


@pytest.mark.parametrize(("flags", "words"), [
    ({"learning_rat": 0.1}, "unknown settings: learning_rat (did you mean learning_rate?)"),
    ({"zzz": 0.1}, "unknown settings: zzz"),
    ({"newtonian_epochs": 1}, "--newtonian_epochs is set, but --model=kvae has no such setting"),
    ({"dataset": "box"}, "dataset is set twice"),
    ({"resume": True}, "resume is set, expected run_dir"),
    ({"window": 4}, "--window is 4, but --dataset=<arrays> is no video"),
    ({"draw_walls": True}, "--draw_walls is set, but the data are in memory: expected a world"),
    ({"preset": "bix"}, "preset 'bix' is unknown"),
    ({"epochs": "many"}, "--epochs is 'many', expected a whole number"),
    ({"units": np.array([4.5])}, "--units is (4.5,), expected whole numbers"),
    ({"init_from": 3}, "--init_from is 3, expected text"),
    ({"init_from": "bix"}, "--init_from=bix does not exist, expected a run, an export's folder"),
    ({"model": ["kvae"]}, "--model is ('kvae',), expected text"),
])  # fmt: skip
def test_bad_settings(flags, words):
    assert words in refusal(lambda: kvae_tf.train(IMAGES, **flags))


@pytest.mark.parametrize(("error", "kind", "words"), [
    (KeyboardInterrupt("x; go on with --resume"), KeyboardInterrupt, "nothing is kept without"),
    (DivergedError("loss not finite", "see /tmp/x"), DivergedError, "loss not finite: try a lower"),
], ids=["interrupt", "diverged"])  # fmt: skip
def test_what_ends_says_that_nothing_is_kept(error, kind, words, monkeypatch, tmp_path):
    def end(*_, **__):
        raise error

    monkeypatch.setattr(run, "execute", end)
    with pytest.raises(kind, match=words):
        kvae_tf.train(IMAGES)
    with pytest.raises(kind) as kept:
        kvae_tf.train(IMAGES, run_dir=tmp_path)
    assert kept.value is error


def test_a_preset_and_its_changes(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(run, "execute", lambda *given: seen.append(given) or run.Outcome(None, {}))
    kvae_tf.train("pendulum", "pendulum_smoke", epochs=np.int32(7), units=[np.int64(5)])
    kvae_tf.train(IMAGES, "box", tmp_path, seed=4)
    (one, splits, only), (two, arrays, not_only) = seen
    assert (one.data.dataset, one.training.epochs, one.model.units) == ("pendulum", 7, (5,))
    assert splits is None
    assert (only, not_only) == (True, False)
    assert (two.data.dataset, two.run.run_dir) == ("<arrays>", str(tmp_path))
    assert two.model.num_modes == 3
    expected = as_splits(IMAGES, seed=4)
    np.testing.assert_array_equal(arrays.test.frames, expected.test.frames)


def test_forms_of_data_in_memory():
    whole = SequenceData.from_arrays(IMAGES, CONTROLS)
    splits = as_splits(whole, seed=1)
    assert [len(part) for part in splits] == [24, 3, 3]
    assert as_splits(splits) is splits
    for form in (
        {"images": IMAGES, "controls": CONTROLS, "states": None},
        {f"{name}_{kind}": getattr(part, kind if kind == "controls" else "frames")
         for name, part in splits._asdict().items() for kind in ("images", "controls")},
    ):  # fmt: skip
        found = as_splits(form, seed=1)
        for one, two in zip(found, splits, strict=True):
            np.testing.assert_array_equal(one.frames, two.frames)
            np.testing.assert_array_equal(one.controls, two.controls)
    vectors = RNG.normal(size=(30, 6, 3))
    vectors[2, 3, 1] = np.nan
    for form in (vectors, {"vectors": vectors}, vectors.tolist()):
        assert as_splits(form).train.is_vector
    film, series = np.concatenate(IMAGES)[np.newaxis], np.concatenate(vectors)[np.newaxis]
    for form, length in ((film, 150), (series, 180), ({"images": film}, 150)):
        found = as_splits(form, seed=1)
        assert [part.num_steps for part in found] == [length * 8 // 10, length // 10, length // 10]
        assert [len(part) for part in found] == [1, 1, 1]
    masked = np.ma.masked_array(IMAGES, np.zeros(IMAGES.shape, bool))
    masked[4, 2] = np.ma.masked
    assert sum(part.observed.sum() for part in as_splits(masked)) == 149
    assert as_splits(np.repeat(IMAGES[..., None], 3, -1)).train.frame_shape == (8, 8, 3)


WRONG = {
    "number": (3, "data is int; expected the name of a world, a path, an array of images"),
    "None": (None, "data is NoneType; expected"),
    "film": (IMAGES[0], "looks like one film [T, H, W]"),
    "ragged": ([[[1.0], [2.0, 3.0]]], "data is ragged"),
    "flat": (np.zeros(3), "images has shape (3,)"),
    "unknown": ({"frames": IMAGES}, "data: frames is no known array"),
    "near": ({"image": IMAGES}, "image is no known array (did you mean images?)"),
    "number as name": ({1: IMAGES}, "1 is no known array"),
    "nothing": ({}, "data holds no arrays; expected one array images"),
    "both": ({"images": IMAGES, "vectors": IMAGES[..., 0]}, "expected one array images"),
    "values": (IMAGES / 100.0, "images"),
    "few": (IMAGES[:2], "the validation part gets 0 of 5 steps"),
    "no parts": (data.Splits(IMAGES, IMAGES, IMAGES), "the train part is no SequenceData"),
    "parts differ": (
        data.Splits(*(SequenceData.from_arrays(IMAGES[..., :n]) for n in (8, 8, 7))),
        "data: the test part has frame_shape (8, 7, 1); expected (8, 8, 1), as in train",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_data_that_are_refused(name):
    value, words = WRONG[name]
    assert words in refusal(lambda: kvae_tf.train(value))


def test_a_video_by_keywords(tmp_path):
    for t in range(60):
        Image.new("L", (6, 8), 4 * t).save(tmp_path / f"{t:03}.png")
    splits = data.load_video(tmp_path, frame_size=(4, 3), window=5, crop=[0, 0, 4, 6], channels=3)
    assert splits.train.frame_shape == (4, 3, 3)
    assert splits.train.num_steps == 5
    assert splits.train.frames[0, :, 0, 0, 0].tolist() == [0, 4, 8, 12, 16]
    for options, words in (
        ({"frame_size": (4,)}, "--frame_size is 4, expected 2 numbers"),
        ({"frame_size": (0, 4)}, "frame_size is 0; expected an integer of at least 1"),
        ({"crop": (1, 2)}, "--crop is 1,2, expected 4 numbers"),
        ({"channels": 2}, "--channels is 2, expected one of 1, 3"),
        ({"stride": 2}, "--stride is 2, expected 0, or --window"),
    ):
        assert words in refusal(lambda options=options: data.load_video(tmp_path, **options))
