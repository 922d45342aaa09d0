"""The present rows of a table equal the result of the model that filled it, whatever their types."""

from __future__ import annotations

from pipeline.review import trial
from tests.pair import Pair

COLUMNS = {
    "day": ("date", "0044-03-15 BC", "infinity"),
    "moment": ("timestamptz", "0044-03-15 12:00:00+00 BC", "-infinity"),
    "at_noon": ("timestamp", "4713-01-01 12:00:00 BC", "2024-02-29 12:00:00.000001"),
    "address": ("inet", "10.0.0.1", "10.0.0.1/8"),
    "net": ("cidr", "10.0.0.0/8", "::1/128"),
    "code": ("char(5)", "ab", ""),
    "is_on": ("boolean", "true", "false"),
    "letter": ('"char"', "a", "b"),
}


def test_rows_of_these_types_do_not_differ(shared: Pair) -> None:
    names = ", ".join(COLUMNS)
    typed = ", ".join(f"{name} {type_}" for name, (type_, *_) in COLUMNS.items())
    rows = (", ".join(f"'{pair[number]}'" for _, *pair in COLUMNS.values()) for number in (0, 1))
    model = f"-- key: id\nSELECT id, {names} FROM t"
    shared.fresh(
        {"fact_t": model, "schema": f"CREATE TABLE fact_t (id int, {typed})"},
        f"CREATE TABLE t (id int PRIMARY KEY, {typed})",
        *(f"INSERT INTO t VALUES ({number}, {row})" for number, row in enumerate(rows)),
        "INSERT INTO t (id) VALUES (3)",
    )
    shared.run()
    house = shared.house
    found = trial.run(house.url, "public", house.folder, house.folder / "fact_t.sql", house.raw, first=3)
    assert found.difference is not None
    assert found.difference.first_changed == ()
    assert (found.difference.added, found.difference.changed, found.difference.missing) == (0, 0, 0)
