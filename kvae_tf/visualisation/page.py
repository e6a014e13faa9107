"""Pieces of a page: one HTML file without scripts, with embedded pictures, light and dark.

Whatever is given as text is escaped; what the functions give is markup.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --page: #fff; --line: #ddd; --soft: #5a5a5a;
  --good: #1a7f37; --fair: #9a6700; --bad: #b3261e; --unknown: #5a5a5a; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --page: #191919; --line: #3a3a3a; --soft: #a8a8a8; }
  .chart img { filter: invert(.9) hue-rotate(180deg); }
  .strip img { border-radius: 4px; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 72rem; margin: 1.5rem auto 4rem; padding: 0 1rem; overflow-wrap: break-word; }
h1 { line-height: 1.2; margin: 0; }
h1 + p { color: var(--soft); margin-top: .3rem; }
h2 { margin: 2.2rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.2rem 0 .3rem; }
p { max-width: 46rem; }
.label { display: inline-block; color: #fff; border-radius: 1rem; padding: .1rem .9rem;
  font-weight: 600; }
.good { background: var(--good); } .fair { background: var(--fair); }
.bad { background: var(--bad); } .unknown { background: var(--unknown); }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; text-align: left;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td:first-child { min-width: 8rem; }
.names td:first-child, code { white-space: nowrap; }
.names td:nth-child(2) { min-width: 7rem; overflow-wrap: anywhere; }
.names td:nth-child(4) { min-width: 14rem; }
.beyond td { color: var(--bad); font-weight: 600; }
figure { margin: 0 0 1.2rem; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
img { display: block; max-width: 100%; height: auto; }
.strip { overflow-x: auto; }
.strip img { min-width: 44rem; }
.grid .strip { grid-column: 1 / -1; }
.strip figcaption { position: sticky; left: 0; max-width: min(46rem, calc(100vw - 2rem)); }
.film img { width: 34rem; image-rendering: pixelated; }
.grid { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
summary { cursor: pointer; color: var(--soft); }
@media (max-width: 30rem) { .names :is(td, th):nth-child(4) { display: none; } }
@media (prefers-color-scheme: dark) { .beyond td { color: #ff8a80; } }
"""


def page(title: str, summary: str, sections: Iterable[str]) -> str:
    """The whole page.

    Args:
      title: text.
      summary: text, a line below the title.
      sections: markup.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{paragraph(summary)}"
        f"{''.join(sections)}</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A section, empty where all of its parts are.

    Args:
      title: text.
      *parts: markup.
    """
    body = "".join(parts)
    return f"<h2>{html.escape(title)}</h2>\n{body}\n" if body else ""


def heading(text: str) -> str:
    """A heading inside of a section."""
    return f"<h3>{html.escape(text)}</h3>\n"


def paragraph(text: str) -> str:
    """A paragraph, in which flags are not broken; empty where its text is."""
    words = re.sub(r"(--\w+)", r"<code>\1</code>", html.escape(text))
    return f"<p>{words}</p>\n" if text else ""


def label(text: str, kind: str) -> str:
    """A coloured label.

    Args:
      text: text.
      kind: its colour: "good", "fair", "bad" or "unknown".
    """
    return f'<p><span class="label {kind}">{html.escape(text)}</span></p>\n'


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    beyond: Sequence[bool] | None = None,
    of_names: bool = False,
) -> str:
    """A table that scrolls sideways where the page is narrow; empty without rows.

    Args:
      header: texts.
      rows: texts, one for each column.
      beyond: whether a row is marked; None: none (default).
      of_names: the first column holds names, which are not broken; False by default.
    """
    lines = list(rows)
    if not lines:
        return ""
    marks = beyond or [False] * len(lines)
    body = "\n".join(
        f"<tr{' class=beyond' if mark else ''}>{_cells('td', line)}</tr>"
        for line, mark in zip(lines, marks, strict=True)
    )
    kind = "wide names" if of_names else "wide"
    return f'<div class="{kind}"><table>\n<tr>{_cells("th", header)}</tr>\n{body}\n</table></div>\n'


def _cells(tag, texts):
    return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)


def folded(title: str, *parts: str) -> str:
    """Parts that unfold at a click; empty where all of them are.

    Args:
      title: text.
      *parts: markup.
    """
    body = "".join(parts)
    return f"<details><summary>{html.escape(title)}</summary>\n{body}</details>\n" if body else ""


def figure(data: bytes, caption: str, kind: str) -> str:
    """A picture with what one sees in it.

    Args:
      data: bytes of a PNG or a GIF.
      caption: text.
      kind: words out of "chart", which is dark on a dark page; "strip", which scrolls sideways
        where the page is narrow; "film", which is enlarged; empty: none of these.
    """
    image = "gif" if data.startswith(b"GIF") else "png"
    text = html.escape(caption)
    source = f"data:image/{image};base64,{base64.b64encode(data).decode()}"
    return (
        f'<figure class="{kind}"><img src="{source}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>\n"
    )


def grid(figures: Iterable[str]) -> str:
    """Figures side by side, one below another where the page is narrow; empty without figures."""
    body = "".join(figures)
    return f'<div class="grid">\n{body}</div>\n' if body else ""
