"""DESC without NULLS FIRST or NULLS LAST is refused where it may meet a NULL and decides something."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ModelError
from tests.models.plans import analysed

MESSAGE = r"ORDER BY \S+ DESC puts NULL last in DuckDB, and first in Postgres; write DESC NULLS LAST or"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, row_number() OVER (PARTITION BY c ORDER BY b DESC, a) AS n FROM t",
        "SELECT a, rank() OVER (ORDER BY max(b) DESC) AS n FROM t GROUP BY a",
        "SELECT a, sum(a) OVER (ORDER BY b DESC) AS n FROM t",
        "SELECT b, string_agg(c, ',' ORDER BY b DESC, a) AS n FROM t GROUP BY b",
        "SELECT a FROM t ORDER BY b DESC, a LIMIT 3",
        "SELECT DISTINCT ON (c) c, a FROM t ORDER BY c, b DESC, a",
        "SELECT a, (SELECT u.c FROM u WHERE u.b = t.b ORDER BY u.b DESC, u.a LIMIT 1) AS x FROM t",
        "SELECT t.a, rank() OVER (ORDER BY u.a DESC) AS n FROM t LEFT JOIN u ON u.a = t.a",
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY c ORDER BY b DESC, a) = 1",
    ],
)
def test_an_order_that_may_meet_null_is_refused(tmp_path: Path, sql: str) -> None:
    with pytest.raises(ModelError, match=MESSAGE):
        analysed(tmp_path, sql)
    for place in "FIRST", "LAST":
        analysed(tmp_path, sql.replace(" DESC", f" DESC NULLS {place}"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, row_number() OVER (PARTITION BY c ORDER BY a DESC) AS n FROM t",
        "SELECT b, row_number() OVER (ORDER BY count(*) DESC, b) AS n FROM t GROUP BY b",
        "SELECT a, rank() OVER (ORDER BY coalesce(b, 0) DESC, b IS NULL DESC) AS n FROM t",
        "SELECT a, b FROM t ORDER BY b DESC",
        "SELECT a, rank() OVER (ORDER BY b) AS n FROM t",
        "SELECT a, rank() OVER (ORDER BY n DESC) AS m FROM (SELECT a, count(*) OVER () AS n FROM t) AS s",
    ],
)
def test_an_order_that_meets_no_null_is_accepted(tmp_path: Path, sql: str) -> None:
    analysed(tmp_path, sql)
