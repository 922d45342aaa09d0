"""The benchmark's arithmetic, page and plot, from made-up figures."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench import page, plot
from bench.figures import (
    AS_OF,
    BARE,
    CHANGED,
    CURRENT,
    DELETED,
    DELETIONS,
    DIMENSION,
    DLT,
    EARLIER,
    EDITS,
    EMPTY,
    FAR,
    FLOOR,
    FULL,
    INGESTR,
    KEPT,
    KEYED,
    LARGE,
    LARGE_SAME,
    MEGABYTES,
    NEAR,
    NOTHING,
    ONE_ROW,
    PIPELINE,
    READ,
    REFERENCES,
    RELEASED,
    RELINKED,
    RESTATED,
    SECONDS,
    SMALL_CHANGED,
    SMALL_NOTHING,
    TUNED,
    UNSCANNED,
    Figures,
    Key,
    targets,
)
from tests.project.bench_options import options

pytestmark = pytest.mark.campaign  # ten seconds that the suite has not


@pytest.fixture
def figures() -> Figures:
    """Figures of which the middle one is not the mean."""
    found = Figures()
    for seconds in (14.0, 10.0, 11.0):
        found.add(FULL, FLOOR, {SECONDS: seconds})
    found.add(FULL, PIPELINE, {SECONDS: 16.5, MEGABYTES: 400, "plan": 0.5, "load": 7.25})
    found.add(FULL, DLT, {SECONDS: 165})
    found.add(FULL, TUNED, {SECONDS: 33})
    found.add(FULL, KEYED, {SECONDS: 49.5})
    found.add(CHANGED, PIPELINE, {SECONDS: 4, UNSCANNED: 2})
    found.add(CHANGED, TUNED, {SECONDS: 6})
    found.add(CHANGED, KEYED, {SECONDS: 3})
    found.add(CHANGED, RELEASED, {SECONDS: 3.2})
    found.add(DELETED, PIPELINE, {SECONDS: 5})
    found.add(RELINKED, PIPELINE, {SECONDS: 5})
    found.add(DIMENSION, AS_OF, {SECONDS: 0.25})
    found.add(DIMENSION, ONE_ROW, {SECONDS: 0.05})
    found.add(NOTHING, PIPELINE, {SECONDS: 2})
    found.add(NOTHING, EMPTY, {SECONDS: 1.6})
    for who, seconds in ((BARE, 1.0), (CURRENT, 1.2), (AS_OF, 1.6)):
        found.add(READ, who, {SECONDS: seconds})
    found.add(SMALL_CHANGED, NEAR, {SECONDS: 4})
    found.add(SMALL_CHANGED, FAR, {SECONDS: 7})
    found.add(SMALL_NOTHING, NEAR, {SECONDS: 2})
    found.add(SMALL_NOTHING, FAR, {SECONDS: 4})
    found.add(LARGE, PIPELINE, {MEGABYTES: 480})
    found.add(LARGE_SAME, PIPELINE, {UNSCANNED: 2.2})
    return found


def test_what_is_reached_and_what_is_not(figures: Figures) -> None:
    reached = {
        (target.ours, target.theirs and target.theirs.who): (target.ratio(figures), target.met(figures))
        for target in targets(5_000_000, 20_000_000)
    }
    full, changed = Key(FULL, PIPELINE), Key(CHANGED, PIPELINE)
    assert reached == {
        (full, FLOOR): (1.5, True),
        (full, DLT): (10, True),
        (full, TUNED): (2, False),
        (full, KEYED): (3, False),
        (changed, DLT): (None, None),
        (changed, TUNED): (1.5, True),
        (changed, KEYED): (0.75, False),
        (changed, RELEASED): (1.25, False),
        (Key(DELETED, PIPELINE), PIPELINE): (1.25, True),
        (Key(RELINKED, PIPELINE), PIPELINE): (1.25, False),
        (Key(NOTHING, PIPELINE), EMPTY): (1.25, True),
        (Key(RESTATED, PIPELINE), PIPELINE): (None, None),
        (Key(READ, CURRENT), BARE): (1.2, True),
        (Key(READ, AS_OF), BARE): (1.6, False),
        (Key(DIMENSION, AS_OF), None): (0.25, True),
        (Key(DIMENSION, ONE_ROW), None): (0.05, False),
        (Key(FULL, PIPELINE, MEGABYTES), None): (400, True),
        (Key(LARGE, PIPELINE, MEGABYTES), None): (480, True),
        (Key(LARGE, PIPELINE, MEGABYTES), PIPELINE): (1.2, False),
        (Key(LARGE_SAME, PIPELINE, UNSCANNED), PIPELINE): (1.1, True),
        (Key(SMALL_CHANGED, FAR), NEAR): (1.75, True),
        (Key(SMALL_NOTHING, FAR), NEAR): (2.0, False),
    }


def test_the_page_says_so(figures: Figures) -> None:
    text = page.rendered(figures, options(missing="dlt is not installed"), {"memory": "8 GiB"})
    for row in (
        "| first full load, everything included | 16.5 s | floor 11.0 s | 1.50 × | ≤ 1.5 × | yes |",
        "| the same | 16.5 s | dlt, tuned 33.0 s | 2.00 × faster | ≥ 6 × faster | **no** |",
        "| 1% of rows changed | 4.00 s | dlt as documented - |  | ≥ 1.5 × faster | dlt is not installed |",
        "| the same | 4.00 s | dlt, tuned and keyed 3.00 s | 1.33 × slower | ≥ 1.5 × faster | **no** |",
        "| far away: a working day of a small shop | 7.00 s | near 4.00 s | 1.75 × | ≤ 1.5 × + 2 s | yes |",
        "| peak memory, 20 million rows | 480 MB |  |  | ≤ 500 MB | yes |",
        "| first full load | 0.50 | 7.25 |",
        "| first full load | floor | seconds | 14.0 10.0 11.0 | 11.0 |",
        "| memory | 8 GiB |",
    ):
        assert row in text.splitlines()


def test_what_programs_keep_stands_beside_their_seconds(figures: Figures) -> None:
    figures.add(FULL, INGESTR, {SECONDS: 50})
    figures.add(KEPT, INGESTR, {EARLIER: 0.0, DELETIONS: 0.0, EDITS: 1.0, REFERENCES: 0.0})
    lines = page.kept(figures).splitlines()
    assert lines[0].endswith("| history | deletions | silent edits | references | one snapshot |")
    assert "| ingestr | copies of tables | 50.0 s | - | - | **no** | **no** | yes | **no** | - |" in lines
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        f"| {who}" for who in (PIPELINE, DLT, TUNED, KEYED, INGESTR)
    ]


def test_the_plot_has_a_bar_for_each(figures: Figures) -> None:
    drawn = ET.fromstring(plot.drawn(figures))  # noqa: S314  our own
    name = "{http://www.w3.org/2000/svg}"
    said = [text.text for text in drawn.iter(f"{name}text")]
    widths = [float(bar.get("width", "")) for bar in drawn.iter(f"{name}rect")]
    assert said[:3] == ["first full load, seconds", "floor", "11.0"]
    assert len(widths) == 10
    assert widths[0] / widths[4] == pytest.approx(11 / 165, rel=0.01)
