"""Draw rows of boxes and arrows between them as SVG.

Only the standard library is used, and the same description always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

__all__ = ["Arrow", "Box", "Picture", "draw"]

CHARACTER = 7.2  # width of a character at 13 px, in px
LINE = 17
PADDING = 12
GAP_X, GAP_Y = 26, 44
MARGIN = 20
FILLS = {"data": "#e8eef7", "step": "#ffffff", "file": "#fdf3dc", "check": "#e4f3e6"}
LEGEND = {"data": "data", "step": "computation", "file": "file or folder", "check": "check"}


@dataclass(frozen=True)
class Box:
    """A box: its first line is bold, `kind` is a key of `FILLS`."""

    key: str
    lines: tuple[str, ...]
    kind: str = "step"

    @property
    def width(self) -> int:
        """Width in px."""
        return round(max(map(len, self.lines)) * CHARACTER) + 2 * PADDING

    @property
    def height(self) -> int:
        """Height in px."""
        return len(self.lines) * LINE + PADDING


@dataclass(frozen=True)
class Arrow:
    """An arrow between two boxes, optionally with a label; dashed if the step is optional."""

    start: str
    end: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Picture:
    """Rows of boxes and the arrows between them."""

    title: str
    rows: tuple[tuple[Box, ...], ...]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class _Place:
    x: int
    y: int
    box: Box

    @property
    def center(self) -> int:
        return self.x + self.box.width // 2


def draw(picture: Picture) -> str:
    """Return a picture as SVG."""
    places, width, height = _layout(picture)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"',
        'role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(picture.title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"',
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#556"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#fafbfc"/>',
    ]

    # Arrows first, so that boxes cover their ends.
    for arrow in picture.arrows:
        parts.extend(_arrow(places[arrow.start], places[arrow.end], arrow))

    for place in places.values():
        parts.extend(_box(place))
    parts.extend(_legend(picture, height))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _layout(picture: Picture) -> tuple[dict[str, _Place], int, int]:
    """Center each row; return the places of the boxes, and width and height of the picture."""
    widths = [sum(box.width for box in row) + GAP_X * (len(row) - 1) for row in picture.rows]
    width = max(*widths, 480) + 2 * MARGIN

    places: dict[str, _Place] = {}
    y = MARGIN
    for row, row_width in zip(picture.rows, widths, strict=True):
        x = (width - row_width) // 2
        tallest = max(box.height for box in row)
        for box in row:
            places[box.key] = _Place(x, y + (tallest - box.height) // 2, box)
            x += box.width + GAP_X
        y += tallest + GAP_Y
    return places, width, y - GAP_Y + MARGIN + LINE + 8


def _arrow(start: _Place, end: _Place, arrow: Arrow) -> Iterator[str]:
    if start.y + start.box.height <= end.y:
        # Downwards; leave and enter as near to a straight line as the boxes allow.
        x1, y1 = _toward(start, end.center), start.y + start.box.height
        x2, y2 = _toward(end, x1), end.y - 2
    else:
        # Within a row, from side to side.
        right = start.x < end.x
        x1 = start.x + (start.box.width if right else 0)
        x2 = end.x - 2 if right else end.x + end.box.width + 2
        y1, y2 = start.y + start.box.height // 2, end.y + end.box.height // 2

    dash = ' stroke-dasharray="5 4"' if arrow.dashed else ""
    yield (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#556" stroke-width="1.5"{dash} '
        'marker-end="url(#tip)"/>'
    )

    # The label stands to the right of the middle of the arrow.
    if arrow.label:
        x, y = (x1 + x2) // 2 + 8, (y1 + y2) // 2 + 4
        yield f'<text x="{x}" y="{y}" fill="#556" font-size="12">{escape(arrow.label)}</text>'


def _toward(place: _Place, x: int) -> int:
    """Return the x within a box that is nearest to `x`."""
    inset = min(16, place.box.width // 2)
    return min(max(x, place.x + inset), place.x + place.box.width - inset)


def _box(place: _Place) -> Iterator[str]:
    box = place.box
    yield (
        f'<rect x="{place.x}" y="{place.y}" width="{box.width}" height="{box.height}" rx="6" '
        f'fill="{FILLS[box.kind]}" stroke="#8a94a6"/>'
    )

    # The first line is the name, the others explain it.
    for number, line in enumerate(box.lines):
        weight = ' font-weight="600"' if number == 0 else ""
        y = place.y + PADDING // 2 + LINE * number + 13
        yield (
            f'<text x="{place.center}" y="{y}" text-anchor="middle" fill="#1d2430"{weight}>'
            f"{escape(line)}</text>"
        )


def _legend(picture: Picture, height: int) -> Iterator[str]:
    used = {box.kind for row in picture.rows for box in row}
    x = MARGIN

    # Only kinds that the picture has, in the order of `FILLS`.
    for kind in (kind for kind in FILLS if kind in used):
        y = height - MARGIN - 4
        yield (
            f'<rect x="{x}" y="{y}" width="14" height="14" rx="3" fill="{FILLS[kind]}" '
            'stroke="#8a94a6"/>'
        )
        yield (
            f'<text x="{x + 20}" y="{y + 12}" fill="#556" font-size="12">'
            f"{escape(LEGEND[kind])}</text>"
        )
        x += 40 + round(len(LEGEND[kind]) * CHARACTER)
