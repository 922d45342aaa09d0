"""Keys of each type: values are one key exactly if Postgres compares them as equal."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from demo.postgres import Postgres
from tests.pair import Pair, pair
from tests.support import execute

TYPES = (
    "CREATE TYPE mood AS ENUM ('zen', 'calm', 'angry', 'glad')",
    "CREATE TYPE pair AS (a numeric, b text)",
    "CREATE DOMAIN price AS numeric CHECK (VALUE > -9)",
)
# Five keys of each type, and another spelling of the first.
KEYS = {
    "numeric": ("1.0", "1.00", "10", "9", "NaN", "-0.5"),
    "numeric(45,2)": ("1.0", "1", "10", "9", "0.5", "-0.5"),
    "price": ("1.0", "1.00", "10", "9", "NaN", "-0.5"),
    "real": ("0", "-0", "NaN", "9", "Infinity", "1e-30"),
    "double precision": ("0", "-0", "NaN", "9", "-Infinity", "1e-300"),
    "money": ("1.0", "1", "10", "9", "0.5", "-0.5"),
    "date": ("0044-03-15 BC", "0044-03-15 BC", "0044-03-15", "2024-02-29", "infinity", "20223-01-01"),
    "timestamp": ("0044-03-15 BC", "0044-03-15 BC", "0044-03-15", "2024-02-29", "-infinity", "20223-01-01"),
    "timestamptz": ("2024-01-01 01:00+01", "2024-01-01", "0044-03-15 BC", "infinity", "1900-1-1", "1900-1-2"),
    "time": ("24:00", "24:00", "00:00", "10:00:00.1", "10:00", "09:00"),
    "timetz": ("10:00+01", "10:00+01", "09:00+00", "10:00-01", "10:00:00.1+01", "24:00+00"),
    "interval": ("1 day", "24:00", "1 mon 1 day", "9 days", "100 days", "-1 day"),
    "text": ("a", "a", "a ", "A", "é", ""),
    "varchar(5)": ("a", "a", "a ", "A", "é", ""),
    "char(5)": ("a", "a  ", "A", "é", "b", ""),
    '"char"': ("a", "a", "b", "c", "d", ""),
    "uuid": (*[f"a0000000-0000-0000-0000-00000000000{n}" for n in "aABCDE"],),
    "bytea": (r"\x0a", r"\012", r"\x0aff", r"\x00", r"\x5c", r"\x"),
    "boolean": ("t", "true", "f"),
    "mood": ("zen", "zen", "calm", "angry", "glad"),
    "pair": ("(1.0,a)", "(1.00,a)", "(2,a)", '(1,"a ")', "(,)", "(9,)"),
    "numeric[]": ("{1.0}", "{1.00}", "{10}", "{9,NULL}", "{}", "{NaN}"),
    "text[]": ("{a}", '{"a"}', '{"NULL"}', "{NULL}", "{}", '{"a b"}'),
    "int4range": ("[1,3)", "[1,2]", "empty", "(,9)", "[10,)", "(,)"),
    "jsonb": ('{"a": 1.0}', '{"a": 1.00}', '"a"', "null", "[1]", "{}"),
    "inet": ("10.0.0.1", "10.0.0.1/32", "10.0.0.1/8", "::1", "9.0.0.1", "::"),
    "cidr": ("10.0.0.0/8", "10/8", "10.0.0.0/9", "::1", "9.0.0.0/8", "::/0"),
    "macaddr": ("08:00:2b:01:02:03", "08002b:010203", *[f"08:00:2b:01:02:0{n}" for n in (4, 5, 6, 7)]),
    "bit(3)": ("010", "010", "001", "110", "111", "000"),
    "varbit": ("1", "1", "01", "10", "100", ""),
    "oid": ("10", "10", "9", "0", "4294967295", "8"),
    "pg_lsn": ("A/0", "a/0", "9/0", "0/0", "0/A", "F/F"),
    "tsvector": ("b a", "a b", "c", "", "d", "e"),
}  # fmt: skip
# Types whose models also run as a whole, from merged states and results.
WHOLE = ("numeric", "double precision", "date", "pair")
# Types of which another spelling is another text, which makes a version.
SPELLED = ("pair", "interval", "numeric[]", "jsonb")
QUICK = (
    *WHOLE, "numeric(45,2)", "price", "money", "timestamp", "interval", "char(5)", "bytea", "mood",
    "numeric[]", "int4range", "jsonb", "inet",
)  # fmt: skip


@dataclass
class Keyed:
    """A table for each type of key, with its models, and the number of versions."""

    pair: Pair
    tables: dict[str, str]
    versions: int = 0
    spellings: int = 0

    def __post_init__(self) -> None:
        whole = [type_ for type_ in WHOLE if type_ in self.tables]
        models = {f"fact_{name}": f"-- key: k\nSELECT k, v FROM {name}" for name in self.tables.values()}
        for name in map(self.tables.__getitem__, whole):
            models[f"dim_{name}"] = f"SELECT k, v, count(*) OVER () AS n FROM {name}"
        made = "CREATE TABLE IF NOT EXISTS"
        models["schema"] = "\n".join(
            [f"{made} fact_{name} (k {type_} NOT NULL, v int);" for type_, name in self.tables.items()]
            + [
                f"{made} dim_{self.tables[type_]} (k {type_} PRIMARY KEY, v int, n bigint);"
                for type_ in whole
            ]
        )
        self.pair.fresh(models, *TYPES)
        execute(self.pair.house.url, *TYPES)
        for type_, name in self.tables.items():
            first, _, *others = KEYS[type_]
            rows = ", ".join(f"('{key}', {place})" for place, key in enumerate([first, *others]))
            self.pair.do(
                f"CREATE TABLE {name} (k {type_} PRIMARY KEY, v int)", f"INSERT INTO {name} VALUES {rows}"
            )

    def every(self, statement: str) -> None:
        """Run a statement for each table {t}: {k} is a key, {s} its other spelling, {last} another key."""
        done = []
        for type_, name in self.tables.items():
            first, spelled, *others = (f"'{key}'::text::{type_}" for key in KEYS[type_])
            done.append(statement.format(t=name, k=first, s=spelled, last=others[-1]))
        self.pair.do(*done)

    def wrong(self) -> dict[str, object]:
        """Types whose tables differ from the source, or whose facts have another number of versions."""
        actual: dict[str, object] = {}
        for type_, name in self.tables.items():
            query, ask = "SELECT v FROM {} ORDER BY k", self.pair.house.query
            expected = self.pair.source(query.format(name))
            rows = {"fact": ask(query.format(f"fact_{name}_current"))}
            if type_ in WHOLE:  # a dimension keeps deleted rows
                rows["dim"] = [row for row in ask(query.format(f"dim_{name}")) if row in expected]
            ((number,),) = ask(f"SELECT count(*) FROM fact_{name} WHERE NOT deleted")
            versions = len(KEYS[type_]) - 1 + self.versions + (self.spellings if type_ in SPELLED else 0)
            if set(map(tuple, rows.values())) != {tuple(expected)} or number != versions:
                actual[type_] = expected, rows, number
        return actual


@pytest.mark.campaign
@pytest.mark.parametrize(
    "types", [pytest.param(QUICK, id="some"), pytest.param(tuple(KEYS), id="all", marks=pytest.mark.campaign)]
)
def test_keys_are_equal_exactly_if_postgres_compares_them_as_equal(
    postgres: Postgres, types: tuple[str, ...]
) -> None:
    """Rows are changed, spelled differently and deleted, states are merged, and runs read everything."""
    with pair(postgres) as made:
        keyed = Keyed(made, {type_: f"t{place}" for place, type_ in enumerate(types)})
        made.run()
        assert keyed.wrong() == {}
        keyed.every("UPDATE {t} SET k = {s} WHERE k = {k}")
        made.run()
        keyed.spellings += 1
        assert keyed.wrong() == {}, "spelled otherwise"
        keyed.every("UPDATE {t} SET v = 10 WHERE k = {s}")
        made.run()
        keyed.versions += 1
        assert keyed.wrong() == {}, "changed"
        keyed.every("UPDATE {t} SET v = 20 WHERE k = {last}")
        keyed.every("DELETE FROM {t} WHERE k = {k}")
        made.run()
        keyed.versions += 1
        assert keyed.wrong() == {}, "deleted"
        keyed.every("INSERT INTO {t} VALUES ({k}, 30)")
        made.run(reconcile=True)
        keyed.versions += 1
        assert keyed.wrong() == {}, "back again, and all read"
        assert made.house.rejected() == []
