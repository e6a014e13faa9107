"""Frame size, colour and windows that are chosen from videos."""

import numpy as np
import pytest
from PIL import Image

from kvae_tf.data import framing, video
from kvae_tf.errors import UserError


def write(folder, size, length, count=1, colour=False):
    """Folders of pictures; a video each."""
    rng = np.random.default_rng(0)
    for number in range(count):
        own = folder / str(number)
        own.mkdir(parents=True)
        for t in range(length):
            frame = np.repeat(rng.integers(0, 256, (*size, 1), np.uint8), 3, axis=2)
            if colour:
                frame[: size[0] // 4, :, 0] = 255
                frame[: size[0] // 4, :, 1:] = 0
            Image.fromarray(frame).save(own / f"{t}.png")
    return folder


@pytest.mark.parametrize(
    ("size", "expected"),
    [((96, 96), (32, 32)), ((64, 96), (21, 32)), ((100, 10), (32, 3)), ((20, 16), (20, 16))],
)
def test_the_aspect_is_kept(size, expected, tmp_path):
    assert framing.choose(write(tmp_path, size, 3)).frame_size == expected
    assert video.size_of(tmp_path / "0") == size


def test_colour(tmp_path):
    assert framing.choose(write(tmp_path / "grey", (8, 8), 3)).channels == 1
    assert framing.choose(write(tmp_path / "red", (8, 8), 3, colour=True)).channels == 3


@pytest.mark.parametrize(
    ("length", "count", "window", "stride"),
    [(30, 2, 20, 1), (8, 1, 8, 1), (60, 30, 20, 4), (2, 3, 2, 1)],
)
def test_windows(length, count, window, stride, tmp_path):
    chosen = framing.choose(write(tmp_path, (4, 4), length, count))
    assert (chosen.window, chosen.stride) == (window, stride)


def test_a_crop_is_what_is_framed(tmp_path):
    assert framing.choose(write(tmp_path, (40, 40), 2), crop=(0, 0, 40, 20)).frame_size == (32, 16)


def test_errors(tmp_path):
    with pytest.raises(UserError, match="holds no video"):
        framing.choose(tmp_path)
    broken = tmp_path / "a.gif"
    broken.write_bytes(b"no film")
    with pytest.raises(UserError, match="is damaged"):
        framing.choose(broken)
