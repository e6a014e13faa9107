"""Pictures: sizes, markers, frame counts and grey levels, read back with Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from kvae_tf import plotting
from kvae_tf.errors import UserError

FRAMES = np.random.default_rng(0).random((6, 8, 8, 1))


def test_film_strip_marks_the_missing_frame_and_nothing_else():
    observed = np.ones(6)
    plain = plotting.film_strip([FRAMES, FRAMES], observed=observed)
    observed[2] = 0
    marked = plotting.film_strip([FRAMES, FRAMES], observed=observed)
    columns = np.flatnonzero(np.any(plain != marked, axis=(0, 2)))
    cell = 48 + 4
    assert columns.min() == 4 + 2 * cell
    assert columns.max() == 4 + 2 * cell + 48 - 1
    assert plain.dtype == np.uint8
    assert plotting.film_strip([FRAMES], labels=["data"]).shape[1] > 6 * cell


@pytest.mark.parametrize("frames", [FRAMES, np.repeat(FRAMES[:1], 6, axis=0)])
def test_gif_keeps_every_frame_and_its_grey_levels(frames):
    picture = Image.open(io.BytesIO(plotting.frames_to_gif(frames)))
    assert picture.n_frames == 6
    for t in range(6):
        picture.seek(t)
        levels = np.array(picture.convert("RGB"))[::16, ::16, 0]
        assert np.abs(levels - frames[t, :, :, 0] * 255).max() <= 2
    grid = plotting.grid_gif(np.stack([frames] * 3), columns=2, observed=np.zeros((3, 6)))
    assert Image.open(io.BytesIO(grid)).n_frames == 6


def test_charts_are_pictures():
    curves = FRAMES[..., 0, :2, 0][None]
    mask = np.array([[1, 1, 0, 0, 1, 1]])
    for picture in (
        plotting.latent_trajectories(curves, mask, {"smooth": curves + 0.1}),
        plotting.latent_trajectories(np.zeros((1, 6, 3)), mask),
        plotting.mode_weights(np.full((6, 3), 1 / 3), mask[0]),
    ):
        assert picture.ndim == 3
        assert picture.shape[-1] == 3
        assert picture.dtype == np.uint8
        assert picture.std() > 1
        assert plotting.encode_png(picture).startswith(b"\x89PNG")


def test_saving_leaves_no_half_written_file(tmp_path):
    plotting.save_bytes(tmp_path / "new" / "x.gif", b"abc")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.gif"]


def test_wrong_shapes_are_named():
    with pytest.raises(UserError, match=r"\(6, 8, 8\)"):
        plotting.film_strip([FRAMES[..., 0]])
    with pytest.raises(UserError, match="observed"):
        plotting.film_strip([FRAMES], observed=np.ones(5))
    with pytest.raises(UserError, match="mode weights"):
        plotting.mode_weights(np.ones(3))
