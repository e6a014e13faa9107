"""Errors of hidden frames: a table, and curves beside the last frame and what is possible."""

from __future__ import annotations

from collections.abc import Mapping

from kvae_tf import evaluation
from kvae_tf.studies import bayes_floor
from kvae_tf.visualisation import charts, images, page

_METHODS = {
    "smooth": "smoothing",
    "filter": "filtering",
    "last_frame": "last frame repeated",
    "generate": "generating",
}
# Group of metrics -> name of its horizontal axis, that axis in words, what is hidden.
CURVES = {
    "missing_at_random": (
        "rates",
        "share of frames that are hidden",
        "Frames hidden at random: errors against their share.",
    ),
    "gap": (
        "frames",
        "frames hidden in a row",
        "Frames hidden in a row: errors against their number.",
    ),
}


def parts(
    metrics: Mapping[str, object], settings: Mapping[str, object], is_vector: bool
) -> list[str]:
    """A table and two charts, as markup; empty where no frames were filled in.

    Args:
      metrics: what ``metrics.json`` says.
      settings: what ``settings.json`` says, to know for which world a least error is known.
      is_vector: whether the data are vectors.
    """
    table = _error_table(metrics, is_vector)
    figures, tables = [], []
    for group, (x_name, x_label, caption) in CURVES.items():
        x = metrics.get(f"{group}/{x_name}")
        lines = {
            method: metrics[f"{group}/{method}"]
            for method in _METHODS
            if _is_list(metrics.get(f"{group}/{method}"), x)
        }
        if not x or not lines:
            continue
        # Of a gap up to the end, generating is filtering.
        drawn = {m: y for m, y in lines.items() if m == "filter" or y != lines.get("filter")}
        floors, known_modes = _references(settings, group, x)
        if floors:
            caption += (
                " Dashed: the least error possible, of one who knows the simulator exactly. "
                "Dotted: a linear Gaussian smoother that knows the true modes."
            )
        spreads = {m: metrics.get(f"{group}/{m}_se") for m in drawn}
        picture = charts.curves(
            x,
            _named(drawn),
            _named({m: se for m, se in spreads.items() if _is_list(se, x)}),
            dashed=_named(floors),
            dashed_name="least possible",
            dotted=_named(known_modes),
            dotted_name="linear, modes known",
            x_label=x_label,
            y_label="fraction of incorrect pixels",
            log=True,
        )
        caption += " Bars are standard errors. A pixel is incorrect on the other side of 0.5."
        figures.append(page.figure(images.encode_png(picture), caption, "chart"))
        rows = {_METHODS[m]: _with_errors(y, spreads.get(m)) for m, y in lines.items()}
        for reference, name in ((floors, "least possible"), (known_modes, "linear, modes known")):
            rows |= {
                f"{_METHODS[m]} ({name})": ["" if y != y else f"{y:.4f}" for y in ys]
                for m, ys in reference.items()
            }
        tables += [
            page.paragraph(caption.partition(".")[0] + "."),
            page.table(
                (x_label, *(f"{at:g}" for at in x)),
                [(name, *cells) for name, cells in rows.items()],
            ),
        ]
    return [table, page.grid(figures), page.folded("The numbers of the curves", *tables)]


def _named(lines):
    return {_METHODS[method]: values for method, values in lines.items()}


def _is_list(values, x):
    return isinstance(values, list) and isinstance(x, list) and len(values) == len(x)


def _with_errors(values, errors):
    if not _is_list(errors, values):
        return [f"{value:.4f}" for value in values]
    return [f"{value:.4f} ± {error:.4f}" for value, error in zip(values, errors, strict=True)]


def _references(settings, group, x):
    """The least errors, and those of smoothing by a linear Gaussian model that knows the modes."""
    world = settings.get("dataset")
    if not isinstance(world, str) or settings.get("draw_walls") or settings.get("path_frames"):
        return {}, {}
    known_modes = bayes_floor.known_modes(world, group, x)
    # Filtering would know of bounces to come.
    known_modes = {"smooth": known_modes["smooth"]} if known_modes else {}
    return bayes_floor.floor(world, group, x), known_modes


def _error_table(metrics, is_vector):
    """Root mean squared errors of each method, and as shares of those of the last frame held."""
    ending = "_rmse"
    methods = [
        name.removeprefix("imputation/").removesuffix(ending)
        for name in metrics
        if name.startswith("imputation/") and name.endswith(ending)
    ]
    if not methods:
        return ""
    hidden = metrics.get("imputation/hidden_frames")
    of = f"frames {hidden[0]} to {hidden[1]}" if _is_list(hidden, [0, 0]) else "the middle frames"
    header = ["method", "RMSE", "of the last frame's"]
    middle = metrics.get("verdict/last_frame")
    entry = "an entry" if is_vector else "a pixel in [0, 1]"
    note = f"Root mean squared error (RMSE) of {entry}, {of} hidden"
    if middle is not None:
        header += ["RMSE, moving pixels", "of the last frame's"]
        note += (
            "; and of the pixels that change within a sequence, as a share of their standard "
            f"deviation, in the middle of a gap of {evaluation.verdict.GAP}"
        )
    rows = []
    for method in methods:
        cells = _beside(
            metrics[f"imputation/{method}{ending}"],
            metrics.get("imputation/last_frame_rmse"),
            ".4f",
        )
        if middle is not None:
            number = {"last_frame": "last_frame", "filter": "filtering"}.get(method, "smoothing")
            cells += _beside(metrics.get(f"verdict/{number}"), middle, ".0%")
        rows.append((_METHODS.get(method, method), *cells))
    return page.table(header, rows) + page.paragraph(f"{note}.")


def _beside(value, reference, form):
    """A number, and its share of another one."""
    if value is None or isinstance(value, list):
        return ["", ""]
    share = f"{value / reference:.0%}" if reference and not isinstance(reference, list) else ""
    return [format(value, form).replace("%", " %"), share.replace("%", " %")]
