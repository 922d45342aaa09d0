"""Checks beside models: run in the load's transaction, where they can read everything and write nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import status
from pipeline.errors import ModelError
from pipeline.models import checks, library, lineage
from pipeline.models.checks import Check
from pipeline.postgres import transaction
from pipeline.review.preview import preview
from pipeline.warehouse.checks import CheckFailed, Checks, verify
from pipeline.warehouse.counts import Counts
from tasks.changes import lines
from tests.pair import Pair
from tests.support import execute

MODELS = {
    "dim_shop": "-- personal: owner\nSELECT shop_id, city, owner FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
    CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text, owner text);
    CREATE TABLE IF NOT EXISTS fact_sale (
        sale_record_id serial PRIMARY KEY,
        sale_id integer NOT NULL,
        shop_id integer NOT NULL REFERENCES dim_shop,
        amount integer NOT NULL
    );""",
}
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text, owner text)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, amount integer)",
    "INSERT INTO shop VALUES (1, 'York', 'Ann'), (2, 'Hull', 'Bob')",
    "INSERT INTO sale SELECT n, 1 + n % 2, n FROM generate_series(1, 6) AS n",
)
BIG = (
    "-- check: {}\n-- No sale is above 100.\nSELECT sale_id, amount FROM fact_sale_current WHERE amount > 100"
)


@pytest.fixture(scope="module")
def loaded(shared: Pair) -> Pair:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    return shared


def write(folder: Path, **texts: str) -> list[Check]:
    """Write checks beside the models of a folder, instead of those that are there, and load them."""
    (folder / "checks").mkdir(exist_ok=True)
    for path in (folder / "checks").iterdir():
        path.unlink()
    for name, text in texts.items():
        (folder / "checks" / f"{name}.sql").write_text(text)
    return checks.load(folder)


def run(pair: Pair, found: list[Check], timeout: int = 60) -> dict[str, Counts] | None:
    """Load the next batch with these checks."""
    house = pair.house

    def personal() -> dict[str, frozenset[str]]:
        sealed = pair.sealed()
        assert sealed is not None
        return lineage.personal_of(house.models, house.targets(), sealed)

    return pair.run(checks=Checks(found, timeout, personal))


def warned(pair: Pair) -> list[tuple[str, int, str]]:
    with transaction(pair.house.url, "warehouse") as connection:
        return [(each.name, each.rows, each.error) for each in status.warned(connection, "public")]


def rows(pair: Pair, text: str) -> list[tuple[Any, ...]]:
    return pair.house.query(text)


def test_a_plan_names_the_checks_that_break(loaded: Pair) -> None:
    house = loaded.house
    write(house.folder, big=BIG.format("fail"), small=BIG.format("fail").replace("amount >", "\namout >"))

    def plan() -> list[str]:
        models = library.load(house.folder)
        return list(lines(preview(house.url, "public", models, house.folder, house.raw)))

    broken = [
        "checks/small.sql: breaks, so the run fails",
        f'  {house.folder}/checks/small.sql:4: column "amout" does not exist',
    ]
    assert plan() == broken
    model = house.folder / "fact_sale.sql"
    text = model.read_text(encoding="utf-8")
    try:
        model.write_text(text.replace("amount", "-amount AS amount"), encoding="utf-8")
        assert not set(broken) & set(plan()), "its table may have the column when the run has changed it"
        model.write_text(text, encoding="utf-8")
        execute(house.url, "ALTER VIEW fact_sale_current RENAME TO renamed")
        assert plan()[0].startswith("no table changes"), (
            "the run makes the view again before it tries the checks"
        )
        execute(house.url, "ALTER VIEW renamed RENAME TO fact_sale_current")
    finally:
        model.write_text(text, encoding="utf-8")
        write(house.folder)


def test_a_failing_check_stops_the_batch_until_its_rows_are_gone(loaded: Pair) -> None:
    found = write(loaded.house.folder, big=BIG.format("fail"))
    last = loaded.house.last_batch()
    loaded.do(
        "UPDATE sale SET amount = 101 WHERE sale_id = 2", "UPDATE sale SET amount = 102 WHERE sale_id = 3"
    )
    with pytest.raises(CheckFailed) as caught:
        run(loaded, found)
    assert str(caught.value) == (
        "warehouse: check big: 2 rows: No sale is above 100; the first: sale_id 2, amount 101; nothing was"
        " loaded; correct the source or the model, or change the check to `-- check: warn`"
    )
    assert loaded.house.last_batch() == last
    assert rows(loaded, "SELECT max(amount) FROM fact_sale_current") == [(6,)]
    loaded.house.bring(loaded.sealed() or pytest.fail("not sealed"))
    loaded.do("UPDATE sale SET amount = 1 WHERE amount > 100")
    assert run(loaded, found) is not None


def test_a_warning_check_is_recorded_with_its_batch(loaded: Pair) -> None:
    found = write(loaded.house.folder, big=BIG.format("warn"), other=BIG.format("warn").replace("100", "999"))
    loaded.do("UPDATE sale SET amount = 200 WHERE sale_id = 4")
    run(loaded, found)
    assert warned(loaded) == [("big", 1, "")]
    loaded.do("UPDATE sale SET amount = 4 WHERE sale_id = 4")
    run(loaded, found)
    assert warned(loaded) == []


def test_a_check_sees_the_new_rows_of_the_batch_all_tables_and_histories(loaded: Pair) -> None:
    found = write(
        loaded.house.folder,
        new="-- check: warn\n-- New.\nSELECT * FROM new_fact_sale"
        " UNION ALL SELECT shop_id, 0, 0, 0 FROM new_dim_shop",
        all="-- check: warn\n-- All.\nSELECT s.sale_id FROM fact_sale AS s JOIN dim_shop USING (shop_id);",
        past="-- check: warn\n-- Past.\nSELECT * FROM fact_sale_history WHERE sale_id = 5",
        none="-- check: warn\n-- None.\nSELECT * FROM new_dim_shop WHERE city = 'York'",
    )
    loaded.do(
        "UPDATE sale SET amount = 50 WHERE sale_id IN (5, 6)", "INSERT INTO shop VALUES (3, 'Ely', 'Cy')"
    )
    run(loaded, found)
    versions = rows(loaded, "SELECT count(*) FROM fact_sale")[0][0]
    assert warned(loaded) == [("all", versions, ""), ("new", 3, ""), ("past", 2, "")]


def test_a_check_can_write_nothing(loaded: Pair) -> None:
    head = "-- check: warn\n-- It writes.\n"
    found = write(
        loaded.house.folder,
        a_second=head + "SELECT 1; DELETE FROM fact_sale",
        b_with=head + "WITH gone AS (DELETE FROM fact_sale RETURNING 1) SELECT * FROM gone",
        c_sequence=head + "SELECT setval('public.fact_sale_sale_record_id_seq', 999)",
        d_out=head + "SELECT 1) AS f) SELECT 1; COMMIT; WITH offending AS (SELECT * FROM (SELECT 1",
        e_returning=head + "DELETE FROM fact_sale RETURNING sale_id",
        e_unused=head + "SELECT * FROM public.fact_sale WHERE now() IS NULL",
        f_setting=head + "SELECT set_config('transaction_read_only', 'off', true)",
    )
    before = rows(loaded, "SELECT count(*), max(sale_record_id) FROM fact_sale")
    loaded.do("UPDATE shop SET city = 'Selby' WHERE shop_id = 1")
    run(loaded, found)
    errors = {name: error.partition("sql")[2] for name, _, error in warned(loaded)}
    assert errors == {
        "a_second": ':3: syntax error at or near ";"',
        "b_with": ":3: WITH clause containing a data-modifying statement must be at the top level",
        "c_sequence": ": cannot execute setval() in a read-only transaction",
        "d_out": ": cannot insert multiple commands into a prepared statement",
        "e_returning": ':3: syntax error at or near "FROM"',
        "f_setting": ": cannot set transaction read-write mode inside a read-only transaction",
    }  # fmt: skip
    assert rows(loaded, "SELECT count(*), max(sale_record_id) FROM fact_sale") == before
    assert rows(loaded, "SELECT last_value < 999 FROM fact_sale_sale_record_id_seq") == [(True,)]


def test_a_slow_check_is_cancelled(loaded: Pair) -> None:
    slow = "-- check: {}\n-- Slow.\nSELECT pg_sleep(20)"
    loaded.do("UPDATE shop SET city = 'Leeds' WHERE shop_id = 1")
    with pytest.raises(CheckFailed, match=r"check slow could not run: .*slow.sql: it took longer than 1 s"):
        run(loaded, write(loaded.house.folder, slow=slow.format("fail")), timeout=1)
    loaded.house.bring(loaded.sealed() or pytest.fail("not sealed"))


def test_the_first_row_is_shown_without_personal_values(loaded: Pair) -> None:
    found = write(
        loaded.house.folder,
        owner="-- check: fail\n-- No owner.\n"
        "SELECT o.*, o AS r, o.owner AS x, upper(o.city) AS city FROM dim_shop AS o"
        " ORDER BY shop_id",
    )
    loaded.do("UPDATE shop SET city = 'Otley' WHERE shop_id = 1")
    with pytest.raises(CheckFailed) as caught:
        run(loaded, found)
    assert "the first: shop_id 1, city OTLEY; nothing" in str(caught.value)
    assert "Ann" not in str(caught.value)
    loaded.house.bring(loaded.sealed() or pytest.fail("not sealed"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "-- Meaning.\nSELECT 1",
            r"bad\.sql:1: it does not say what a row means for the batch; write `-- check",
        ),
        (
            "-- Meaning.\n-- check: stop\nSELECT 1",
            r"bad\.sql:2: check is 'stop'; write `-- check: fail` or `-- check: warn`",
        ),
        (
            "-- check: fail\nSELECT 1",
            r"bad\.sql:1: begin it with a comment line that says what its rows mean",
        ),
        ("-- check: fail\n-- Meaning.\n;", r"bad\.sql: holds no SELECT"),
    ],
)
def test_a_check_without_its_head_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        write(tmp_path, bad=text)


def test_broken_checks_are_refused_before_anything_is_read(loaded: Pair) -> None:
    house = loaded.house
    head = "-- check: warn\n-- Broken.\n"
    found = write(
        house.folder,
        column=head + "SELECT\n  sale_id,\n  town\nFROM fact_sale",
        fine=BIG.format("fail"),
        function=head + "SELECT public.f(1)",
        relation=head + "SELECT 1\nFROM nothing",
        syntax=head + "SELECT FROM WHERE",
        write=head + "DELETE FROM fact_sale",
    )
    with pytest.raises(ModelError) as caught:
        verify(house.url, house.schema, house.targets(), found)
    assert [each.partition("checks/")[2] for each in str(caught.value).split("; ")] == [
        'column.sql:5: column "town" does not exist',
        "function.sql:3: function public.f(integer) does not exist",
        'relation.sql:4: relation "nothing" does not exist',
        'syntax.sql:3: syntax error at or near "WHERE"',
        'write.sql:3: syntax error at or near "FROM"',
    ]
    verify(house.url, house.schema, house.targets(), [found[1]])
    assert library.load(house.folder).keys() == {"dim_shop", "fact_sale"}
