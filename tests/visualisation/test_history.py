"""Charts of a training, from event files as a training writes them."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.visualisation import history


def log(folder, **scalars):
    with tf.summary.create_file_writer(str(folder)).as_default():
        for name, values in scalars.items():
            for epoch, value in enumerate(values):
                tf.summary.scalar(f"epoch_{name}", value, step=epoch)


BOUND = [-4.0, -3.0, -2.5]


@pytest.mark.parametrize("loss", [[4.0, 3.0, 2.5], [1.0, 0.5, 0.2]], ids=["minus bound", "other"])
def test_quantities(loss, tmp_path):
    log(tmp_path / "train", gradient_norm=[1.0] * 3, elbo=BOUND, loss=loss, kl=[1.0] * 3)
    log(tmp_path / "validation", elbo=BOUND, loss=[4.0, 3.0, 2.5], kl=[2.0] * 3)
    found = history.training(tmp_path)
    expected = ["bound, nats a frame", "kl, nats a frame", "norm of the gradient"]
    if loss[0] != 4.0:
        expected.append("training loss, nats a frame")
    assert list(found) == expected
    assert all(picture.dtype == np.uint8 for picture in found.values())


def test_too_little_for_a_chart(tmp_path):
    assert history.training(tmp_path / "none") == {}
    log(tmp_path / "train", elbo=[1.0])
    assert history.training(tmp_path) == {}


def test_first_epochs_are_cut_off_where_they_hide_the_others():
    epochs = list(range(20))
    steady = {epoch: float(epoch) for epoch in epochs}
    assert history._limits([steady], epochs) is None
    late = {epoch: float(epoch) for epoch in epochs} | {0: -1e6}
    low, high = history._limits([late], epochs)
    assert 4.0 < low < 5.0
    assert 19.0 < high < 20.0
    assert history._limits([late], epochs[:5]) is None
