"""What is chosen from the data, what is left alone, and what a user's word is worth."""

import numpy as np
import pytest
from PIL import Image

from kvae_tf import data
from kvae_tf.experiments import recipe
from kvae_tf.experiments.settings import Settings

RUN = {"run_dir": "unused"}


@pytest.fixture
def arrays(tmp_path):
    def write(images, name="own.npz"):
        np.savez(tmp_path / name, images=images)
        return {"dataset": str(tmp_path / name), **RUN}

    return write


def grey(count=20):
    return np.random.default_rng(0).uniform(0, 1, (count, 6, 8, 8)).astype(np.float32)


def test_frames_decide(arrays):
    settings, splits = recipe.complete(arrays(grey()))
    assert (settings.model.likelihood, settings.model.objective) == ("gaussian", "constrained")
    assert settings.model.standardised
    assert (settings.model.linear_encoder, settings.training.starts) == (True, 1)
    assert len(splits.train) == 16
    settings, _ = recipe.complete(arrays((grey() > 0.5).astype(np.uint8) * 255))
    assert settings.model.likelihood == "bernoulli"


def test_a_users_word_goes_first(arrays, capsys):
    own = {"encoding_size": 3, "epochs": 2, "likelihood": "bernoulli"}
    settings, _ = recipe.complete(arrays(grey()) | own)
    assert settings.model.encoding_size == 3
    assert settings.model.latent_size == 6
    assert settings.model.likelihood == "bernoulli"
    assert (settings.training.epochs, settings.model.pretraining_epochs) == (2, 1)
    assert settings.training.starts == 1  # too few epochs to compare any
    printed = capsys.readouterr().out
    assert printed.startswith("chosen from the data: ")
    assert "--latent_size=6" in printed
    assert "--encoding_size" not in printed
    # What was printed says it all.
    again = dict(word.removeprefix("--").partition("=")[::2] for word in printed.split()[4:])
    assert int(again["pretraining_epochs"]) == settings.model.pretraining_epochs
    several = recipe.complete(arrays(grey()) | {"starts": 2, "starting_epochs": 12})[0]
    assert (several.training.starts, several.training.starts_by) == (2, "imputation")
    at_random = recipe.complete(arrays(grey()) | {"linear_encoder": False})[0]
    assert (at_random.training.starts, at_random.training.starts_by) == (3, "imputation")
    alone = recipe.complete(arrays(grey()) | {"linear_encoder": False, "starts": 1})[0]
    assert (alone.training.starts, alone.training.starting_epochs) == (1, 0)
    for few in ({"epochs": 1}, {"epochs": 2, "settling_epochs": 1}):
        one = recipe.complete(arrays(grey()) | few)[0]
        assert one.model.objective == "collapsed"
    last = {"epochs": 12, "settling_epochs": 3, "finishing_epochs": 2}
    assert recipe.complete(arrays(grey()) | last)[0].model.pretraining_epochs == 2


def test_starts_at_random_where_no_three_frames_in_a_row_are_seen():
    observed = np.ones((20, 6), np.float32)
    observed[:, ::3] = 0.0
    splits = data.split(data.SequenceData.from_arrays(grey(), observed=observed))
    settings, _ = recipe.complete({"dataset": "<arrays>", **RUN}, splits=splits)
    assert not settings.model.linear_encoder
    assert settings.training.starts == 3


def test_where_it_does_not_apply(arrays):
    world = {"dataset": "pendulum", **RUN}
    assert recipe.complete(world) == (Settings.from_dict(world), None)
    own = arrays(grey())
    for values, is_configured in ((own, True), (own | {"recipe": "off"}, False)):
        settings, splits = recipe.complete(values, is_configured)
        assert settings == Settings.from_dict(values)
        assert splits is None
    settings, splits = recipe.complete(own | {"recipe": "on"}, True)
    assert settings.model.objective == "constrained"
    assert splits is not None


def test_large_frames_draw_a_warning(arrays):
    large = np.zeros((10, 3, 70, 65, 3), np.uint8)
    large[:, 1] = 255
    with pytest.warns(UserWarning, match="frames are 70x65 with 3 channels"):
        recipe.complete(arrays(large))


def test_other_models_and_vectors_have_none(arrays, tmp_path):
    settings, _ = recipe.complete(arrays(grey()) | {"model": "dkf"})
    assert settings == Settings.from_dict(arrays(grey()) | {"model": "dkf"})


def test_videos_are_framed(tmp_path):
    folder = tmp_path / "films"
    for number in range(10):
        (folder / str(number)).mkdir(parents=True)
        for t in range(4):
            picture = np.full((40, 60, 3), 20 * t + number, np.uint8)
            Image.fromarray(picture).save(folder / str(number) / f"{t}.png")
    settings, splits = recipe.complete({"dataset": str(folder), **RUN})
    assert settings.data.frame_size == (21, 32)
    assert (settings.data.channels, settings.data.window, settings.data.stride) == (1, 4, 1)
    assert splits.train.frame_shape == (21, 32, 1)
    settings, splits = recipe.complete(
        {"dataset": str(folder), "frame_size": (10, 12), "window": 2, **RUN}
    )
    assert splits.train.frame_shape == (10, 12, 1)
    assert splits.train.num_steps == 2


def test_data_in_memory(arrays):
    splits = data.split(data.SequenceData.from_arrays(grey()))
    settings, same = recipe.complete({"dataset": "<arrays>", **RUN}, splits=splits)
    assert same is splits
    assert settings.model.objective == "constrained"
