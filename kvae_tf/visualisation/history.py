"""Charts of a training by epoch, from its event files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kvae_tf.visualisation import charts, events

_FEW = 8  # epochs, of which none is cut off
_FIRST = 0.25  # of the epochs, which may be cut off
_STRETCH = 3.0  # of the range, by the first epochs, from which on they are cut off
_LABELS = {
    "elbo": "bound, nats a frame",
    "loss": "training loss, nats a frame",
    "learning_rate": "learning rate",
    "gradient_norm": "norm of the gradient",
    "frames_per_second": "frames a second",
}


def training(logs: Path) -> dict[str, np.ndarray]:
    """Charts of what was logged each epoch, by quantity and unit.

    The bound and its terms, of training and validation in one chart, both in nats a seen frame,
    come first. The loss is left out where it is minus the bound. Of long trainings the first
    quarter of the epochs is cut off where it would hide the others.

    Args:
      logs: the folder of a run's event files; no charts where it does not exist.

    Returns:
      Quantity with its unit -> picture, uint8 ``[height, width, 3]``.

    Raises:
      UserError: the event files cannot be read.
    """
    parts = {
        name: {
            tag.removeprefix("epoch_"): values
            for tag, values in events.scalars(logs / folder).items()
            if tag.startswith("epoch_")
        }
        for name, folder in (("training", "train"), ("validation", "validation"))
    }
    train, validation = parts["training"], parts["validation"]
    if _is_minus_bound(train):
        del train["loss"]
    # The validation's loss is minus its bound, without the weights of the training's.
    validation.pop("loss", None)
    of_bound = [name for name in train if name in validation]
    drawn = {}
    for name in (*of_bound, *(name for name in train if name not in validation)):
        lines = {part: scalars[name] for part, scalars in parts.items() if name in scalars}
        epochs = sorted({epoch for points in lines.values() for epoch in points})
        if len(epochs) < 2:
            continue
        text = name.replace("_", " ")
        label = _LABELS.get(name, f"{text}, nats a frame" if name in of_bound else text)
        drawn[label] = charts.curves(
            [epoch + 1 for epoch in epochs],
            {
                part: [points.get(epoch, np.nan) for epoch in epochs]
                for part, points in lines.items()
            },
            x_label="epoch",
            y_label=label,
            from_zero=False,
            log=name == "learning_rate",
            limits=_limits(lines.values(), epochs),
        )
    return drawn


def _is_minus_bound(scalars):
    loss, bound = scalars.get("loss"), scalars.get("elbo")
    return bool(loss and bound) and all(
        np.isclose(value, -bound.get(epoch, np.nan), rtol=1e-4) for epoch, value in loss.items()
    )


def _limits(lines, epochs):
    """Ends of the vertical axis without the first quarter of the epochs; None: those of all."""
    if len(epochs) < _FEW:
        return None
    first = epochs[int(_FIRST * len(epochs))]
    every = [value for points in lines for value in points.values()]
    later = [value for points in lines for epoch, value in points.items() if epoch >= first]
    low, high = min(later), max(later)
    if not high > low or max(every) - min(every) < _STRETCH * (high - low):
        return None
    margin = 0.05 * (high - low)
    return low - margin, high + margin
