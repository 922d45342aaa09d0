"""``make status``: its output for people and for Prometheus, and its exit status."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import tasks.status
from pipeline import RELEASE
from pipeline.status import RejectedRows, Status
from tests.flows.support import World, figures, query


@pytest.fixture
def command(call: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """A function that calls ``make status`` in a world; its errors, and what it prints."""

    def make_status(world: World, *arguments: str, status: int) -> list[str]:
        world.save_blocks()
        return call(tasks.status.main, world, *arguments, status=status)

    return make_status


def test_the_status_shows_age_and_rows(kiosk: World, command: Callable[..., list[str]]) -> None:
    assert command(kiosk, status=2)[0].startswith("CRITICAL: nothing has been loaded yet")
    moment = kiosk.run().reports[0].snapshot_at
    lines = command(kiosk, status=0)
    assert lines[0].startswith(f"OK: the warehouse is as of {moment:%Y-%m-%d %H:%M:%S} UTC, ")
    assert lines[2] == "Pending in the source: nothing"
    assert "Changed rows: found by scanning every table, because they are small" in lines
    assert lines[-1] == f"Release {RELEASE}"
    assert re.search(r"^  raw +\d+ +[\d.]+ (bytes|kB)$", "\n".join(lines), re.MULTILINE)
    query(kiosk.source_url, "INSERT INTO sale VALUES (4, 9, now(), 1), (5, 1, now(), NULL)")
    pending = command(kiosk, status=0)
    assert pending[2] == "Pending in the source: 2 rows of sale; nothing new in 1 other table"
    quick = command(kiosk, "--quick", status=0)
    assert quick[2] == "Pending in the source: not counted"
    assert "Buckets" not in quick
    assert command(kiosk, "--max-age", "0", status=2)[0].startswith("CRITICAL: the warehouse is as of")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    rejected = command(kiosk, status=1)
    assert re.search("^WARNING: .* behind the source; rejected rows: 2$", rejected[0])
    assert "  fact_sale      1   item_id is not in dim_item" in rejected


REJECT = """
    INSERT INTO etl.rejected (schema_name, table_name, key, reason, "row", waits, first_batch, last_batch)
    SELECT 'public', 'fact_sale', jsonb_build_object('sale_id', n), {reason}, '{{}}', false, 'b', 'b'
    FROM generate_series(100, 100 + {rows} - 1) AS n
"""


def test_status_shows_the_reasons_that_most_rows_have(
    kiosk: World, command: Callable[..., list[str]]
) -> None:
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    query(kiosk.warehouse_url, REJECT.format(reason="'reason ' || greatest(n, 105)", rows=31))
    lines = command(kiosk, "--quick", status=1)
    heading = lines.index("Rejected, in etl.rejected; 6 more reasons not shown")
    assert lines[heading + 2] == "  fact_sale      6   reason 105"
    assert len([line for line in lines[heading + 2 :] if line.startswith("  ")]) == 20


def test_the_status_shows_no_values_and_no_control_characters(
    kiosk: World, command: Callable[..., list[str]]
) -> None:
    """Neither of rows that this version rejected, nor of those whose reasons an earlier one wrote."""
    query(kiosk.source_url, "INSERT INTO sale SELECT n, 1000 + n, now(), 1 FROM generate_series(10, 12) AS n")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    earlier = r"E'sold_on: Ann\x1b[2J\nOK: does not fit date does not fit date; units: 9 is not in x'"
    query(kiosk.warehouse_url, REJECT.format(reason=earlier, rows=1))
    lines = command(kiosk, "--quick", status=1)
    assert "  fact_sale      3   item_id is not in dim_item" in lines
    assert "  fact_sale      1   sold_on: see its row in etl.rejected" in lines
    query(kiosk.warehouse_url, r"UPDATE etl.rejected SET reason = E'\x1b[2J\nOK: all is well'")
    assert r"  fact_sale      4   \x1b[2J\nOK: all is well" in command(kiosk, "--quick", status=1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3659, "1 h 0 min"),
        (172_799, "47 h 59 min"),
        (172_800, "2 days"),
    ],
)
def test_ages_are_shown_in_their_largest_units(seconds: int, words: str) -> None:
    assert tasks.status.in_words(timedelta(seconds=seconds)) == words


def test_a_source_whose_clock_has_gone_back_is_critical(capsys: pytest.CaptureFixture[str]) -> None:
    """The age of the warehouse is not known then."""
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    for minutes, verdict, words in (
        (1, tasks.status.Verdict.OK, "0 s behind the source"),
        (29, tasks.status.Verdict.OK, "29 min ahead of the source's clock, which has gone back; set it"),
        (31, tasks.status.Verdict.CRITICAL, "31 min ahead of the source's clock"),
    ):
        found = Status(at, up_to_date_at=at + timedelta(minutes=minutes))
        assert tasks.status.judge(found, timedelta(minutes=30)) == verdict
        tasks.status.show(found, verdict)
        assert words in capsys.readouterr().out


def test_wrong_arguments_have_the_status_unknown(kiosk: World, command: Callable[..., list[str]]) -> None:
    assert "--max-age" in command(kiosk, "--max-age", "soon", status=3)[-1]
    assert command(kiosk, "--help", status=0)


def test_an_unreachable_service_is_one_line_with_the_status_unknown(
    kiosk: World, command: Callable[..., list[str]], without_retries: None
) -> None:
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    gone = re.sub(r":\d+/", ":1/", kiosk.source_url)
    (line,) = command(replace(kiosk, source_url=gone), status=3)
    assert line.startswith("UNKNOWN: source: cannot be reached")
    (line,) = command(kiosk, "--environment", "elsewhere", status=3)
    assert "elsewhere-totesys-source" in line
    error, *exposition = command(replace(kiosk, source_url=gone), "--prometheus", status=3)
    assert error.startswith("UNKNOWN: source: cannot be reached")
    assert figures("\n".join(exposition) + "\n") == {"totesys_status": {"": 3}}


@pytest.mark.campaign
def test_the_status_has_a_prometheus_format(kiosk: World, command: Callable[..., list[str]]) -> None:
    query(kiosk.source_url, "INSERT INTO sale VALUES (4, 9, now(), 1), (5, 1, now(), NULL)")
    moment = kiosk.run().reports[0].snapshot_at
    query(kiosk.source_url, "UPDATE item SET price = price + 1")
    found = figures("\n".join(command(kiosk, "--prometheus", status=1)) + "\n")
    assert found["totesys_status"] == {"": 1}
    assert found["totesys_up_to_date_timestamp_seconds"] == {"": moment.timestamp()}
    assert found["totesys_source_rows_pending"] == {"": 3}
    assert found["totesys_rows_rejected"] == {"fact_sale": 2}
    assert found["totesys_last_batch_rows"] == {"added": 6, "changed": 0, "deleted": 0, "rejected": 2}
    assert found["totesys_batch_sealed"] == {"": 0}
    assert set(found["totesys_bucket_objects"]) == {"raw", "processed"}
    assert all(value > 0 for value in found["totesys_bucket_bytes"].values())


def test_names_of_tables_are_safe_as_labels() -> None:
    """A line break in one would make a sample of its own; a terminal obeys escapes."""
    aside = RejectedRows(table='a"\x1b[2J\ntotesys_status 0', reason="", rows=1, first_batch="")
    found = Status(datetime.now(UTC), rejected=(aside,))
    text = tasks.status.exposition(found, tasks.status.Verdict.WARNING, "")
    (line,) = [line for line in text.splitlines() if line.startswith("totesys_rows_rejected")]
    assert line == (r'totesys_rows_rejected{environment="",table="a\"\\x1b[2J\\ntotesys_status 0"} 1.0')
    assert figures(text)["totesys_status"] == {"": 1}
