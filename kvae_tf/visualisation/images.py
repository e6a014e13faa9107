"""Pictures of arrays: film strips, animated GIFs, trajectories, mode weights.

Pictures are uint8 ``[height, width, 3]``. Frames are float ``[T, H, W, C]`` in [0, 1] with C = 1 or
3; row 0 of the array is drawn on top. Masks are 1 = seen. Missing frames are marked in orange: by a
bar above the frame in a film strip, by a border in a GIF; in charts markers of missing steps are
hollow, or the steps hatched. Figures are drawn on their own canvas, without pyplot's global state.
"""

from __future__ import annotations

import io
import os

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import GifImagePlugin, Image

from kvae_tf.data import storage
from kvae_tf.errors import UserError

MISSING = np.array([230, 126, 34], np.uint8)
FRAME_PIXELS = 48  # of a frame's longer side in a film strip, about
FLAGGED = np.array([214, 39, 40], np.uint8)
_SEEN = np.array([96, 96, 96], np.uint8)
_GAP, _BAR = 4, 6  # pixels between the frames of a strip; height of its bar
_COLOURS = ("0.6", "tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")
_DPI = 100


def film_strip(
    rows: list[np.ndarray],
    labels: list[str] | None = None,
    observed: np.ndarray | None = None,
    scale: int | None = None,
) -> np.ndarray:
    """Rows of frames, one below another and aligned in time.

    Args:
      rows: ``[T, H, W, C]`` each, with the same T, H and W; grey and colour may be mixed.
      labels: a word for each row, written on its left; None: no labels (default).
      observed: ``[T]``, 1 = seen; the column of a missing frame has an orange bar. None: all are
        seen (default).
      scale: screen pixels per side of a pixel; None: such that the longer side of a frame is about
        48 screen pixels (default).

    Returns:
      The picture, uint8 ``[height, width, 3]``.

    Raises:
      UserError: a row is not frames, the rows differ in shape, there is not one label for each row,
        ``observed`` is not ``[T]``, or ``scale`` is no positive integer.
    """
    rows = [_frames(row) for row in rows]
    if not rows or any(row.shape != rows[0].shape for row in rows):
        shapes = [row.shape[:3] for row in rows]
        raise UserError(f"film strip rows have [T, H, W] = {shapes}, expected at least one, alike")
    if labels is not None and len(labels) != len(rows):
        raise UserError(f"film strip has {len(labels)} labels, expected {len(rows)}, one a row")
    num_steps, height, width = rows[0].shape[:3]
    seen = _mask(observed, (num_steps,))
    scale = _scale(scale, FRAME_PIXELS, height, width)
    before = ((_GAP, 0), (_GAP, 0), (0, 0))
    lines = [
        [np.pad(_enlarge(frame, scale), before, constant_values=255) for frame in row]
        for row in rows
    ]
    picture = np.concatenate([np.concatenate(line, axis=1) for line in lines], axis=0)
    bar = np.full((_BAR, picture.shape[1], 3), 255, np.uint8)
    for t in np.flatnonzero(~seen):
        left = _GAP + t * (width * scale + _GAP)
        bar[:, left : left + width * scale] = MISSING
    picture = np.concatenate([bar, picture], axis=0)
    if labels is None:
        return picture
    return np.concatenate([_margin(labels, height * scale + _GAP), picture], axis=1)


def frames_to_gif(frames: np.ndarray, fps: float = 10, scale: int | None = None) -> bytes:
    """One sequence as an animated GIF that loops for ever.

    Args:
      frames: ``[T, H, W, C]``.
      fps: frames per second, at most 50, since players slow down faster GIFs; 10 by default.
      scale: screen pixels per side of a pixel; None: such that the longer side of a frame is about
        128 screen pixels (default).

    Returns:
      Bytes of a GIF with exactly T frames; grey levels are exact, colours are the nearest of 255
      per frame.

    Raises:
      UserError: ``frames`` are not ``[T, H, W, C]``, or ``fps`` or ``scale`` is out of its range.
    """
    frames = _frames(frames)
    scale = _scale(scale, 128, *frames.shape[1:3])
    return encode_gif([_enlarge(frame, scale) for frame in frames], fps)


def grid_gif(
    sequences: np.ndarray,
    columns: int = 4,
    observed: np.ndarray | None = None,
    fps: float = 10,
    scale: int | None = None,
) -> bytes:
    """Sequences side by side as one animated GIF that loops for ever.

    Args:
      sequences: ``[N, T, H, W, C]``.
      columns: number of sequences in a row, 4 by default.
      observed: ``[N, T]``, 1 = seen; missing frames have an orange border, seen ones a grey one.
        None: all are seen (default).
      fps: frames per second, at most 50; 10 by default.
      scale: screen pixels per side of a pixel; None: such that the longer side of a frame is about
        64 screen pixels (default).

    Returns:
      Bytes of a GIF with exactly T frames; grey levels are exact, see ``_indexed`` for the one
      exception.

    Raises:
      UserError: ``sequences`` or ``observed`` has another shape, or a number is out of its range.
    """
    if np.ndim(sequences) != 5 or 0 in np.shape(sequences):
        raise UserError(f"sequences have shape {np.shape(sequences)}, expected [N, T, H, W, C]")
    N, T = np.shape(sequences)[:2]
    seen = _mask(observed, (N, T))
    films = [framed(*film, scale) for film in zip(sequences, seen, strict=True)]
    columns = min(_positive(columns, "columns"), N)
    pictures = []
    for cells in map(list, zip(*films, strict=True)):
        cells += [np.full_like(cells[0], 255)] * (-N % columns)
        lines = [cells[i : i + columns] for i in range(0, len(cells), columns)]
        pictures.append(np.concatenate([np.concatenate(line, axis=1) for line in lines], axis=0))
    return encode_gif(pictures, fps)


def framed(
    frames: np.ndarray,
    observed: np.ndarray | None = None,
    scale: int | None = None,
    target: int = 64,
    flagged: np.ndarray | None = None,
) -> np.ndarray:
    """Enlarged frames: the border is orange where they are missing, red if flagged, else grey.

    Args:
      frames: ``[T, H, W, C]``.
      observed: ``[T]``, 1 = seen; None: all are seen (default).
      scale: screen pixels per side of a pixel; None: given by ``target`` (default).
      target: length of a frame's longer side in screen pixels, about; 64 by default.
      flagged: ``[T]`` bool, the frames to mark; None: none (default).

    Returns:
      Pictures, uint8 ``[T, height, width, 3]``.

    Raises:
      UserError: ``frames`` or a mask has another shape, or ``scale`` is no positive integer.
    """
    frames = _frames(frames)
    seen = _mask(observed, frames.shape[:1])
    marked = _mask(flagged, frames.shape[:1], "flagged") & (flagged is not None)
    colours = np.where(marked[:, np.newaxis], FLAGGED, _SEEN)
    colours = np.where(seen[:, np.newaxis], colours, MISSING)
    scale = _scale(scale, target, *frames.shape[1:3])
    return np.stack([_border(_enlarge(frame, scale), colours[t]) for t, frame in enumerate(frames)])


def overlay(frames: np.ndarray, scale: int | None = None) -> np.ndarray:
    """A whole sequence as one picture: each frame in a colour, from violet (first) to yellow.

    Args:
      frames: ``[T, H, W, C]``; later frames cover earlier ones.
      scale: screen pixels per side of a pixel; None: such that the longer side of a frame is about
        128 screen pixels (default).

    Returns:
      The picture, uint8 ``[height, width, 3]``.

    Raises:
      UserError: ``frames`` are not ``[T, H, W, C]``, or ``scale`` is no positive integer.
    """
    frames = _frames(frames)
    colours = colormaps["plasma"](np.linspace(0.1, 1.0, len(frames)))[:, :3] * 255.0
    picture = np.zeros(frames.shape[1:])
    for frame, colour in zip(frames, colours, strict=True):
        light = frame.max(axis=-1, keepdims=True) / 255.0
        picture += light * (colour - picture)
    return _enlarge(picture.round().astype(np.uint8), _scale(scale, 128, *frames.shape[1:3]))


def grid(pictures: list[np.ndarray], columns: int = 4) -> np.ndarray:
    """Pictures side by side, with white between them.

    Args:
      pictures: uint8 ``[height, width, 3]`` each, all of the same size.
      columns: number of pictures in a row, 4 by default.
    """
    framed = [np.pad(p, [(_GAP, 0), (_GAP, 0), (0, 0)], constant_values=255) for p in pictures]
    framed += [np.full_like(framed[0], 255)] * (-len(framed) % min(columns, len(framed)))
    columns = min(columns, len(framed))
    rows = [framed[i : i + columns] for i in range(0, len(framed), columns)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def latent_trajectories(
    encodings: np.ndarray,
    observed: np.ndarray | None = None,
    others: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Encodings over time, a column of panels for each sequence.

    For m = 2 they are drawn in the plane, with a star at the first step; else there is one panel
    for each dimension.

    Args:
      encodings: ``[N, T, m]``, drawn with the name "encoded".
      observed: ``[N, T]``, 1 = seen; the markers of missing steps are hollow. None: all are seen
        (default).
      others: name -> other encodings ``[N, T, m]``, drawn in the same panels; None: none (default).

    Returns:
      The picture, uint8 ``[height, width, 3]``.

    Raises:
      UserError: ``encodings`` is not ``[N, T, m]``, or another array has another shape.
    """
    curves = {"encoded": np.asarray(encodings)}
    shape = curves["encoded"].shape
    if len(shape) != 3 or 0 in shape:
        raise UserError(f"encodings have shape {shape}, expected [N, T, m]")
    for name, curve in (others or {}).items():
        if np.shape(curve) != shape:
            raise UserError(f"trajectory {name!r} has shape {np.shape(curve)}, expected {shape}")
        curves[name] = np.asarray(curve)
    N, T, m = shape
    seen = _mask(observed, (N, T))
    in_plane = m == 2
    figure, axes = (
        new_figure(4.2 * N, 4.2, 1, N) if in_plane else new_figure(5 * N, 1.5 * m + 0.6, m, N)
    )
    for n in range(N):
        for i, axis in enumerate(axes[:, n]):
            for c, (name, curve) in enumerate(curves.items()):
                x, y = curve[n].T if in_plane else (np.arange(T), curve[n, :, i])
                colour = _COLOURS[c % len(_COLOURS)]
                axis.plot(x, y, "-", color=colour, lw=1.2, label=name)
                fill = [colour if s else "white" for s in seen[n]]
                axis.scatter(x, y, c=fill, edgecolors=colour, s=18, zorder=3)
            if in_plane:
                axis.plot(*curves["encoded"][n, 0], "k*", ms=10, zorder=4)
                axis.set(xlabel="a1", ylabel="a2", title=f"sequence {n} (★ start, ○ missing)")
            else:
                axis.set(ylabel=f"a{i + 1}")
        if not in_plane:
            axes[0, n].set(title=f"sequence {n} (○ missing)")
            axes[-1, n].set(xlabel="step")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return render(figure)


def mode_weights(weights: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
    """The weights of the modes over time as stacked areas; step t spans t - 1/2 to t + 1/2.

    Args:
      weights: ``[T, K]``, each row sums to 1.
      observed: ``[T]``, 1 = seen; missing steps are hatched. None: all are seen (default).

    Returns:
      The picture, uint8 ``[height, width, 3]``.

    Raises:
      UserError: ``weights`` is not ``[T, K]`` or ``observed`` not ``[T]``.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2 or 0 in weights.shape:
        raise UserError(f"mode weights have shape {weights.shape}, expected [T, K]")
    T, K = weights.shape
    seen = _mask(observed, (T,))
    figure, axes = new_figure(6, 2.4, 1, 1)
    axis = axes[0, 0]
    edges, heights = np.arange(T + 1) - 0.5, np.concatenate([weights, weights[-1:]])
    axis.stackplot(edges, heights.T, step="post", labels=[f"mode {k + 1}" for k in range(K)])
    for t in np.flatnonzero(~seen):
        axis.axvspan(t - 0.5, t + 0.5, facecolor=(1, 1, 1, 0.4), edgecolor="0.2", hatch="///", lw=0)
    axis.set(xlabel="step", ylabel="weight", xlim=(-0.5, T - 0.5), ylim=(0, 1))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    return render(figure)


def new_figure(width: float, height: float, rows: int, columns: int):
    """A figure on its own canvas, and its axes ``[rows, columns]``.

    Args:
      width: inches.
      height: inches.
      rows: number of rows of axes.
      columns: number of columns of axes.
    """
    figure = Figure(figsize=(width, height), dpi=_DPI)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def blank(height: int, width: int) -> Figure:
    """A figure of ``height`` by ``width`` pixels on its own canvas, without axes."""
    # Half a pixel more, because the canvas rounds its size down.
    figure = Figure(figsize=((width + 0.5) / _DPI, (height + 0.5) / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure, tight: bool = True) -> np.ndarray:
    """The figure as a picture, uint8 ``[height, width, 3]``; by default with a tight layout."""
    if tight:
        figure.tight_layout()
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3].copy()


def encode_png(image: np.ndarray) -> bytes:
    """A picture as PNG bytes.

    Args:
      image: uint8 ``[height, width, 3]``.

    Raises:
      UserError: ``image`` has another dtype or shape.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise UserError(f"picture is {image.dtype} {image.shape}, expected uint8 [h, w, 3]")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a picture as a PNG, atomically; its folder is created.

    Args:
      path: the file.
      image: uint8 ``[height, width, 3]``.

    Raises:
      UserError: ``image`` has another dtype or shape.
    """
    storage.write_bytes(path, encode_png(image))


def _frames(frames):
    """``[T, H, W, C]`` in [0, 1] as uint8 ``[T, H, W, 3]``; NaN is black."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] not in (1, 3) or 0 in frames.shape:
        raise UserError(f"frames have shape {frames.shape}, expected [T, H, W, C] with C = 1 or 3")
    if frames.dtype.kind in "iu" and frames.max() > 1:
        raise UserError(
            f"frames are {frames.dtype} up to {frames.max()}, expected floats in [0, 1]"
        )
    levels = np.clip(np.nan_to_num(frames.astype(np.float64)), 0.0, 1.0) * 255.0
    return np.broadcast_to(np.round(levels).astype(np.uint8), (*frames.shape[:3], 3))


def _mask(observed, shape, name="observed"):
    """A mask as booleans; ones where none is given."""
    if observed is None:
        return np.ones(shape, bool)
    if np.shape(observed) != shape:
        raise UserError(f"{name} has shape {np.shape(observed)}, expected {shape}")
    return np.asarray(observed) > 0


def _positive(value, name):
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise UserError(f"{name} is {value!r}, expected a positive integer")
    return int(value)


def _scale(scale, target, height, width):
    """Screen pixels per side of a pixel, such that the longer side of a frame is about target."""
    if scale is None:
        return max(1, round(target / max(height, width)))
    return _positive(scale, "scale")


def _enlarge(frame, scale):
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)


def _border(cell, colour, width=2):
    framed = np.empty((cell.shape[0] + 2 * width, cell.shape[1] + 2 * width, 3), np.uint8)
    framed[:] = colour
    framed[width:-width, width:-width] = cell
    return framed


def encode_gif(pictures: list[np.ndarray] | np.ndarray, fps: float) -> bytes:
    """Bytes of a GIF that has one frame, with its own palette, for every picture.

    ``Image.save`` merges equal neighbouring frames, so the GIF's blocks are joined here.

    Args:
      pictures: uint8 ``[height, width, 3]`` each.
      fps: frames per second, above 0 and at most 50.

    Raises:
      UserError: ``fps`` is out of its range.
    """
    if not 0 < fps <= 50:
        raise UserError(f"fps is {fps!r}, expected above 0 and at most 50")
    milliseconds = round(1000 / fps)
    images = [_indexed(picture) for picture in pictures]
    header, _ = GifImagePlugin.getheader(images[0].copy(), info={"loop": 0})
    blocks = list(header)
    for image in images:
        blocks += GifImagePlugin.getdata(image, duration=milliseconds, include_color_table=True)
    return b"".join([*blocks, b";"])


def _indexed(picture):
    """A picture with its own palette: exact for up to 256 colours, else the nearest of 255.

    All 256 grey levels and the orange of a missing frame are one colour too many: only then is grey
    level 1 drawn as 0.
    """
    missing = np.all(picture == MISSING, axis=-1)
    grey = np.all(picture == picture[..., :1], axis=-1)
    if np.all(grey | missing):
        levels = np.unique(picture[grey][:, 0])
        if missing.any() and len(levels) == 256:
            levels = np.delete(levels, 1)
        index = np.searchsorted(levels, picture[..., 0], side="right") - 1
        palette = np.repeat(levels[:, None], 3, axis=1)
    else:
        quantized = Image.fromarray(picture).quantize(255, dither=Image.Dither.NONE)
        index = np.array(quantized)
        palette = np.array(quantized.getpalette(), np.uint8).reshape(-1, 3)[: index.max() + 1]
    index[missing] = len(palette)
    image = Image.fromarray(index.astype(np.uint8))
    image.putpalette(bytes(np.concatenate([palette, MISSING[None]])[:256]))
    return image


def _margin(labels, row_height):
    """Labels, right-aligned, each at the middle of its row: as tall as the strip."""
    height, width = _BAR + row_height * len(labels), 12 + 7 * max(map(len, labels))
    figure = blank(height, width)
    for i, label in enumerate(labels):
        middle = 1 - (_BAR + _GAP / 2 + (i + 0.5) * row_height) / height
        figure.text(1 - 3 / width, middle, label, ha="right", va="center", fontsize=8)
    return render(figure, tight=False)
