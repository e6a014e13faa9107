"""Pictures: sizes, markers, frame counts and grey levels, read back with Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.visualisation import images

FRAMES = np.random.default_rng(0).random((6, 8, 8, 1))
CELL = 48 + 4


def read_back(data):
    """All frames of a GIF as RGB arrays, and its header."""
    image = Image.open(io.BytesIO(data))
    frames = []
    for t in range(image.n_frames):
        image.seek(t)
        frames.append(np.array(image.convert("RGB")))
    return np.stack(frames), image


def test_film_strip_marks_the_missing_frame_and_nothing_else():
    observed = np.ones(6)
    plain = images.film_strip([FRAMES, FRAMES], observed=observed)
    observed[2] = 0
    marked = images.film_strip([FRAMES, FRAMES], observed=observed)
    changed = np.any(plain != marked, axis=2)
    columns, rows = np.flatnonzero(changed.any(axis=0)), np.flatnonzero(changed.any(axis=1))
    np.testing.assert_array_equal(columns, 4 + 2 * CELL + np.arange(48))
    assert rows.max() < 6  # the bar is above the frames
    assert np.all(marked[changed] == images.MISSING)


def test_film_strip_puts_row_zero_on_top_and_rows_in_order():
    frames = np.zeros((2, 4, 4, 1))
    frames[1, 0, :] = 1.0
    colour = np.zeros((2, 4, 4, 3))
    colour[..., 2] = 1.0
    strip = images.film_strip([frames, colour], scale=3)
    assert strip.dtype == np.uint8
    assert strip.shape == (6 + 2 * (12 + 4), 2 * (12 + 4), 3)
    second = strip[10:22, 20:32]
    assert np.all(second[:3] == 255)
    assert np.all(second[3:] == 0)
    assert np.all(strip[26:38, 4:16] == [0, 0, 255])


def test_film_strip_labels_stand_left_of_an_unchanged_strip():
    plain = images.film_strip([FRAMES, FRAMES])
    labelled = images.film_strip([FRAMES, FRAMES], labels=["data", "model"])
    margin = labelled.shape[1] - plain.shape[1]
    assert margin > 0
    np.testing.assert_array_equal(labelled[:, margin:], plain)
    middle = 6 + CELL
    assert labelled[:middle, :margin].min() < 128
    assert labelled[middle:, :margin].min() < 128


@pytest.mark.parametrize("frames", [FRAMES, np.repeat(FRAMES[:1], 6, axis=0)])
def test_gif_keeps_every_frame_and_its_grey_levels(frames):
    pictures, image = read_back(images.frames_to_gif(frames, fps=20, scale=2))
    expected = np.round(frames * 255).repeat(2, axis=1).repeat(2, axis=2).repeat(3, axis=3)
    np.testing.assert_array_equal(pictures, expected)
    assert image.info["loop"] == 0
    assert image.info["duration"] == 50


def test_gif_holds_all_256_levels_and_one_single_level():
    ramp = np.arange(256.0).reshape(1, 16, 16, 1) / 255
    pictures, _ = read_back(images.frames_to_gif(np.concatenate([ramp, 0 * ramp]), scale=1))
    np.testing.assert_array_equal(pictures[0, :, :, 1].ravel(), np.arange(256))
    assert not pictures[1].any()


def test_colour_gif_is_close_and_complete():
    frames = np.repeat(np.random.default_rng(1).random((1, 8, 8, 3)), 3, axis=0)
    pictures, _ = read_back(images.frames_to_gif(frames, scale=1))
    np.testing.assert_array_equal(pictures, np.round(frames * 255))


def test_grid_gif_places_sequences_and_marks_missing_frames():
    levels = np.arange(3.0)[:, None, None, None, None] / 255 * 50
    observed = np.ones((3, 4))
    observed[1, 2] = 0
    data = images.grid_gif(np.tile(levels, (1, 4, 8, 8, 1)), 2, observed, scale=1)
    pictures, _ = read_back(data)
    assert pictures.shape == (4, 2 * 12, 2 * 12, 3)
    np.testing.assert_array_equal(pictures[:, 6, 6, 0], 0)
    np.testing.assert_array_equal(pictures[:, 6, 18, 0], 50)
    np.testing.assert_array_equal(pictures[:, 18, 6, 0], 100)
    np.testing.assert_array_equal(pictures[:, 18, 18, 0], 255)
    orange = np.all(pictures == images.MISSING, axis=-1)
    assert not orange[[0, 1, 3]].any()
    assert orange[2, 0, 12:].all()
    assert orange[2].sum() == 12 * 12 - 8 * 8


def test_flagged_frames_have_a_red_border():
    frames, observed = np.zeros((3, 4, 4, 1)), np.array([1, 1, 0])
    plain = images.framed(frames, observed)
    found = images.framed(frames, observed, flagged=np.array([False, True, True]))
    assert tuple(found[1, 0, 0]) == tuple(images.FLAGGED)
    np.testing.assert_array_equal(found[[0, 2]], plain[[0, 2]])  # a missing one stays orange
    np.testing.assert_array_equal(found[1, 2:-2, 2:-2], plain[1, 2:-2, 2:-2])
    with pytest.raises(UserError, match=r"flagged has shape \(2,\), expected \(3,\)"):
        images.framed(frames, observed, flagged=np.ones(2, bool))


def test_grid_gif_of_all_levels_and_the_marker_moves_one_level_by_one():
    ramp = np.arange(256.0).reshape(1, 1, 16, 16, 1) / 255
    (picture,), _ = read_back(images.grid_gif(ramp, observed=np.zeros((1, 1)), scale=1))
    np.testing.assert_array_equal(picture[0, 0], images.MISSING)
    expected = np.arange(256)
    expected[1] = 0
    np.testing.assert_array_equal(picture[2:-2, 2:-2, 0].ravel(), expected)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_trajectories_show_missing_steps_and_others(m):
    curves = FRAMES[None, :, 0, :m, 0]
    plain = images.latent_trajectories(curves)
    assert plain.dtype == np.uint8
    assert plain.shape[-1] == 3
    hollow = images.latent_trajectories(curves, np.array([[1, 1, 0, 0, 1, 1]]))
    assert hollow.shape == plain.shape
    assert hollow.sum() > plain.sum()  # grey markers turned white
    both = images.latent_trajectories(curves, others={"smooth": curves + 0.1})
    coloured = np.ptp(both.astype(int), axis=-1) > 50
    assert coloured.any()


def test_mode_weights_hatch_only_the_missing_steps():
    weights = np.full((10, 3), 1 / 3)
    plain = images.mode_weights(weights)
    observed = np.ones(10)
    observed[[0, 1]] = 0
    hatched = images.mode_weights(weights, observed)
    assert plain.shape == hatched.shape
    changed = np.flatnonzero(np.any(plain != hatched, axis=(0, 2)))
    assert 0 < changed.max() - changed.min() < 0.25 * plain.shape[1]
    assert changed.max() < 0.4 * plain.shape[1]


def test_saving_reads_back_and_leaves_no_half_written_file(tmp_path):
    picture = images.film_strip([FRAMES])
    images.save_png(tmp_path / "new" / "x.png", picture)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.png"]
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "new" / "x.png")), picture)
    storage.write_bytes(tmp_path / "new" / "x.png", b"abc")
    assert (tmp_path / "new" / "x.png").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("draw", "named"),
    [
        (lambda: images.film_strip([FRAMES[..., 0]]), r"frames have shape \(6, 8, 8\)"),
        (lambda: images.film_strip([]), "film strip rows"),
        (lambda: images.film_strip([FRAMES, FRAMES[:5]]), "film strip rows"),
        (lambda: images.film_strip([FRAMES], labels=["a", "b"]), "2 labels, expected 1"),
        (lambda: images.film_strip([FRAMES], observed=np.ones(5)), r"observed has shape \(5,\)"),
        (lambda: images.film_strip([FRAMES], scale=0), "scale is 0"),
        (lambda: images.frames_to_gif(FRAMES[:0]), r"\(0, 8, 8, 1\)"),
        (lambda: images.frames_to_gif((FRAMES * 255).astype(np.uint8)), "frames are uint8"),
        (lambda: images.frames_to_gif(FRAMES, fps=0), "fps is 0"),
        (lambda: images.grid_gif(FRAMES), "sequences have shape"),
        (lambda: images.grid_gif(FRAMES[None], columns=0), "columns is 0"),
        (lambda: images.grid_gif(FRAMES[None], observed=np.ones(6)), "observed has shape"),
        (lambda: images.latent_trajectories(np.ones((6, 2))), "encodings have shape"),
        (
            lambda: images.latent_trajectories(
                np.ones((1, 6, 2)), others={"smooth": np.ones((1, 5, 2))}
            ),
            r"'smooth' has shape \(1, 5, 2\)",
        ),
        (lambda: images.mode_weights(np.ones(3)), "mode weights have shape"),
        (lambda: images.encode_png(np.ones((3, 3))), "picture is float64"),
    ],
)
def test_bad_input_is_named_in_one_line(draw, named):
    with pytest.raises(UserError, match=named) as caught:
        draw()
    assert "\n" not in str(caught.value)
