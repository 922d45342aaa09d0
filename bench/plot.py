"""The figures as bars, in an SVG that reads well on white and on black."""

from __future__ import annotations

from html import escape

from bench.figures import CHANGED, DLT, EMPTY, FLOOR, FULL, KEYED, NOTHING, PIPELINE, TUNED, Figures, Key

_GROUPS = (
    (FULL, (FLOOR, PIPELINE, TUNED, KEYED, DLT)),
    (CHANGED, (PIPELINE, TUNED, KEYED, DLT)),
    (NOTHING, (EMPTY, PIPELINE)),
)
_WIDTH, _LABELS, _NUMBERS = 720, 150, 80
_LINE, _BAR, _GAP = 26, 16, 22
_STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .head { font-weight: 600 }
  rect { fill: #8c959f }
  .pipeline { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .pipeline { fill: #4493f8 }
  }
"""


def drawn(figures: Figures) -> str:
    """The SVG; work that was not measured is left out."""
    parts, y = [], 0
    for work, contenders in _GROUPS:
        measured = {who: seconds for who in contenders if (seconds := figures.median(Key(work, who)))}
        if measured:
            parts.append(f'<text class="head" x="0" y="{y + _BAR}">{escape(work)}, seconds</text>')
            parts.extend(_bars(measured, y + _LINE))
            y += _LINE * (1 + len(measured)) + _GAP
    size = f'width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}"'
    title = "Seconds per program; less is better"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{title}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])


def _bars(measured: dict[str, float], top: int) -> list[str]:
    """A line each: name, bar, number."""
    longest = max(measured.values())
    lines = []
    for number, (who, seconds) in enumerate(measured.items()):
        y = top + number * _LINE
        width = max(1.0, (_WIDTH - _LABELS - _NUMBERS) * seconds / longest)
        lines.append(f'<text x="0" y="{y + _BAR - 3}">{escape(who)}</text>')
        lines.append(
            f'<rect class="{escape(who.split(",")[0].replace(" ", "-"))}" x="{_LABELS}" y="{y}"'
            f' width="{width:.1f}" height="{_BAR}" rx="3"/>'
        )
        lines.append(f'<text x="{_LABELS + width + 8:.1f}" y="{y + _BAR - 3}">{seconds:.1f}</text>')
    return lines
