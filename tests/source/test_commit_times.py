"""Versions of facts have the commit time of the source, where the source keeps it."""

from collections.abc import Iterator

import pytest

from demo.postgres import Postgres
from tests.pair import Pair
from tests.pair import pair as open_pair
from tests.servers import running_server
from tests.support import execute, value

MODELS = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount * 2 AS amount FROM sale WHERE amount >= 0",
    "fact_total": "-- key: shop_id\nSELECT shop_id, sum(amount)::int AS total FROM sale GROUP BY shop_id",
    "schema": """
        CREATE TABLE fact_sale (sale_id integer, amount integer NOT NULL);
        CREATE TABLE fact_total (shop_id integer, total integer);
    """,
}
SOURCE = (
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount int)",
    "INSERT INTO sale VALUES (1, 1, 10)",
    "INSERT INTO sale VALUES (2, 1, 20)",
    "INSERT INTO sale VALUES (3, 1, 30)",
)
COMMITTED = "SELECT sale_id, pg_xact_commit_timestamp(xmin) FROM sale ORDER BY 1"
KEPT = "SELECT sale_id, committed_at FROM fact_sale WHERE NOT deleted AND superseded_at IS NULL ORDER BY 1"


@pytest.fixture(scope="module")
def keeping(postgres: Postgres) -> Iterator[Pair]:
    """A source whose server keeps commit times."""
    with (
        running_server("commit_times", track_commit_timestamp="on") as server,
        open_pair(server, postgres) as pair,
    ):
        yield pair


def test_versions_have_the_time_of_their_commit(keeping: Pair) -> None:
    keeping.fresh(MODELS, *SOURCE)
    keeping.run()
    first = keeping.source(COMMITTED)
    assert len({time for _, time in first}) == 3
    assert keeping.house.query(KEPT) == first
    keeping.do("UPDATE sale SET amount = 21 WHERE sale_id = 2", "INSERT INTO sale VALUES (4, 2, 40)")
    keeping.run()
    assert keeping.house.query(KEPT) == keeping.source(COMMITTED)
    keeping.do("UPDATE sale SET shop_id = 9 WHERE sale_id = 1", "DELETE FROM sale WHERE sale_id = 3")
    keeping.run()
    assert value(keeping.house.url, "SELECT count(*) FROM fact_sale WHERE sale_id = 1") == 1, "no new version"
    assert keeping.house.query("SELECT committed_at FROM fact_sale WHERE deleted") == [(None,)]
    assert value(keeping.house.url, "SELECT count(committed_at) FROM fact_total") == 0


def test_a_refilled_table_has_the_times_again(keeping: Pair) -> None:
    keeping.fresh(MODELS, *SOURCE)
    keeping.run()
    keeping.do("UPDATE sale SET amount = 21 WHERE sale_id = 2")
    keeping.run()
    execute(keeping.house.url, "TRUNCATE fact_sale")
    keeping.house.prepare()
    assert keeping.run() is None
    assert keeping.house.query(KEPT) == keeping.source(COMMITTED)


def test_a_rejected_row_keeps_its_time(keeping: Pair) -> None:
    models = MODELS | {
        "schema": "CREATE TABLE dim_price (amount integer PRIMARY KEY);"
        + MODELS["schema"].replace("NOT NULL", "REFERENCES dim_price (amount)"),
        "dim_price": "SELECT amount FROM price",
    }
    keeping.fresh(
        models, *SOURCE, "CREATE TABLE price (amount int PRIMARY KEY)", "INSERT INTO price VALUES (20)"
    )
    keeping.run()
    times = keeping.source(COMMITTED)
    keeping.do("INSERT INTO price VALUES (40), (60)")
    keeping.run()
    assert keeping.house.query(KEPT) == times


@pytest.mark.parametrize("key", ["id", '"commit time by xmin"'])
@pytest.mark.parametrize("type_", ["int", "timestamptz"])
def test_a_column_with_the_name_under_which_they_are_read_is_read_instead(
    keeping: Pair, type_: str, key: str
) -> None:
    first, second = ("1", "2") if type_ == "int" else ("2026-01-01 00:00:00+00", "2026-01-02 00:00:00+00")
    model = 'SELECT id, "commit time by xmin" AS at_ FROM t'
    keeping.fresh(
        {
            "fact_t": f"-- key: {'id' if key == 'id' else 'at_'}\n{model}",
            "schema": f"CREATE TABLE fact_t (id int, at_ {type_})",
        },
        f'CREATE TABLE t (id int, "commit time by xmin" {type_}, PRIMARY KEY ({key}))',
        f"INSERT INTO t VALUES (1, '{first}'), (2, '{second}')",
    )
    keeping.run()
    keeping.do("UPDATE t SET id = 3 WHERE id = 2")
    keeping.run()
    kept = keeping.house.query(
        "SELECT id, at_, committed_at FROM fact_t WHERE superseded_at IS NULL AND NOT deleted ORDER BY 1"
    )
    assert kept == [(id_, at, None) for id_, at in keeping.source("SELECT * FROM t ORDER BY 1")]


def test_a_model_may_return_a_column_with_that_name(keeping: Pair) -> None:
    keeping.fresh(
        {
            "fact_sale": '-- key: sale_id\nSELECT sale_id, amount AS "commit time by xmin" FROM sale',
            "schema": 'CREATE TABLE fact_sale (sale_id integer, "commit time by xmin" integer)',
        },
        *SOURCE,
    )
    keeping.run()
    assert keeping.house.query(KEPT) == keeping.source(COMMITTED)
    amounts = keeping.house.query('SELECT sale_id, "commit time by xmin" FROM fact_sale ORDER BY 1')
    assert amounts == [(1, 10), (2, 20), (3, 30)]


def test_without_such_a_server_it_is_null(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    assert value(shared.house.url, "SELECT count(*) - count(committed_at) FROM fact_sale") == 3
