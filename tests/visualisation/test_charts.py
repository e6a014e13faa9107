"""Charts, overlaid sequences and grids of pictures."""

import numpy as np
import pytest

from kvae_tf.errors import UserError
from kvae_tf.visualisation import charts, images


def coloured(picture):
    """How many pixels are no shade of grey."""
    return int((np.ptp(picture.astype(int), axis=-1) > 50).sum())


def test_curves_draw_every_line():
    one = charts.curves([1, 2, 3], {"a": [1.0, 2.0, 3.0]}, {"a": [0.1, 0.1, 0.1]})
    two = charts.curves([1, 2, 3], {"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]})
    dashed = charts.curves([1, 2, 3], {"a": [1.0, 2.0, 3.0]}, dashed={"a": [2.0, 2.0, 2.0]})
    assert one.dtype == np.uint8
    assert one.shape == two.shape
    assert 0 < coloured(one) < coloured(two)
    dotted = charts.curves([1, 2, 3], {"a": [1.0, 2.0, 3.0]}, dotted={"a": [2.0, 2.0, 2.0]})
    for more in (dashed, dotted):
        assert coloured(more) > coloured(charts.curves([1, 2, 3], {"a": [1.0, 2.0, 3.0]}))


def test_curves_need_a_value_for_each_x():
    with pytest.raises(UserError, match="'b' has 2 values, expected 3"):
        charts.curves([1, 2, 3], {"a": [1, 2, 3]}, dashed={"b": [1, 2]})
    with pytest.raises(UserError, match="'b' has 1 values, expected 3"):
        charts.curves([1, 2, 3], {"a": [1, 2, 3]}, dashed={"b": [1, 2, 3]}, dotted={"b": [1]})


def test_scores_mark_what_is_flagged():
    values = {"scores": np.arange(6.0), "others": np.zeros(6)}
    none, some = np.zeros(6, bool), np.arange(6) < 3
    plain = charts.scores(values, np.ones(6), none, {"scores": 2.5})
    marked = charts.scores(values, np.ones(6), some, {"scores": 2.5})
    assert plain.shape == marked.shape

    def red(picture):
        return int(((picture[..., 0] > 180) & (picture[..., 1:] < 90).all(-1)).sum())

    assert red(plain) == 0 < red(marked)
    assert red(charts.scores(values, np.ones(6), some, {})) == 0


@pytest.mark.parametrize("num_modes", [1, 3, 5])
def test_mode_map_has_a_panel_for_each_mode(num_modes):
    rng = np.random.default_rng(0)
    a, weights = rng.normal(size=(200, 2)), rng.dirichlet(np.ones(num_modes), 200)
    picture = charts.mode_map(a, weights)
    assert picture.shape[1] > 300 * min(num_modes, 4)
    assert coloured(picture) > 100 * num_modes


def test_mode_map_is_of_the_plane():
    with pytest.raises(UserError, match=r"\(5, 3\), \(5, 2\)"):
        charts.mode_map(np.zeros((5, 3)), np.zeros((5, 2)))


def test_overlay_shows_every_frame_and_the_later_on_top():
    frames = np.zeros((3, 4, 4, 1))
    frames[0, 0, :2] = frames[1, 0, 1:] = frames[2, 3, 0] = 1.0
    picture = images.overlay(frames, scale=1)
    assert picture.shape == (4, 4, 3)
    first, second, third = (tuple(picture[y, x]) for y, x in ((0, 0), (0, 2), (3, 0)))
    assert len({first, second, third, (0, 0, 0)}) == 4
    assert tuple(picture[0, 1]) == second
    assert not picture[1:3].any()


def test_grid_fills_up_its_last_row():
    pictures = [np.full((5, 6, 3), i, np.uint8) for i in range(3)]
    picture = images.grid(pictures, columns=2)
    assert picture.shape == (2 * 9, 2 * 10, 3)
    assert (picture[9:, 10:] == 255).all()
    np.testing.assert_array_equal(picture[4:9, 14:20], pictures[1])
    assert images.grid(pictures[:1]).shape == (9, 10, 3)


def test_paths_of_objects():
    way = np.stack([np.arange(5), np.arange(5) ** 2], axis=-1)
    picture = charts.paths([{"true": [way, -way], "inferred": [way]}] * 3, columns=2)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_pictures_fill_rows_as_wide_as_the_widest():
    sizes = [(2, 10), (3, 4), (5, 4), (1, 4)]
    pictures = [np.full((*size, 3), i + 1, np.uint8) for i, size in enumerate(sizes)]
    found = charts.stack(pictures)
    assert found.shape == (2 + 5 + 1, 10, 3)
    for i, (rows, columns) in enumerate(((0, 0), (2, 0), (2, 4), (7, 0))):
        height, width = sizes[i]
        assert (found[rows : rows + height, columns : columns + width] == i + 1).all()
    assert (found == 255).all(-1).sum() == found[..., 0].size - sum(h * w for h, w in sizes)
