"""Save matplotlib figures as files, or put them into pages as SVG that follows the page's theme.

Figures are drawn in the colors of the light theme of `templates/style.css`. In a page, each color
becomes the variable of that color, so that one chart reads well in light and dark and in print.
"""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gasmcast.files import atomic_path

__all__ = ["BAR", "GOOD", "INK", "LINE", "MARK", "MUTED", "SOFT_BAR", "inline_svg", "save_figure"]

# The same values as in `:root` of templates/style.css.
INK, MUTED, LINE = "#1b1f24", "#56606b", "#d8dde3"
BAR, SOFT_BAR, MARK, GOOD = "#3f6fb5", "#9fb8d8", "#d9480f", "#12713b"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    BAR: "--bar",
    SOFT_BAR: "--soft-bar",
    MARK: "--mark",
    GOOD: "--good",
}

_PX_PER_INCH = 96
_numbers = itertools.count(1)


def inline_svg(figure: Figure, label: str, *, wide: bool = False) -> Markup:
    """Return a figure as an SVG element for a page.

    Args:
        figure: drawn in the colors of this module.
        label: one sentence for screen readers, and the tooltip's place.
        wide: keep the figure's width on a phone, where the page then scrolls it sideways; a figure
            of small width shrinks instead.
    """
    _theme(figure)
    text = io.StringIO()
    # Text stays text: it is small, can be searched, and takes the font of the page.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]

    # Ids are unique in a page only with the number of the figure.
    prefix = f"f{next(_numbers)}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(url\(#|xlink:href="#)', rf"\1{prefix}", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")

    # The size is a limit in CSS, and the view box keeps the proportions.
    width_px = figure.get_figwidth() * _PX_PER_INCH
    view_box = re.search(r'viewBox="[^"]+"', svg)
    assert view_box  # matplotlib always writes one
    size = f"width:100%;max-width:{width_px:.0f}px"
    if wide:
        size += f";min-width:{min(width_px, 640):.0f}px"
    head = f'<svg role="img" aria-label="{escape(label)}" {view_box.group()} style="{size}"'
    head += ' xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(head + svg[svg.index(">") + 1 :])  # noqa: S704 - matplotlib escapes its texts


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a picture file; the suffix says the format."""
    _theme(figure)
    # The canvas is attached by hand, because pyplot would look for a display.
    FigureCanvasAgg(figure)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=110, format=path.suffix[1:])


def _theme(figure: Figure) -> None:
    """Give frame, ticks and texts the colors of the theme."""
    for axes in figure.axes:
        _theme_axes(axes)


def _theme_axes(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=INK, which="both")
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(MUTED)
    axes.title.set_color(INK)

    legend = axes.get_legend()
    if legend is not None:
        for text in legend.get_texts():
            text.set_color(INK)
