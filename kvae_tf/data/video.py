"""Frames of video files and of folders of pictures: cropped, resized, grey or in colour.

Pictures may be black and white, grey, RGB or CMYK, or have a palette. Of 16 bits the upper 8 are
kept. What is transparent is seen before a black ground. A camera's note of how it was held (EXIF)
is obeyed.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from kvae_tf.data import memory
from kvae_tf.errors import UserError

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".gif")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF")  # whatever the file's ending says
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
# What Pillow raises on damaged bytes; a "bomb" is a picture of an absurd size.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


class FrameTransform(NamedTuple):
    """Transformation of each frame: cropped, then resized, then grey or in colour.

    Attributes:
      crop: ``(top, left, height, width)`` of the part that is kept, pixels; None: the whole frame
        (default).
      size: ``(height, width)`` after resizing, pixels; None: not resized (default).
      channels: 1 for grey (default), 3 for red, green and blue.
    """

    crop: tuple[int, int, int, int] | None = None
    size: tuple[int, int] | None = None
    channels: int = 1


WHOLE = FrameTransform()


def find(path: str | os.PathLike) -> list[Path]:
    """The videos that a path names, in the order of their names.

    Args:
      path: a video file; a folder of pictures, which are one video; or a folder of video files, or
        of such folders.

    Raises:
      UserError: there is no such file or folder, or the folder holds no videos and no pictures.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} does not exist, expected a video, or a folder of pictures")
    if _pictures(path):
        return [path]
    videos = [
        child
        for child in _in_order(path.iterdir())
        if child.suffix.lower() in VIDEOS or (child.is_dir() and _pictures(child))
    ]
    if not videos:
        raise UserError(
            f"{path} holds no video ({', '.join(VIDEOS)}) and no pictures ({', '.join(PICTURES)})"
        )
    return videos


def size_of(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width of a video's first frame, pixels.

    Args:
      path: a video file or a folder of pictures.

    Raises:
      UserError: the file is missing, damaged or empty.
    """
    for _, picture in _pictures_of(Path(path)):
        return picture.size[::-1]
    raise UserError(f"{path} holds no frames, expected at least one")


def read(
    path: str | os.PathLike,
    transform: FrameTransform = WHOLE,
    max_memory: float = memory.DEFAULT,
) -> np.ndarray:
    """All frames of a video, uint8 ``[T, H, W, C]``. A video that is cut off draws a warning.

    Args:
      path: a video file or a folder of pictures.
      transform: crop, size and channels of each frame; only the result is kept in memory. Grey and
        whole frames by default.
      max_memory: largest size of all frames, GiB, 8 by default.

    Raises:
      UserError: a file is missing, damaged, empty or of another size than the first, the crop lies
        outside of a frame, or there are more frames than ``max_memory`` allows.
    """
    path = Path(path)
    frames, size, first = [], 0, None
    for name, picture in _pictures_of(path):
        first = first or picture.size
        if picture.size != first:
            raise UserError(
                f"{name} is {picture.size[1]}x{picture.size[0]}, expected {first[1]}x{first[0]} "
                "as the first frame"
            )
        frame = _transformed(picture, transform, name)
        size += frame.nbytes
        memory.check(path, size, max_memory, "expected fewer or smaller frames: pass --frame_size")
        frames.append(frame)
    if not frames:
        raise UserError(f"{path} holds no frames, expected at least one")
    return np.stack(frames)


def _pictures(folder):
    """The pictures in a folder, in order."""
    return _in_order(child for child in folder.iterdir() if child.suffix.lower() in PICTURES)


def _in_order(paths):
    """Visible paths sorted by name, with numbers by their value: 2 before 10."""
    visible = [path for path in paths if not path.name.startswith(".")]
    return sorted(visible, key=lambda path: [
        (int(word), "") if word.isdecimal() else (-1, word)
        for word in re.split(r"(\d+)", path.name)
    ])  # fmt: skip


def _pictures_of(path) -> Iterator[tuple[str, Image.Image]]:
    """Name and picture of each frame."""
    if path.is_dir():
        for file in _pictures(path):
            yield str(file), _picture(file)
    elif path.suffix.lower() == ".gif":
        count = 0
        with _opened(path) as picture:
            try:
                for frame in ImageSequence.Iterator(picture):
                    yield f"{path}, frame {count}", _plain(frame)
                    count += 1
            except _DAMAGE:
                raise UserError(f"{path} is damaged after {count} frames") from None
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() != b";":  # a GIF's last byte
                _warn_of_cut(f"{path} has {count} frames, but no end")
    elif path.suffix.lower() in VIDEOS:
        yield from _decoded(path)
    else:
        raise UserError(
            f"{path} is no video, expected a file that ends in {', '.join(VIDEOS)}, or a folder"
        )


@contextlib.contextmanager
def _opened(path):
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            yield picture
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist, expected a picture") from None
    except (UnidentifiedImageError, *_DAMAGE) as error:
        raise UserError(
            f"{path} is damaged, or no picture out of {', '.join(_FORMATS)} "
            f"({type(error).__name__})"
        ) from None


def _picture(path):
    """The one picture of a file, plain and upright."""
    with _opened(path) as picture:
        # Phones add a small one to a JPEG, which is then a "multi-picture object".
        if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
            raise UserError(f"{path} holds {picture.n_frames} pictures, expected one")
        picture.load()
        clear = picture.info.get("transparency")
        if isinstance(clear, tuple) and max(clear) > 255:  # Pillow has halved the pixels' bits only
            raise UserError(f"{path} has 16 bits and a transparent colour, expected 8 bits")
        return _plain(ImageOps.exif_transpose(picture))


def _plain(picture):
    """A picture with 8 bits a channel, black and white, grey or RGB, before a black ground."""
    clear = picture.info.get("transparency")
    if picture.mode.startswith("I"):  # Pillow's own conversion makes all above 255 white
        levels = np.asarray(picture)
        levels = np.where(levels == clear, 0, levels)
        return Image.fromarray((levels >> 8).astype(np.uint8))
    if picture.mode in _ALPHA or clear is not None:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(ground, picture)
    return picture if picture.mode in ("1", "L") else picture.convert("RGB")


def _decoded(path):
    """Frames of a container that FFmpeg reads."""
    try:
        import av
    except ImportError:
        raise UserError(
            f"{path}: reading {path.suffix} needs the package av: pip install 'kvae_tf[video]'"
        ) from None
    count, end = 0, 0.0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} is damaged, or holds no video")
            stream = container.streams.video[0]
            announced, length = stream.frames, (container.duration or 0) / av.time_base
            step = 1 / float(stream.average_rate or 1)
            # Sound may go on for a moment after the last frame.
            slack = 1.0 if len(container.streams) > 1 else 1.5 * step
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise UserError(f"{path} is damaged after {count} frames, expected whole ones")
                yield f"{path}, frame {count}", _upright(frame)
                count += 1
                if frame.time is not None:
                    end = frame.time + step
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(
            f"{path} is damaged after {count} frames, or no video ({type(error).__name__})"
        ) from None
    if count < announced:
        _warn_of_cut(f"{path} announces {announced} frames but holds {count}")
    elif not announced and 0 < end < length - slack:  # Matroska and WebM do not count their frames
        _warn_of_cut(f"{path} announces {length:.2f} s, but its {count} frames end at {end:.2f} s")


def _upright(frame):
    """A decoded frame as a picture, turned as the container says."""
    if any(component.is_alpha for component in frame.format.components):
        picture = _plain(Image.fromarray(frame.to_ndarray(format="rgba")))
    else:
        picture = frame.to_image()
    return picture.rotate(getattr(frame, "rotation", 0), expand=True)  # older PyAV has none


def _warn_of_cut(what):
    warnings.warn(f"{what}: it seems to be cut off", stacklevel=4)


def _transformed(picture, transform, name):
    """A frame as ``[H, W, C]``."""
    if transform.crop:
        try:
            top, left, height, width = transform.crop
            fits = height > 0 <= top <= picture.size[1] - height
            fits &= width > 0 <= left <= picture.size[0] - width
        except ValueError:
            fits = False
        if not fits:
            raise UserError(
                f"--crop={','.join(map(str, transform.crop))} (top, left, height, width) is no "
                f"part of {name}, which is {picture.size[1]}x{picture.size[0]}"
            )
        picture = picture.crop((left, top, left + width, top + height))
    picture = picture.convert("L" if transform.channels == 1 else "RGB")
    if transform.size and transform.size != picture.size[::-1]:
        # A new pixel is the mean of the old ones it covers, so that thin lines stay visible.
        picture = picture.resize(transform.size[::-1], Image.Resampling.BOX)
    frame = np.asarray(picture, np.uint8)
    return frame if frame.ndim == 3 else frame[..., np.newaxis]
