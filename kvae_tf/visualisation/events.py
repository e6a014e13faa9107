"""Reading of TensorBoard's event files of a run."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from kvae_tf.errors import UserError
from kvae_tf.visualisation import charts

_STAGES = 3


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Scalars of all event files in a folder: tag -> step -> value.

    Args:
      folder: the log folder; an empty result where it does not exist.

    Raises:
      UserError: the event files cannot be read.
    """
    scalars_by_tag = {}
    for tag, values in _tensors(folder).items():
        numbers = {
            step: float(value)
            for step, value in values.items()
            if value.ndim == 0 and value.dtype.kind in "fiu"
        }
        if numbers:
            scalars_by_tag[tag] = numbers
    return scalars_by_tag


def images(folder: Path) -> dict[str, dict[int, bytes]]:
    """Images of all event files in a folder: tag -> step -> bytes of an encoded image.

    Args:
      folder: the log folder; an empty result where it does not exist.

    Raises:
      UserError: the event files cannot be read.
    """
    # A summary of images holds their width, their height and the encoded images.
    return {
        tag: {step: bytes(value[2]) for step, value in values.items()}
        for tag, values in _tensors(folder).items()
        if all(value.dtype == object and value.shape == (3,) for value in values.values())
    }


def stages(drawn: dict[int, bytes]) -> np.ndarray:
    """A picture after the first, a middle and the last epoch for which it was drawn.

    Args:
      drawn: epoch -> bytes of an encoded image, one tag of ``images``; not empty.

    Returns:
      The pictures one below another, uint8 ``[height, width, 3]``.
    """
    epochs = np.array(sorted(drawn))
    chosen = epochs[np.unique(np.linspace(0, len(epochs) - 1, _STAGES).astype(int))].tolist()
    return charts.captioned(
        {
            f"after epoch {epoch}": np.asarray(Image.open(io.BytesIO(drawn[epoch])).convert("RGB"))
            for epoch in chosen
        }
    )


def _tensors(folder):
    """Tag -> step -> array."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    if not folder.is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    try:
        events.Reload()
    except Exception as error:  # event files of a killed run may end anywhere
        raise UserError(f"{folder} cannot be read: {error}") from None
    return {
        tag: {event.step: tensor_util.make_ndarray(event.tensor_proto)
              for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }  # fmt: skip
