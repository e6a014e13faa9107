"""Evaluation on other data than those of the training."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kvae_tf import data
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.experiments import targets
from kvae_tf.experiments.settings import Settings

SIZE = 6


def film(folder, table):
    """A folder of pictures, and a table with one control."""
    folder.mkdir()
    for t in range(60):
        Image.new("L", (SIZE, SIZE), 50 + t).save(folder / f"{t:03}.png")
    table.write_text("frame,u\n" + "".join(f"{t},{t}\n" for t in range(60)))
    return str(folder)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """An export that was trained on a film with annotations."""
    values = {
        "dataset": film(tmp_path / "film", tmp_path / "film.csv"),
        "annotations": str(tmp_path / "film.csv"),
        "window": 5,
        "stride": 1,
        "run_dir": "run",
    }
    storage.write_json(tmp_path / "settings.json", Settings.from_dict(values).to_dict())
    model = SimpleNamespace(frame_shape=(SIZE, SIZE, 1), control_size=1)
    monkeypatch.setattr(targets, "LoadedModel", lambda path: model)
    return str(tmp_path / "1")


def test_settings_of_the_training_go_where_they_do_not_apply(trained, tmp_path):
    assert targets.find(saved_model=trained).splits.test.num_steps == 5
    images = np.zeros((20, 7, SIZE, SIZE), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, controls=np.ones((20, 7, 1)))
    found = targets.find(saved_model=trained, dataset=str(tmp_path / "mine.npz"))
    assert found.splits.test.num_steps == 7
    with pytest.raises(UserError, match="--max_memory is 1e-09"):
        targets.find(saved_model=trained, max_memory=1e-9)


def test_another_film_needs_its_own_annotations(trained, tmp_path):
    other = film(tmp_path / "other", tmp_path / "other.csv")
    with pytest.raises(UserError, match="has control_size 0, expected 1"):
        targets.find(saved_model=trained, dataset=other)
    table = str(tmp_path / "other.csv")
    found = targets.find(saved_model=trained, dataset=other, annotations=table)
    assert found.splits.test.num_steps == 5
    assert found.splits.test.controls[0, 0, 0] == 54.0


def test_walls_go_where_there_are_none():
    assert targets._of_other_data("mine.npz")["draw_walls"] is False
    assert "draw_walls" not in targets._of_other_data(next(iter(data.WORLDS)))
