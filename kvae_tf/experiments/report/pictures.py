"""Pictures of a run, each with a caption that says what one sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kvae_tf.studies import STUDIES
from kvae_tf.visualisation import events, history, images, page

_TYPES = (".png", ".gif")
_WIDE = 2.2  # of width by height, from which on a picture has a row to itself
# Films and film strips, and pictures of latent states, in their order; name -> kind, caption.
_FILMS = {
    "imputations": (
        "strip",
        "Frames filled in. From top to bottom: a sequence that the training did not have; what the "
        "model sees of it, the frames below an orange bar being hidden (black); and what it makes "
        "of that, a row for each method. Smoothing knows the frames before and after the gap, "
        "filtering only those before.",
    ),
    "generated": (
        "film",
        "Sequences that the model made up, twice as long as those of the data, from noise alone. "
        "Good ones look and move as the data do.",
    ),
    "reconstructions": (
        "strip",
        "A sequence that the training did not have, and below it each frame after it was encoded "
        "and decoded again, without any dynamics.",
    ),
}
_LATENTS = {
    "trajectories": (
        "chart strip",
        "Encodings of three sequences in time: grey those of the true frames, coloured what "
        "the model infers where frames are hidden (hollow marks).",
    ),
    "mode_weights": (
        "chart",
        "How much each mode of the dynamics counts at each frame of the first of them; hatched "
        "where frames are hidden.",
    ),
    "objects": ("chart strip", "Paths of the objects that the model infers in sequences."),
    "stages": (
        "chart strip",
        "The same paths in validation sequences after the first, a middle and the last epoch.",
    ),
}
_VECTORS = (
    "chart strip",
    "Entries of three sequences in time: grey the true ones, coloured what the model fills in "
    "where rows are hidden (hollow marks).",
)


def read(folder: Path) -> dict[str, bytes]:
    """The pictures in a folder, by name.

    Args:
      folder: the folder; no pictures where it does not exist.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix in _TYPES)
    return {path.stem: path.read_bytes() for path in paths}


def latest(drawn: Mapping[str, Mapping[int, bytes]]) -> dict[str, bytes]:
    """The last of each of TensorBoard's pictures, by its name in an export's folder.

    Args:
      drawn: what ``events.images`` gives.
    """
    return {tag.split("/")[-1]: pictures[max(pictures)] for tag, pictures in drawn.items()}


def films(pictures: Mapping[str, bytes], is_vector: bool) -> list[str]:
    """Figures of what the model draws, or of the entries of vectors that it fills in.

    Args:
      pictures: name -> bytes.
      is_vector: whether the data are vectors.
    """
    return _figures(pictures, _FILMS | {"imputations": _VECTORS} if is_vector else _FILMS)


def latents(pictures: Mapping[str, bytes]) -> list[str]:
    """Figures of encodings, modes and objects.

    Args:
      pictures: name -> bytes.
    """
    return _figures(pictures, _LATENTS)


def _figures(pictures, captions):
    return [
        page.figure(pictures[name], caption, kind)
        for name, (kind, caption) in captions.items()
        if name in pictures
    ]


def others(pictures: Mapping[str, bytes]) -> str:
    """Figures of studies, and of pictures of other names than ``films`` and ``latents`` show.

    Args:
      pictures: name -> bytes.
    """
    figures = []
    for name, data in pictures.items():
        if name in _FILMS or name in _LATENTS:
            continue
        figures.append(page.figure(data, _title(name), _layout(data)))
    return page.grid(figures)


def studies(pictures: Mapping[str, bytes]) -> str:
    """Figures of studies, with what each shows.

    Args:
      pictures: name of a study -> bytes.
    """
    figures = []
    for name, data in pictures.items():
        words = STUDIES[name].__doc__.partition("\n")[0] if name in STUDIES else ""
        text = f"{_title(name)}: {words}" if words else _title(name)
        figures.append(page.figure(data, text, _layout(data)))
    return page.grid(figures)


def _title(name):
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _layout(data):
    """How a picture of any size is shown."""
    if data.startswith(b"GIF"):
        return "film"
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))  # of a PNG
    return "strip" if width > _WIDE * height else ""


def training(logs: Path) -> str:
    """Charts of a training by epoch.

    Args:
      logs: the folder of a run's event files.
    """
    charts = history.training(logs).items()
    return page.grid(
        page.figure(images.encode_png(picture), _title(name), "chart") for name, picture in charts
    )


def stages(drawn: Mapping[str, Mapping[int, bytes]]) -> str:
    """Pictures of validation sequences after a few epochs, folded.

    Args:
      drawn: what ``events.images`` gives.
    """
    figures = []
    for tag, pictures in drawn.items():
        if all(data.startswith(b"\x89PNG") for data in pictures.values()):
            name = tag.split("/")[-1]
            kind = "strip" if name in _FILMS else "chart strip"
            text = f"{_title(name)} of validation sequences by epoch"
            figures.append(page.figure(images.encode_png(events.stages(pictures)), text, kind))
    return page.folded("Pictures by epoch", *figures)
