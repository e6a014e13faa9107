"""Someone's own videos: in colour, of unequal lengths, most frames missing in training."""

import numpy as np
import pytest
from PIL import Image

from kvae_tf.data import load
from kvae_tf.experiments import run
from kvae_tf.experiments.settings import Settings


def film(rng, length, size=10):
    """A blob on a circle, red where it is left, blue where it is right."""
    turn = 0.35 * np.arange(length) + rng.uniform(0, 2 * np.pi)
    centre = size / 2 - 0.5 + 2.5 * np.stack([np.sin(turn), np.cos(turn)], axis=-1)
    pixel = np.arange(size)
    row, column = (np.exp(-0.5 * (pixel - c[:, None]) ** 2 / 1.2) for c in centre.T)
    shade = row[:, :, None] * column[:, None, :]
    blue = (1.0 + np.cos(turn))[:, None, None] / 2.0
    colours = np.stack([shade * (1.0 - blue), 0.3 * shade, shade * blue], axis=-1)
    return (255 * colours).astype(np.uint8)


@pytest.mark.slow
def test_colour_unequal_lengths_and_missing_frames(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "films"
    lengths = rng.integers(16, 25, size=60)
    for number, length in enumerate(lengths):
        for step, picture in enumerate(film(rng, length)):
            (folder / f"{number:02}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{number:02}" / f"{step:02}.png")
    splits = load(str(folder), 0, channels=3)
    assert splits.train.frame_shape == (10, 10, 3)
    assert sum(part.observed.sum() for part in splits) == lengths.sum()
    values = {
        "dataset": str(folder),
        "channels": 3,
        "units": [32],
        "num_modes": 2,
        "dynamics_network": "mlp",
        "likelihood": "gaussian",
        "reconstruction_weight": 0.3,
        "missing_rate": 0.6,
        "epochs": 6,
        "steps_per_epoch": 100,
        "batch_size": 16,
        "learning_rate": 0.007,
        "run_dir": str(tmp_path / "run"),
    }
    metrics = run.run(Settings.from_dict(values))
    assert metrics["imputation/smooth_rmse"] < 0.6 * metrics["imputation/last_frame_rmse"]
