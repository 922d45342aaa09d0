"""A chart of the last batches, as an SVG image that is embedded in a Markdown artifact.

Both of Prefect's UIs show an SVG in a data URI; only the newer one renders Mermaid. The colours are readable
on white and on black.
"""

import base64
from collections.abc import Iterator, Sequence
from math import log1p

from pipeline.status import Batch

BATCHES = 20

_SLOT, _BAR, _HIGH, _LINE = 32, 20, 64, 18
_BLUE, _ORANGE, _GREEN, _GREY = "#4e8ef7", "#e8871e", "#1fa187", "#808080"
_PANEL = _HIGH + 2 * _LINE + 8
_KILO = 1000


def chart(batches: Sequence[Batch]) -> str:
    """Markdown for a chart of these batches, oldest first: their rows and their lag."""
    panels: list[tuple[str, str, list[float]]] = [
        ("rows added, changed or deleted", _BLUE, [sum(each.effects) for each in batches]),
        ("rows rejected", _ORANGE, [each.rejected for each in batches]),
        (
            "seconds from a batch's moment to the warehouse",
            _GREEN,
            [each.lag.total_seconds() for each in batches],
        ),
    ]
    shown = [panel for panel in panels if max(panel[2]) > 0]
    drawn = [line for number, panel in enumerate(shown) for line in _panel(number * _PANEL, *panel)]
    wide, below = BATCHES * _SLOT, len(shown) * _PANEL + _LINE
    times = dict.fromkeys(f"{batches[end].snapshot_at:%Y-%m-%d %H:%M}" for end in (0, -1))
    drawn.append(_text(0, below, f"{' to '.join(times)} UTC"))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{below + _LINE}">'
        f'<g font-family="sans-serif" font-size="12" fill="{_GREY}">{"".join(drawn)}</g></svg>'
    )
    return f"![the last batches](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _panel(top: float, title: str, colour: str, values: Sequence[float]) -> Iterator[str]:
    """A row of bars, one per batch, on a logarithmic scale."""
    yield _text(0, top + _LINE, title)
    highest, bottom = log1p(max(values)), top + 2 * _LINE + _HIGH
    for place, value in enumerate(values):
        high = _HIGH * log1p(max(0, value)) / highest
        x, y = place * _SLOT + (_SLOT - _BAR) / 2, bottom - high
        yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{_BAR}" height="{high:.1f}" fill="{colour}"/>'
        if value:
            yield _text(x + _BAR / 2, y - 3, _short(value), "middle")


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _short(value: float) -> str:
    """A number in about four characters."""
    if value < _KILO - 0.5:
        return f"{value:.0f}"
    for unit in ("k", "M", "G"):
        value /= _KILO
        if value < _KILO - 0.5:
            return f"{value:.3g}{unit}"
    return f"{value:.1g}"
