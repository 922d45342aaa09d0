"""Event triggers of the warehouse's database that refuse what a run creates, or fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.errors import WarehouseError
from tests.pair import Pair
from tests.support import execute
from tests.warehouse import shop_marts

DENY = "CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN {} END$$"
WATCH = "CREATE EVENT TRIGGER watch ON ddl_command_start {} EXECUTE FUNCTION public.watch()"
REFUSE = "RAISE EXCEPTION 'not ''Ann-Secret''';"
REFUSED = r"^warehouse: a trigger or function of the database refuses a row or a statement \(SQLSTATE P0001\)"


@pytest.fixture
def shop(shared: Pair) -> Iterator[Pair]:
    """A shop whose warehouse is empty."""
    shared.fresh(shop_marts.MODELS, *shop_marts.SOURCE)
    shop_marts.write(shared, shop_marts.MARTS)
    execute(shared.house.url, "DROP SCHEMA IF EXISTS as_of, reporting CASCADE")
    yield shared
    execute(shared.house.url, "DROP EVENT TRIGGER IF EXISTS watch", "DROP FUNCTION IF EXISTS public.watch")


@pytest.mark.parametrize(
    "tag", ["CREATE SCHEMA", "CREATE TABLE", "CREATE INDEX", "CREATE FUNCTION", "CREATE VIEW", "COMMENT"]
)
def test_a_refused_statement_is_no_fault_of_a_file(shop: Pair, tag: str) -> None:
    execute(shop.house.url, DENY.format(REFUSE), WATCH.format(f"WHEN TAG IN ('{tag}')"))
    with pytest.raises(WarehouseError, match=REFUSED) as caught:
        shop.house.prepare()
    assert "\n" not in str(caught.value)
    assert "Secret" not in str(caught.value)


def test_an_audit_that_the_role_may_not_write_is_named(shop: Pair) -> None:
    execute(
        shop.house.url,
        "CREATE TABLE public.audit (tag text)",
        DENY.format("SET ROLE pg_monitor; INSERT INTO public.audit VALUES (tg_tag);"),
        WATCH.format(""),
    )
    words = r"database fails: insufficient privilege \(SQLSTATE 42501\); make it SECURITY DEFINER, or grant "
    with pytest.raises(WarehouseError, match=words):
        shop.house.prepare()


def test_a_refused_temporary_table_keeps_the_batch_for_the_next_run(shop: Pair) -> None:
    shop.run()
    shop.do("UPDATE sale SET amount = 12 WHERE sale_id = 1")
    execute(shop.house.url, DENY.format(REFUSE), WATCH.format(""))
    with pytest.raises(WarehouseError, match=REFUSED.replace("warehouse:", "warehouse: table fact_sale:")):
        shop.run()
    execute(shop.house.url, "DROP EVENT TRIGGER watch")
    shop.run()
    assert shop.house.query("SELECT amount FROM fact_sale_current WHERE sale_id = 1") == [(12,)]
