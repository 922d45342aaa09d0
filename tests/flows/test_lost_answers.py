"""A run keeps its result if the answer of Prefect's server to its last state is lost on the way.

Prefect's client then repeats the request; the server answers with its own copy of the state, without data.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

import flows.command
from pipeline.warehouse import ledger
from tests.flows.attempts import Try
from tests.flows.support import World

FINAL = (b'"COMPLETED"', b'"FAILED"', b'"CANCELLED"')


@pytest.fixture
def lost_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Lose the first answer to each request that ends a run; yields the paths of these requests."""
    lost: set[str] = set()
    send = httpx.Client.send

    def lose(client: httpx.Client, request: httpx.Request, **options: object) -> httpx.Response:
        response = send(client, request, **options)  # type: ignore[arg-type]
        path = request.url.path
        if (
            path.endswith("/set_state")
            and any(each in request.content for each in FINAL)
            and path not in lost
        ):
            lost.add(path)
            raise httpx.ReadError("lost", request=request)
        return response

    monkeypatch.setattr(httpx.Client, "send", lose)
    yield lost
    assert lost


@pytest.mark.usefixtures("lost_answers")
def test_the_batches_of_a_run_are_reported(kiosk: World, attempt: Try) -> None:
    kiosk.save_blocks()
    assert "fact_sale  3 added" in attempt(kiosk, flows.command.main).out
    assert len(kiosk.run(full=True).reports) == 1


@pytest.mark.usefixtures("lost_answers")
def test_a_failure_is_one_line(loaded: World, attempt: Try) -> None:
    (loaded.transforms / "fact_sale.sql").write_text("SELECT\n")
    loaded.save_blocks()
    attempt(loaded, flows.command.main).fails_with("^error: .*fact_sale")


@pytest.mark.usefixtures("lost_answers")
def test_a_run_that_finds_another_one_at_work_is_one_line(loaded: World, attempt: Try) -> None:
    loaded.save_blocks()
    with ledger.lock(loaded.warehouse_url, "public"):
        attempt(loaded, flows.command.main).fails_with("^error: another run is at work on this warehouse")
