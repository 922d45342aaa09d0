"""The page's charts, as figures that plotly.js draws; their colours fit light and dark pages."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import plotly.graph_objects as go
from plotly.utils import PlotlyJSONEncoder

from dashboard.filters import Period

COLOURS = ("#6366f1", "#14b8a6", "#f59e0b", "#ec4899", "#0ea5e9", "#84cc16", "#a855f7", "#f97316")
_DAYS_BY_DAY, _DAYS_BY_WEEK = 45, 700
_LONGEST_NAME = 26
_MOST_BARS = 8
_FEW_LABELS = 4


@dataclass(frozen=True)
class Chart:
    """A chart with its title; ``spec`` is empty if there is nothing to draw."""

    title: str
    note: str
    spec: str
    height: int = 280


def colour(currency: str, currencies: Sequence[str]) -> str:
    """The colour of a currency, the same on all charts."""
    place = currencies.index(currency) if currency in currencies else len(currencies)
    return COLOURS[place % len(COLOURS)]


def trend(
    title: str, amounts: Mapping[str, Mapping[date, Decimal]], period: Period, currencies: Sequence[str]
) -> Chart:
    """Amounts over time, a line for each currency, by day, week or month."""
    unit, starts = _buckets(period)
    traces: list[go.Scatter] = []
    for currency, by_day in amounts.items():
        sums = dict.fromkeys(starts, Decimal(0))
        for day, amount in by_day.items():
            sums[_start(day, unit, period)] += amount
        traces.append(_line(currency, sums, colour(currency, currencies), filled=len(amounts) == 1))
    has_rows = any(amounts.values())
    return Chart(title, f"per {unit}", _spec(traces) if has_rows else "")


def _line(name: str, sums: Mapping[date, Decimal], shade: str, *, filled: bool) -> go.Scatter:
    return go.Scatter(
        x=list(sums),
        y=[float(amount) for amount in sums.values()],
        name=name,
        mode="lines" if len(sums) > 1 else "markers",
        line={"color": shade, "width": 2.5, "shape": "spline", "smoothing": 0.3},
        fill="tozeroy" if filled else None,
        fillcolor=f"{shade}26" if filled else None,
        hovertemplate=f"{html.escape(name)} %{{y:,.0f}}<extra></extra>",
    )


def bars(title: str, amounts: Mapping[str, Mapping[str, Decimal]], currencies: Sequence[str]) -> Chart:
    """Horizontal bars of the largest names, one for each currency, as ``amounts[name][currency]``."""
    largest = sorted(amounts, key=lambda name: max(amounts[name].values(), default=Decimal(0)), reverse=True)
    kept = largest[:_MOST_BARS][::-1]
    found = [each for each in currencies if any(each in amounts[name] for name in kept)]
    traces = [
        go.Bar(
            y=[_short(name) for name in kept],
            x=[float(amounts[name].get(currency, 0)) for name in kept],
            name=currency,
            orientation="h",
            marker={"color": colour(currency, currencies), "cornerradius": 4},
            hovertemplate=f"%{{y}}: {html.escape(currency)} %{{x:,.0f}}<extra></extra>",
        )
        for currency in found[::-1]
    ]
    height = max(220, 80 + len(kept) * (16 + 11 * max(1, len(found))))
    axis = {"ticksuffix": "  ", "automargin": True, "fixedrange": True, "showgrid": False}
    spec = _spec(traces, hovermode="closest", yaxis=axis, legend_traceorder="reversed") if kept else ""
    return Chart(title, f"the largest {_MOST_BARS}" if len(largest) > _MOST_BARS else "", spec, height)


def columns(
    title: str,
    note: str,
    labels: Sequence[object],
    series: Mapping[str, Sequence[float]],
    shades: Sequence[str],
    *,
    is_log: bool = False,
) -> Chart:
    """Vertical bars beside each other, one for each series; ``is_log`` for sizes that differ widely."""
    traces = [
        go.Bar(
            x=list(labels),
            y=list(values),
            name=name,
            marker={"color": shade, "cornerradius": 4},
            hovertemplate=f"{html.escape(name)} %{{y:,.4~r}}<extra></extra>",
        )
        for (name, values), shade in zip(series.items(), shades, strict=False)
    ]
    layout: dict[str, object] = {"yaxis_type": "log"} if is_log else {}
    if len(labels) < _FEW_LABELS:
        layout["bargap"] = 0.7
    return Chart(
        title, note, _spec(traces, xaxis_showgrid=False, xaxis_type="category", **layout) if labels else ""
    )


def _spec(traces: Iterable[go.Scatter | go.Bar], **layout: object) -> str:
    figure = go.Figure(list(traces))
    figure.update_layout(
        template="none",
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        hovermode="x unified",
        bargap=0.3,
        bargroupgap=0.08,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"automargin": True, "fixedrange": True},
        yaxis={"automargin": True, "fixedrange": True, "rangemode": "tozero"},
    )
    figure.update_layout(**layout)
    value_axis = "xaxis" if any(trace.orientation == "h" for trace in figure.data) else "yaxis"
    figure.update_layout({value_axis: {"tickformat": _tick_format(figure, value_axis)}})
    figure.update_layout(showlegend=len(figure.data) > 1)
    return json.dumps(figure.to_plotly_json(), cls=PlotlyJSONEncoder)


def _tick_format(figure: go.Figure, axis: str) -> str:
    """Thousands and millions with their letters; small numbers as they are, not as thousandths."""
    values = (value for trace in figure.data for value in getattr(trace, axis[0]) or ())
    return "~s" if max(values, default=0) >= 1000 else ",~r"  # noqa: PLR2004  a letter's least value


def _short(name: str) -> str:
    """A name for an axis; plotly reads simple HTML in it."""
    return html.escape(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")


def _buckets(period: Period) -> tuple[str, list[date]]:
    """The unit of time of a chart, and the first day of each of its buckets."""
    unit = "day" if period.days <= _DAYS_BY_DAY else "week" if period.days <= _DAYS_BY_WEEK else "month"
    days = (period.since + timedelta(number) for number in range(period.days))
    return unit, list(dict.fromkeys(_start(day, unit, period) for day in days))


def _start(day: date, unit: str, period: Period) -> date:
    """The first day of a day's bucket; the first bucket begins with the period."""
    start = day
    if unit == "week":
        start = day - timedelta(day.weekday())
    elif unit == "month":
        start = day.replace(day=1)
    return max(start, period.since)
