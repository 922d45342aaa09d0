"""Runs log the texts by which `infra/alarms.tf` recognises success and failure."""

from __future__ import annotations

import json
import re

import pytest

from tests.flows.support import ROOT, World, query

ALARMS = (ROOT / "infra/alarms.tf").read_text(encoding="utf-8")


def outcomes(caplog: pytest.LogCaptureFixture) -> set[str]:
    """The alarms' texts that were logged since the last call."""
    signs = {name: json.loads(words) for name, words in re.findall(r"(failed|succeeded) += (\[.*\])", ALARMS)}
    assert signs.keys() == {"failed", "succeeded"}
    lines = "\n".join(caplog.messages)
    caplog.clear()
    return {name for name, words in signs.items() if any(word in lines for word in words)}


@pytest.mark.campaign
def test_the_alarms_know_success_and_failure(kiosk: World, caplog: pytest.LogCaptureFixture) -> None:
    assert len(kiosk.run().reports) == 1
    assert outcomes(caplog) == {"succeeded"}
    assert kiosk.run().reports == []
    assert outcomes(caplog) == {"succeeded"}
    query(kiosk.source_url, "ALTER TABLE item RENAME TO gone")
    assert kiosk.run().state.is_failed()
    assert outcomes(caplog) == {"failed"}
