"""A warehouse and a lake over several days, with dumps of each day to restore."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.binaries import account_for, programs, run
from demo.postgres import Postgres
from tests.house import Warehouse
from tests.pair import Pair
from tests.support import execute
from tests.warehouse.test_bindings import LOOKS

NOW = {
    "dim_shop": "SELECT shop_id, town FROM shop",
    "fact_sale_current": "SELECT sale_id, shop_id, amount FROM sale WHERE amount > 0",
    "fact_town_current": "SELECT town, count(*) AS sales FROM sale JOIN shop USING (shop_id) GROUP BY town",
    "bridge_tag": "SELECT sale_id, tag FROM tags",
}


HISTORY = {name: text for name, text in LOOKS.items() if name not in {"batch", "model", "rejected"}} | {
    "rejected": "SELECT key, reason, row, resolved, first_batch FROM etl.rejected ORDER BY 1, 4, 5"
}


CHANGE, CHANGE_BACK = (f"UPDATE sale SET amount = {amount} WHERE sale_id = 4" for amount in (44, 40))


@dataclass(frozen=True)
class Day:
    """The end of a day: dumps of the warehouse, copies of the buckets, and the results of queries."""

    dumps: dict[str, str]
    raw: Path
    processed: Path
    history: dict[str, list[tuple[Any, ...]]]
    last: str | None


@dataclass(frozen=True)
class Life:
    """A warehouse that tests damage, with backups of its first days and of the last one."""

    pair: Pair
    server: Postgres
    home: Path
    yesterday: Day
    today: Day

    @property
    def house(self) -> Warehouse:
        return self.pair.house

    def keep(self, name: str) -> Day:
        """Make a backup of everything."""
        dumps = {
            what: program(self.server, "pg_dump", *options, self.house.url)
            for what, options in {"all": (), "etl": ("-netl",), "public": ("-npublic",)}.items()
        }
        copies = {bucket: self.home / name / bucket for bucket in ("raw", "processed")}
        for bucket, copy in copies.items():
            shutil.copytree(getattr(self.house, bucket).root, copy)
        history = self.seen()
        return Day(dumps, copies["raw"], copies["processed"], history, self.house.last_batch())

    def restore(self, day: Day, *what: str) -> None:
        """Restore the warehouse, some of its schemas, or buckets, as of a day."""
        for each in what:
            if each in {"raw", "processed"}:
                root = Path(getattr(self.house, each).root)
                shutil.rmtree(root, ignore_errors=True)
                shutil.copytree(getattr(day, each), root)
            else:
                self.drop(*(("public", "etl", "as_of", "reporting") if each == "all" else (each,)))
                script = _into_public(day.dumps[each])
                program(self.server, "psql", "-qX", "-vON_ERROR_STOP=1", self.house.url, text=script)
        self.house.prepared = None
        self.house.prepare()

    def drop(self, *schemas: str) -> None:
        """Drop schemas of the warehouse; an empty one is created for its tables."""
        execute(self.house.url, f"DROP SCHEMA IF EXISTS {', '.join(schemas)} CASCADE")
        if "public" in schemas:
            execute(self.house.url, "CREATE SCHEMA public")
        self.house.prepared = None

    def lose(self, *buckets: str) -> None:
        """Delete all objects of buckets."""
        for each in buckets:
            shutil.rmtree(Path(getattr(self.house, each).root), ignore_errors=True)

    def lose_warehouse(self) -> None:
        """Delete everything."""
        self.drop("public", "etl", "as_of", "reporting")
        self.house.prepare()

    def seen(self) -> dict[str, list[tuple[Any, ...]]]:
        """The results of the queries."""
        return {look: self.house.query(text) for look, text in HISTORY.items()}

    def has_history(self, day: Day) -> bool:
        """Whether the queries have the same results as on a day."""
        return self.seen() == day.history

    def settles(self) -> bool:
        """Run without changes in the source; returns whether nothing was loaded."""
        return not any(
            count.added + count.changed + count.deleted for count in (self.pair.run() or {}).values()
        )

    def run(self) -> bool:
        """Run after a change in the source; returns whether the warehouse equals the source then."""
        self.pair.do(CHANGE)
        try:
            assert self.pair.run() is not None
            return is_equal(self.pair) and self.pair.run() is None
        finally:
            self.pair.do(CHANGE_BACK)


def _into_public(dump: str) -> str:
    """The dump, to be restored where the schema public is there already."""
    return dump.replace("CREATE SCHEMA public;", "")


def is_equal(pair: Pair) -> bool:
    """Whether the warehouse shows what its models say of the source; a dimension may have more."""
    for table, text in NOW.items():
        columns = text.removeprefix("SELECT ").partition(" FROM ")[0].replace("count(*) AS ", "")
        found = pair.house.query(f"SELECT {columns} FROM {pair.house.schema}.{table} ORDER BY 1, 2")
        wanted = sorted(pair.source(text))
        if table.startswith("dim_"):
            found = [row for row in found if row in wanted]
        if found != wanted:
            return False
    return True


def program(server: Postgres, name: str, *arguments: str, text: str | None = None) -> str:
    """Run one of Postgres' own programs; returns what it printed."""
    account = account_for(server.home)
    done = run([programs(server.version, account) / name, *arguments], account, text)
    assert done.returncode == 0, done.stderr
    # The line that only the psql of its own release reads.
    return "\n".join(
        line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    )
