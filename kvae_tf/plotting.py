"""Arrays in, pictures out: film strips, animated GIFs, trajectories, mode weights.

Pictures are uint8 ``[height, width, 3]``. Frames are float ``[T, H, W, C]`` in [0, 1] with C = 1 or
3, row 0 on top. A missing frame carries an orange bar above it and an orange border in a GIF.
Figures are drawn on their own canvas, without pyplot's global state.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kvae_tf.errors import UserError

MISSING = np.array([230, 126, 34], np.uint8)
FRAME_PIXELS = 48
_GREY = 96


def film_strip(
    rows: list[np.ndarray],
    labels: list[str] | None = None,
    observed: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of frames, one under another and aligned in time.

    Args:
      rows: each ``[T, H, W, C]``.
      labels: a word for each row.
      observed: ``[T]``, 1 = seen; a missing frame carries an orange bar above its column.

    Returns:
      The picture.

    Raises:
      UserError: the rows differ in shape, or ``observed`` in length.
    """
    rows = [_frames(row) for row in rows]
    if not rows or any(row.shape != rows[0].shape for row in rows):
        raise UserError(
            f"film strip rows have shapes {[r.shape for r in rows]}, expected one shape"
        )
    T, height, width = rows[0].shape[:3]
    if observed is not None and np.shape(observed) != (T,):
        raise UserError(f"observed has shape {np.shape(observed)}, expected ({T},)")
    scale, gap = max(1, FRAME_PIXELS // max(height, width)), 4
    strips = []
    for row in rows:
        cells = [np.pad(_enlarge(f, scale), ((gap, 0), (gap, 0), (0, 0)), constant_values=255)
                 for f in row]  # fmt: skip
        strips.append(np.concatenate(cells, axis=1))
    picture = np.concatenate(strips, axis=0)
    bar = np.full((6, picture.shape[1], 3), 255, np.uint8)
    for t in np.flatnonzero(np.asarray(observed) == 0) if observed is not None else ():
        left = gap + t * (width * scale + gap)
        bar[:, left : left + width * scale] = MISSING
    picture = np.concatenate([bar, picture], axis=0)
    if labels is None:
        return picture
    margin = _labels(labels, height * scale + gap, 6)
    return np.concatenate([margin, picture], axis=1)


def grid_gif(
    sequences: np.ndarray, columns: int = 4, observed: np.ndarray | None = None, fps: int = 10
) -> bytes:
    """Sequences side by side as one animated GIF that loops for ever.

    Args:
      sequences: ``[N, T, H, W, C]``.
      columns: sequences in a row.
      observed: ``[N, T]``, 1 = seen; missing frames carry an orange border.
      fps: frames per second.

    Returns:
      GIF bytes of exactly T frames.
    """
    sequences = np.asarray(sequences)
    if sequences.ndim != 5:
        raise UserError(f"sequences have shape {sequences.shape}, expected [N, T, H, W, C]")
    N, T, height, width = sequences.shape[:4]
    scale = max(1, 64 // max(height, width))
    pictures = []
    for t in range(T):
        cells = [_enlarge(_frames(sequence[t : t + 1])[0], scale) for sequence in sequences]
        for n, cell in enumerate(cells):
            seen = observed is None or observed[n, t] > 0
            edge = np.array([_GREY] * 3, np.uint8) if seen else MISSING
            cells[n] = _border(cell, edge)
        cells += [np.full_like(cells[0], 255)] * (-N % columns)
        lines = [np.concatenate(cells[i : i + columns], axis=1)
                 for i in range(0, len(cells), columns)]  # fmt: skip
        pictures.append(np.concatenate(lines, axis=0))
    return _gif(pictures, fps)


def frames_to_gif(frames: np.ndarray, fps: int = 10) -> bytes:
    """One sequence ``[T, H, W, C]`` as an animated GIF of exactly T frames."""
    frames = _frames(frames)
    scale = max(1, 128 // max(frames.shape[1:3]))
    return _gif([_enlarge(frame, scale) for frame in frames], fps)


def latent_trajectories(
    encodings: np.ndarray,
    observed: np.ndarray | None = None,
    others: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Encodings over time: in the plane for m = 2, else one panel a dimension.

    Args:
      encodings: ``[N, T, m]``, drawn as "encoded".
      observed: ``[N, T]``, 1 = seen; missing steps are hollow.
      others: name -> ``[N, T, m]``, drawn over it.

    Returns:
      The picture.
    """
    encodings = np.asarray(encodings)
    if encodings.ndim != 3:
        raise UserError(f"encodings have shape {encodings.shape}, expected [N, T, m]")
    N, T, m = encodings.shape
    curves = {"encoded": encodings, **(others or {})}
    styles = dict(zip(curves, ("0.6", "tab:blue", "tab:orange", "tab:green"), strict=False))
    if m == 2:
        figure, axes = _figure(4.2 * N, 4.2, 1, N)
        for n, axis in enumerate(axes[0]):
            for name, curve in curves.items():
                x, y = curve[n].T
                axis.plot(x, y, "-", color=styles[name], lw=1.2, label=name)
                seen = np.ones(T) if observed is None else observed[n]
                fill = [styles[name] if s > 0 else "white" for s in seen]
                axis.scatter(x, y, c=fill, edgecolors=styles[name], s=18, zorder=3)
            axis.plot(*encodings[n, 0], "k*", ms=10, zorder=4)
            axis.set(xlabel="a₁", ylabel="a₂", title=f"sequence {n} (★ start, ○ missing)")
        axes[0][0].legend(frameon=False, fontsize=8)
        return _render(figure)
    figure, axes = _figure(6, 1.8 * m, m, 1)
    for i, (axis,) in enumerate(axes):
        for name, curve in curves.items():
            axis.plot(curve[0, :, i], ".-", color=styles[name], label=name)
        axis.set(xlabel="step", ylabel=f"a{i + 1}")
    axes[0][0].legend(frameon=False, fontsize=8)
    return _render(figure)


def mode_weights(weights: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
    """The weights of the modes over time, stacked.

    Args:
      weights: ``[T, K]``.
      observed: ``[T]``, 1 = seen; missing steps are hatched.

    Returns:
      The picture.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2:
        raise UserError(f"mode weights have shape {weights.shape}, expected [T, K]")
    steps = np.arange(len(weights))
    figure, axes = _figure(6, 2.4, 1, 1)
    axis = axes[0][0]
    axis.stackplot(steps, weights.T, labels=[f"mode {k + 1}" for k in range(weights.shape[1])])
    for t in steps[np.asarray(observed) == 0] if observed is not None else ():
        axis.axvspan(t - 0.5, t + 0.5, facecolor="none", edgecolor="0.2", hatch="///", lw=0)
    axis.set(xlabel="step", ylabel="weight", xlim=(0, max(len(steps) - 1, 1)), ylim=(0, 1))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    return _render(figure)


def encode_png(picture: np.ndarray) -> bytes:
    """A picture as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def save_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file whole or not at all; its folder is created."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _frames(frames):
    """``[T, H, W, C]`` as uint8 RGB."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] not in (1, 3):
        raise UserError(f"frames have shape {frames.shape}, expected [T, H, W, C] with C = 1 or 3")
    grey = np.round(np.clip(np.nan_to_num(frames), 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1) if grey.shape[-1] == 1 else grey


def _enlarge(frame, scale):
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)


def _border(cell, colour, width=2):
    framed = np.empty((cell.shape[0] + 2 * width, cell.shape[1] + 2 * width, 3), np.uint8)
    framed[:] = colour
    framed[width:-width, width:-width] = cell
    return framed


def _gif(pictures, fps):
    """GIF bytes with a frame for every picture, also where two are the same."""
    # One palette of grey levels and the marker keeps the levels exact and undithered.
    levels = [[round(level * 255 / 253)] * 3 for level in range(254)]
    palette = bytes(np.array([*levels, MISSING, [0, 0, 0]], np.uint8))
    images, previous = [], None
    for picture in pictures:
        if _only_grey_and_missing(picture):
            index = np.round(picture[..., 0] * (253 / 255)).astype(np.uint8)
            index[np.all(picture == MISSING, axis=-1)] = 254
            # Pillow drops a frame that equals the one before: move one corner by one level.
            if previous is not None and np.array_equal(index, previous):
                index[-1, -1] = 252 if index[-1, -1] == 253 else index[-1, -1] + 1
            previous = index
            image = Image.fromarray(index)
            image.putpalette(palette)
        else:
            image = Image.fromarray(picture).quantize(255, dither=Image.Dither.NONE)
        images.append(image)
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _only_grey_and_missing(picture):
    grey = (picture[..., 0] == picture[..., 1]) & (picture[..., 1] == picture[..., 2])
    return bool(np.all(grey | np.all(picture == MISSING, axis=-1)))


def _labels(labels, row_height, top):
    figure = Figure(figsize=(0.7, (top + row_height * len(labels)) / 100), dpi=100)
    FigureCanvasAgg(figure)
    total = top + row_height * len(labels)
    for i, label in enumerate(labels):
        middle = 1 - (top + (i + 0.5) * row_height) / total
        figure.text(0.95, middle, label, ha="right", va="center", fontsize=8)
    picture = _render(figure, tight=False)
    return picture[:total] if len(picture) >= total else np.pad(
        picture, ((0, total - len(picture)), (0, 0), (0, 0)), constant_values=255
    )  # fmt: skip


def _figure(width, height, rows, columns):
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _render(figure, tight=True):
    if tight:
        figure.tight_layout()
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3].copy()
