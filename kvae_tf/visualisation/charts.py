"""Charts of numbers: error curves, mode weights over the plane, paths; uint8 pictures."""

from __future__ import annotations

import numpy as np

from kvae_tf.errors import UserError
from kvae_tf.visualisation.images import blank, new_figure, render

_LISTED = 8  # lines, at most, with a legend inside of the axes
_WIDE_RANGE = 8.0  # of the largest value by the smallest, from which on a logarithm helps
_CAPTION = 24  # pixels


def curves(
    x: list[float],
    lines: dict[str, list[float]],
    errors: dict[str, list[float]] | None = None,
    dashed: dict[str, list[float]] | None = None,
    x_label: str = "",
    y_label: str = "",
    from_zero: bool = True,
    dashed_name: str = "paper",
    dotted: dict[str, list[float]] | None = None,
    dotted_name: str = "",
    log: bool = False,
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """Lines over one axis, with bars of one standard error.

    Args:
      x: horizontal coordinates of the values.
      lines: name -> values, one for each ``x``.
      errors: name of a line -> standard errors, one for each ``x``; None: none (default).
      dashed: name -> reference values, one for each ``x``, NaN where unknown, drawn dashed in the
        colour of the line of the same name; None: none (default).
      x_label: label of the horizontal axis.
      y_label: label of the vertical axis.
      from_zero: the vertical axis starts at 0 (default).
      dashed_name: what the reference values are, for the legend; "paper" by default.
      dotted: further reference values, of the same form, drawn dotted; None: none (default).
      dotted_name: what these are, for the legend.
      log: the vertical axis is logarithmic, if all values are above 0 and the largest is more than
        eight times the smallest; False by default.
      limits: lower and upper end of the vertical axis; None: those of the values (default).

    Returns:
      The picture, uint8 ``[height, width, 3]``.

    Raises:
      UserError: a line does not have one value for each ``x``.
    """
    references = [("--", dashed or {}, dashed_name), (":", dotted or {}, dotted_name)]
    every = [*lines.items(), *(line for _, drawn, _ in references for line in drawn.items())]
    for name, values in every:
        if len(values) != len(x):
            raise UserError(f"curve {name!r} has {len(values)} values, expected {len(x)}")
    figure, axes = new_figure(6, 4, 1, 1)
    axis, colours = axes[0, 0], {}
    for name, values in lines.items():
        spread = (errors or {}).get(name)
        drawn = axis.errorbar(x, values, yerr=spread, marker="o", ms=3, lw=1.5, label=name)
        colours[name] = drawn[0].get_color()
    for style, drawn, reference in references:
        for name, values in drawn.items():
            known = np.isfinite(values)
            axis.plot(
                np.asarray(x)[known], np.asarray(values)[known], style, lw=1,
                color=colours.get(name), label=f"{name} ({reference})",
            )  # fmt: skip
    axis.set(xlabel=x_label, ylabel=y_label)
    if all(float(value).is_integer() for value in x):
        axis.xaxis.get_major_locator().set_params(integer=True)
    if log and _ranges_widely([values for _, values in every]):
        axis.set_yscale("log")
    elif from_zero:
        axis.set_ylim(bottom=0)
    if limits is not None:
        axis.set_ylim(*limits)
    axis.grid(alpha=0.3)
    # A long list of names would hide the lines.
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if len(lines) > _LISTED else {}
    if dashed and not beside:
        beside = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 3}
    axis.legend(frameon=False, fontsize=8, **beside)
    return render(figure)


def growth(
    panels: dict[str, dict[str, tuple[list[float], list[float]]]], y_label: str
) -> np.ndarray:
    """Lines over logarithmic axes, whose slope is the exponent of a power, one panel each.

    Args:
      panels: label of the horizontal axis -> name of a line -> its horizontal and vertical
        coordinates, all positive.
      y_label: label of the vertical axis, which all panels share.

    Returns:
      The picture, uint8 ``[height, width, 3]``.
    """
    figure, axes = new_figure(3.2 * len(panels), 3.2, 1, len(panels))
    for axis, (x_label, lines) in zip(axes[0], panels.items(), strict=True):
        for name, (x, y) in lines.items():
            axis.loglog(x, y, marker="o", ms=3, lw=1.5, label=name)
        axis.set(xlabel=x_label)
        axis.grid(alpha=0.3)
        axis.sharey(axes[0, 0])
        axis.legend(frameon=False, fontsize=7)
    axes[0, 0].set(ylabel=y_label)
    return render(figure)


def _ranges_widely(lines):
    values = np.concatenate([np.asarray(line, float) for line in lines])
    low, high = np.nanmin(values), np.nanmax(values)
    return low > 0 and high > _WIDE_RANGE * low


def scores(
    values: dict[str, np.ndarray],
    observed: np.ndarray,
    flagged: np.ndarray,
    thresholds: dict[str, float],
) -> np.ndarray:
    """Scores of the frames of a film, one panel each.

    Args:
      values: name -> ``[T]``, nats.
      observed: ``[T]``, 1 = seen; missing frames have no value.
      flagged: ``[T]`` bool, frames that are marked by a red dot where there is a threshold.
      thresholds: name -> threshold, a dashed line in the panel of that name.

    Returns:
      The picture, uint8 ``[height, width, 3]``.
    """
    figure, axes = new_figure(7, 1.8 * len(values), len(values), 1)
    steps = np.arange(len(observed))
    for axis, (name, line) in zip(axes[:, 0], values.items(), strict=True):
        axis.plot(steps, np.where(observed > 0, line, np.nan), "-", lw=1.2, marker=".", ms=3)
        if name in thresholds:
            axis.axhline(thresholds[name], ls="--", lw=1, color="0.4")
            axis.plot(steps[flagged], line[flagged], "o", ms=4, color="tab:red")
        axis.set(ylabel=f"{name}, nats".replace("_", "\n"))
        axis.grid(alpha=0.3)
    axes[-1, 0].set(xlabel="frame")
    return render(figure)


def mode_map(
    encodings: np.ndarray,
    weights: np.ndarray,
    path: np.ndarray | None = None,
    title: str = "",
) -> np.ndarray:
    """Mode weights over the plane of encodings, a panel per mode (Fraccaro et al. 2017, figure 4).

    Args:
      encodings: ``[N, 2]``, a_{t-1}.
      weights: ``[N, K]``, alpha_t.
      path: ``[T, 2]``, the encodings of one sequence. The weights are then a function of a_{t-1},
        drawn as the paper does: a background from black (0) to white (1), linear between the
        encodings, with the path over it. None: a coloured dot for each encoding (default).
      title: title of the whole picture; empty: none (default).

    Returns:
      The picture, uint8 ``[height, width, 3]``.

    Raises:
      UserError: ``encodings`` is not ``[N, 2]``, or ``weights`` not ``[N, K]``.
    """
    if encodings.ndim != 2 or encodings.shape[1] != 2 or len(weights) != len(encodings):
        raise UserError(
            f"encodings and mode weights have shapes {encodings.shape}, {weights.shape}, expected "
            "[N, 2] and [N, K]"
        )
    K = weights.shape[1]
    columns = min(K, 4)
    rows = -(-K // columns)
    height = 3.0 * rows + (0.5 if title else 0.0)
    figure, axes = new_figure(3.2 * columns + 0.6, height, rows, columns)
    for k, axis in enumerate(axes.flat):
        if k >= K:
            axis.set_axis_off()
            continue
        if path is None:
            drawn = axis.scatter(*encodings.T, c=weights[:, k], s=2, vmin=0, vmax=1, cmap="viridis")
        else:
            drawn = axis.tripcolor(
                *encodings.T, weights[:, k], shading="gouraud", vmin=0, vmax=1, cmap="gray"
            )
            axis.plot(*path.T, "-", color="tab:orange", lw=0.8)
            axis.scatter(*path.T, c=np.arange(len(path)), s=14, cmap="plasma", zorder=3)
        axis.set(title=f"mode {k + 1}", xlabel="a1", ylabel="a2", aspect="equal")
        figure.colorbar(drawn, ax=axis)
    if title:
        figure.suptitle(title, fontsize=10)
    return render(figure)


def scatter(points: np.ndarray, colours: dict[str, np.ndarray], columns: int = 4) -> np.ndarray:
    """The same points in several panels, each coloured by a quantity (Karl et al. 2017, figure 3).

    Args:
      points: ``[N, 2]``.
      colours: title of a panel -> ``[N]``, values that are shown as colours.
      columns: number of panels in a row, 4 by default.

    Returns:
      The picture, uint8 ``[height, width, 3]``.
    """
    columns = min(columns, len(colours))
    rows = -(-len(colours) // columns)
    figure, axes = new_figure(3.2 * columns + 0.6, 3.0 * rows, rows, columns)
    for axis in axes.flat[len(colours) :]:
        axis.set_axis_off()
    for axis, (title, values) in zip(axes.flat, colours.items(), strict=False):
        dots = axis.scatter(*points.T, c=values, s=2, cmap="viridis")
        axis.set(title=title)
        figure.colorbar(dots, ax=axis)
    return render(figure)


def stack(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures one below another on white, side by side where the widest one leaves room.

    Args:
      pictures: uint8 ``[height, width, 3]`` each, of any sizes.
    """
    width = max(picture.shape[1] for picture in pictures)
    rows = [[]]
    for picture in pictures:
        if sum(p.shape[1] for p in rows[-1]) + picture.shape[1] > width:
            rows.append([])
        rows[-1].append(picture)
    canvases = []
    for row in rows:
        canvas = np.full((max(len(p) for p in row), width, 3), 255, np.uint8)
        left = 0
        for picture in row:
            canvas[: len(picture), left : left + picture.shape[1]] = picture
            left += picture.shape[1]
        canvases.append(canvas)
    return np.concatenate(canvases)


def captioned(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures one below another, each below its name.

    Args:
      pictures: name -> uint8 ``[height, width, 3]``, all of the same width.
    """
    strips = []
    for name, picture in pictures.items():
        figure = blank(_CAPTION, picture.shape[1])
        figure.text(0.5, 0.5, name, ha="center", va="center", fontsize=10)
        strips += [render(figure, tight=False), picture]
    return stack(strips)


def paths(panels: list[dict[str, list[np.ndarray]]], columns: int = 4) -> np.ndarray:
    """Paths in the plane, a panel per sequence (Chiappa and Paquet, figures 3, 8 and 9).

    Args:
      panels: for each sequence, name -> list of paths ``[T, 2]``; a name has the same colour in all
        panels.
      columns: number of panels in a row, 4 by default.

    Returns:
      The picture, uint8 ``[height, width, 3]``.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(3.2 * columns, 3.0 * rows, rows, columns)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        for c, (name, several) in enumerate(panel.items()):
            colour = "black" if not c else f"C{(c - 1) % 10}"
            for n, points in enumerate(several):
                label = None if n else name
                axis.plot(*points.T, "-", color=colour, lw=2.5 if not c else 1.2, label=label)
                axis.plot(*points[0], "o", color=colour, ms=4)
        axis.set(aspect="equal")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return render(figure)
