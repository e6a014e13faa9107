"""Event files written as in a training, read back."""

import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kvae_tf.visualisation import charts, events, images, model_figures

RNG = np.random.default_rng(0)
EPOCHS = (1, 10, 20, 30, 40)
DRAWN = RNG.integers(0, 256, (len(EPOCHS), 5, 9, 3), np.uint8)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    for epoch, picture in zip(EPOCHS, DRAWN, strict=True):
        # A writer each time, as resumed runs have.
        with tf.summary.create_file_writer(str(logs)).as_default(step=epoch):
            data = images.encode_png(picture)
            model_figures.write_summary("latents/objects", model_figures.Picture(9, 5, data))
            tf.summary.scalar("epoch_elbo", -epoch)
            tf.summary.text("settings", "| a | b |")
    return logs


def test_images_and_scalars(logs):
    found = events.images(logs)
    assert found.keys() == {"latents/objects"}
    for epoch, picture in zip(EPOCHS, DRAWN, strict=True):
        read = np.asarray(Image.open(io.BytesIO(found["latents/objects"][epoch])))
        np.testing.assert_array_equal(read, picture)
    assert events.scalars(logs) == {"epoch_elbo": {epoch: -epoch for epoch in EPOCHS}}


@pytest.mark.parametrize(("count", "chosen"), [(1, [0]), (2, [0, 1]), (5, [0, 2, 4])])
def test_stages_are_the_first_a_middle_and_the_last(logs, count, chosen):
    drawn = events.images(logs)["latents/objects"]
    found = events.stages({epoch: drawn[epoch] for epoch in EPOCHS[:count]})
    expected = {f"after epoch {EPOCHS[i]}": DRAWN[i] for i in chosen}
    np.testing.assert_array_equal(found, charts.captioned(expected))
    height = len(found) // len(chosen)
    assert found.shape[1] == 9
    for row, i in enumerate(chosen):
        np.testing.assert_array_equal(found[(row + 1) * height - 5 : (row + 1) * height], DRAWN[i])


def test_no_logs_and_those_of_a_killed_run(logs, tmp_path):
    assert events.images(tmp_path / "none") == {}
    shutil.copytree(logs, tmp_path / "logs")
    last = max((tmp_path / "logs").iterdir())
    last.write_bytes(last.read_bytes()[:-5])
    assert events.scalars(tmp_path / "logs")["epoch_elbo"].keys() >= set(EPOCHS[:-1])
