"""Dates and times arrive exactly, those beyond Python included."""

from __future__ import annotations

import pytest

from tests.source.reading import printed, stored

FAR_AWAY: list[tuple[str, list[str], list[str]]] = [
    (
        "date",
        [
            "infinity",
            "-infinity",
            "0044-03-15 BC",
            "20223-01-01",
            "4713-01-01 BC",
            "5874897-12-31",
            "2024-02-29",
        ],
        [
            "infinity",
            "-infinity",
            "0044-03-15 (BC)",
            "20223-01-01",
            "4713-01-01 (BC)",
            "5874897-12-31",
            "2024-02-29",
        ],
    ),
    (
        "timestamp",
        [
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00.5 BC",
            "20223-01-01 01:02:03.000004",
            "294246-12-31 23:59:59",
        ],
        [
            "infinity",
            "-infinity",
            "0044-03-15 (BC) 12:00:00.5",
            "20223-01-01 01:02:03.000004",
            "294246-12-31 23:59:59",
        ],
    ),
    (
        "timestamptz",
        [
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00.5+00 BC",
            "20223-01-01 01:02:03+00",
            "2024-01-01 00:00:00+02",
        ],
        [
            "infinity",
            "-infinity",
            "0044-03-15 (BC) 12:00:00.5+00",
            "20223-01-01 01:02:03+00",
            "2023-12-31 22:00:00+00",
        ],
    ),
    ("time", ["24:00:00", "12:00:00"], ["24:00:00", "12:00:00"]),
]


@pytest.mark.parametrize(("type_", "written", "expected"), FAR_AWAY, ids=[case[0] for case in FAR_AWAY])
def test_dates_and_times_that_python_lacks_arrive(
    types_url: str, type_: str, written: list[str], expected: list[str]
) -> None:
    assert [value for value, _ in printed(stored(types_url, type_, written))] == expected
