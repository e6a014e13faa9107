"""Films: sequences of frames side by side with their names, written as GIF or MP4."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.visualisation import images

FORMATS = (".gif", ".mp4")
_HEADER, _DPI = 18, 100  # pixels of the names' line


def side_by_side(
    films: dict[str, np.ndarray],
    observed: np.ndarray | None = None,
    scale: int | None = None,
    flagged: np.ndarray | None = None,
) -> np.ndarray:
    """Films of equal length side by side, each below its name.

    Args:
      films: name -> ``[T, H, W, C]`` in [0, 1].
      observed: ``[T]``, 1 = seen; missing frames have an orange border, seen ones a grey one. None:
        all are seen (default).
      scale: screen pixels per side of a pixel; None: such that the longer side of a frame is about
        128 screen pixels (default).
      flagged: ``[T]`` bool, frames that have a red border; None: none (default).

    Returns:
      Pictures, uint8 ``[T, height, width, 3]``.

    Raises:
      UserError: there are no films, or they differ in shape.
    """
    framed = {
        name: images.framed(film, observed, scale, target=128, flagged=flagged)
        for name, film in films.items()
    }
    shapes = {pictures.shape for pictures in framed.values()}
    if len(shapes) != 1:
        raise UserError(f"films have shapes {sorted(shapes)}, expected at least one, all alike")
    header = np.concatenate([_name(name, x.shape[2]) for name, x in framed.items()], axis=1)
    pictures = np.concatenate(list(framed.values()), axis=2)
    header = np.broadcast_to(header, (len(pictures), *header.shape))
    return np.concatenate([header, pictures], axis=1)


def write(path: Path, pictures: np.ndarray, fps: float = 10) -> None:
    """Writes pictures as a film, atomically.

    Args:
      path: the file, which ends in ``.gif`` or ``.mp4``.
      pictures: uint8 ``[T, height, width, 3]``.
      fps: pictures per second, at most 50 in a GIF; 10 by default.

    Raises:
      UserError: the file has another format, or the package ``av`` is missing.
    """
    if path.suffix not in FORMATS:
        raise UserError(f"{path} ends in {path.suffix!r}, expected {' or '.join(FORMATS)}")
    data = images.encode_gif(pictures, fps) if path.suffix == ".gif" else _mp4(pictures, fps)
    storage.write_bytes(path, data)


def _mp4(pictures, fps):
    """H.264 in an MP4 container, as bytes."""
    try:
        import av
    except ImportError:
        raise UserError("writing .mp4 needs the package av: pip install 'kvae_tf[video]'") from None
    # Colour is stored for 2 by 2 pixels, so both sides have to be even.
    pad = [(0, 0), *((0, size % 2) for size in pictures.shape[1:3]), (0, 0)]
    pictures = np.pad(pictures, pad, constant_values=255)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=round(fps))
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def _name(name, width):
    """A line of text, ``[height, width, 3]``."""
    figure = Figure(figsize=((width + 0.5) / _DPI, (_HEADER + 0.5) / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.45, name, ha="center", va="center", fontsize=8)
    return images.render(figure, tight=False)[:_HEADER, :width]
