"""A check that fails stops a run in one line; one that warns is in report, event and status."""

from __future__ import annotations

import sys

import pytest

from flows.rebuild import rebuild
from tasks import status
from tests.flows.support import World, query, words_of
from tests.flows.test_watching import events

CHECK = """\
-- check: {}
-- Nobody buys more than ten pieces.
SELECT sale_id, pieces FROM new_fact_sale WHERE pieces > 10
"""


@pytest.mark.campaign
def test_checks_fail_and_warn(
    kiosk: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    (kiosk.transforms / "checks").mkdir()
    path = kiosk.transforms / "checks" / "pieces.sql"
    query(kiosk.source_url, "UPDATE sale SET pieces = 11 WHERE sale_id = 2")

    path.write_text(CHECK.format("fail").replace("pieces >", "\npeaces >"), encoding="utf-8")
    assert 'pieces.sql:4: column "peaces" does not exist' in words_of(kiosk.run().error)
    path.write_text(CHECK.format("fail"), encoding="utf-8")
    words = "check pieces: 1 row: Nobody buys more than ten pieces; the first: sale_id 2, pieces 11; nothing"
    for _ in range(2):
        assert words in words_of(kiosk.run().error)

    path.write_text(CHECK.format("warn"), encoding="utf-8")
    run = kiosk.run()
    (report,) = run.reports
    assert "Warning: check pieces: 1 row: Nobody buys more than ten pieces." in report.remarks
    (event,) = events(run, "totesys.checks.warned", 1)
    assert event["payload"] == {"batch_id": report.batch_id, "rows": 1, "checks": {"pieces": 1}}
    monkeypatch.setattr(sys, "argv", ["status", "--quick"])
    with kiosk.entered():
        assert status.main() == status.Verdict.WARNING
    assert "checks that warn: 1" in capsys.readouterr().out

    path.write_text(CHECK.format("fail"), encoding="utf-8")
    query(kiosk.warehouse_url, "DROP SCHEMA public, etl CASCADE; CREATE SCHEMA public")
    with kiosk.entered():
        assert len(rebuild()) == 2, "a rebuild runs no checks"
