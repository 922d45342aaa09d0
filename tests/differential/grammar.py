"""Random models: SELECTs that mean the same in Postgres and DuckDB, over tables and over each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from pipeline.columns import Column


@dataclass(frozen=True)
class Relation:
    """A table or model: its columns of numbers and of text, and its key."""

    name: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.numbers, *self.texts)

    @property
    def catalogue(self) -> tuple[Column, ...]:
        """A table's columns as the source's catalogue has them."""
        types = {name: "numeric" if name == "amount" else "integer" for name in self.numbers}
        types |= dict.fromkeys(self.texts, "text")
        return tuple(Column(name=name, type=type_) for name, type_ in types.items())


TABLES = (
    Relation("orders", ("id", "person", "amount", "place"), ("label",), ("id",)),
    Relation("people", ("id", "boss", "age"), ("name", "town"), ("id",)),
    Relation('"Stock"', ("shelf", "count"), ("item",), ("shelf", "item")),
    Relation("log", ("number", "place"), ("message",), ()),
)
SEED = Relation("targets", ("k", "goal"), ("word",), ("k",))
SOURCE = """
    CREATE TABLE orders (id int PRIMARY KEY, person int, amount numeric, place int, label text);
    CREATE TABLE people (id int PRIMARY KEY, boss int, age int, name text, town text);
    CREATE TABLE "Stock" (shelf int, count int, item text, PRIMARY KEY (shelf, item));
    CREATE TABLE log (number int, place int, message text);
"""
SEED_TABLE = "CREATE TABLE targets (k int, goal int, word text);"


@dataclass(frozen=True)
class Query:
    """A model's SELECT, and which of its columns are numbers, texts and the key."""

    sql: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    key: tuple[str, ...]

    def as_relation(self, name: str) -> Relation:
        return Relation(name, self.numbers, self.texts, self.key)


def draw(random: Random, relations: list[Relation]) -> Query:
    """A query over some of the relations."""
    makers: list[Callable[[Random, list[Relation]], Query]] = [
        _plain, _plain, _filtered, _joined, _grouped, _windowed, _top, _distinct, _united, _existing,
        _imported, _subquery, _difference, _repeated, _tied, _tied,
    ]  # fmt: skip
    return random.choice(makers)(random, [each for each in relations if each.numbers])


def varied(random: Random, query: Query) -> Query:
    """Another query of the same columns over the same relations, like an edited model."""
    relation = query.as_relation("q")
    numbers = [each for each in query.numbers if each not in query.key]
    more = random.choice(numbers) if numbers and random.random() < 0.5 else None
    columns = [f"COALESCE({each}, 0) + 1 AS {each}" if each == more else each for each in relation.columns]
    where = f" WHERE {_condition(random, relation)}" if more is None or random.random() < 0.3 else ""
    return replace(query, sql=f"SELECT {', '.join(columns)} FROM ({query.sql}) AS q{where}")


def _keyed(random: Random, relations: list[Relation]) -> Relation:
    return random.choice([each for each in relations if each.key])


def _condition(random: Random, relation: Relation, alias: str = "") -> str:
    column = random.choice(relation.columns)
    at = f"{alias}{column}"
    if column in relation.texts:
        return random.choice([f"{at} < 'm'", f"{at} IN ('a', 'b', 'k')", f"{at} IS NOT NULL", f"{at} <> 'c'"])
    return random.choice(
        [f"{at} > {random.randrange(8)}", f"{at} IS NULL", f"{at} BETWEEN 2 AND 7", f"NOT {at} = 3"]
    )


def _fresh(random: Random) -> str:
    """A column's name that no relation has."""
    return f"c{random.randrange(10**9)}"


def _whole(relation: Relation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return relation.numbers, relation.texts


def _list(columns: tuple[str, ...], alias: str = "") -> str:
    return ", ".join(f"{alias}{column}" for column in columns)


def _plain(random: Random, relations: list[Relation]) -> Query:
    relation = _keyed(random, relations)
    number = random.choice(relation.numbers)
    more = _fresh(random)
    extra = f"COALESCE({number}, 0) + 1 AS {more}"
    sql = f"SELECT {_list(relation.columns)}, {extra} FROM {relation.name}"
    return Query(sql, (*relation.numbers, more), relation.texts, relation.key)


def _filtered(random: Random, relations: list[Relation]) -> Query:
    relation = _keyed(random, relations)
    sql = f"SELECT {_list(relation.columns)} FROM {relation.name} WHERE {_condition(random, relation)}"
    return Query(sql, *_whole(relation), relation.key)


def _joined(random: Random, relations: list[Relation]) -> Query:
    left, right = _keyed(random, relations), _keyed(random, relations)
    texts = len(right.key) == 1 and right.key[0] in right.texts and left.texts
    if len(right.key) != 1 or (right.key[0] in right.texts and not texts):
        return _filtered(random, relations)
    on = random.choice(left.texts if right.key[0] in right.texts else left.numbers)
    kind = random.choice(["INNER", "LEFT"])
    other, named = random.choice(right.columns), _fresh(random)
    where = f" WHERE {_condition(random, left, 'x.')}" if random.random() < 0.4 else ""
    sql = (
        f"SELECT {_list(left.columns, 'x.')}, y.{other} AS {named} FROM {left.name} AS x"
        f" {kind} JOIN {right.name} AS y ON x.{on} = y.{right.key[0]}{where}"
    )
    is_text = other in right.texts
    return Query(
        sql,
        (*left.numbers, *(() if is_text else (named,))),
        (*left.texts, *((named,) if is_text else ())),
        left.key,
    )


def _grouped(random: Random, relations: list[Relation]) -> Query:
    relation = random.choice(relations)
    by, number = random.choice(relation.columns), random.choice(relation.numbers)
    having = f" HAVING count(*) > {random.randrange(1, 3)}" if random.random() < 0.3 else ""
    sql = (
        f"SELECT {by} AS k, count(*) AS many, CAST(sum({number}) AS bigint) AS total, max({number}) AS most"
        f" FROM {relation.name} WHERE {by} IS NOT NULL GROUP BY {by}{having}"
    )
    is_text = by in relation.texts
    numbers = ("many", "total", "most")
    return Query(sql, numbers if is_text else ("k", *numbers), ("k",) if is_text else (), ("k",))


def _windowed(random: Random, relations: list[Relation]) -> Query:
    relation = _keyed(random, relations)
    part, number = random.choice(relation.columns), random.choice(relation.numbers)
    window = random.choice(
        [
            f"CAST(sum({number}) OVER (PARTITION BY {part}) AS bigint)",
            f"row_number() OVER (PARTITION BY {part} ORDER BY {number} NULLS LAST, {_list(relation.key)})",
            f"lag({number}) OVER (ORDER BY {_list(relation.key)})",
            f"rank() OVER (ORDER BY {number} NULLS FIRST)",
        ]
    )
    named = _fresh(random)
    sql = f"SELECT {_list(relation.columns)}, {window} AS {named} FROM {relation.name}"
    return Query(sql, (*relation.numbers, named), relation.texts, relation.key)


def _top(random: Random, relations: list[Relation]) -> Query:
    relation = _keyed(random, relations)
    by = random.choice(relation.numbers)
    sql = (
        f"SELECT {_list(relation.columns)} FROM {relation.name}"
        f" ORDER BY {by} DESC NULLS LAST, {_list(relation.key)} LIMIT {random.randrange(1, 5)}"
    )
    return Query(sql, *_whole(relation), relation.key)


def _tied(random: Random, relations: list[Relation]) -> Query:
    """Rows in an order that may have ties; a model whose order has ties is refused."""
    relation = _keyed(random, relations)
    part, number = random.choice(relation.columns), random.choice(relation.numbers)
    by = random.sample(relation.columns, random.randrange(1, len(relation.columns) + 1))
    order = ", ".join(f"{column} {random.choice(['ASC', 'DESC'])} NULLS LAST" for column in by)
    listed, named = _list(relation.columns), _fresh(random)
    calls = [
        f"row_number() OVER (PARTITION BY {part} ORDER BY {order})",
        f"lag({number}) OVER (ORDER BY {order})",
        f"first_value({number}) OVER (PARTITION BY {part} ORDER BY {order})",
        f"count(*) OVER (ORDER BY {order} ROWS 1 PRECEDING)",
    ]
    table = relation.name
    sql = random.choice(
        [
            f"SELECT {listed}, {random.choice(calls)} AS {named} FROM {table}",
            f"SELECT {listed}, 0 AS {named} FROM {table} ORDER BY {order} LIMIT 3",
            f"SELECT DISTINCT ON ({part}) {listed}, 0 AS {named} FROM {table} ORDER BY {part}, {order}",
        ]
    )
    return Query(sql, (*relation.numbers, named), relation.texts, relation.key)


def _distinct(random: Random, relations: list[Relation]) -> Query:
    relation = random.choice(relations)
    column = random.choice(relation.columns)
    sql = f"SELECT DISTINCT {column} AS k FROM {relation.name} WHERE {column} IS NOT NULL"
    return Query(
        sql, () if column in relation.texts else ("k",), ("k",) if column in relation.texts else (), ("k",)
    )


def _united(random: Random, relations: list[Relation]) -> Query:
    one = random.choice([each for each in relations if len(each.key) == 1 and each.key[0] in each.numbers])
    two = random.choice([each for each in relations if len(each.key) == 1 and each.key[0] in each.numbers])
    sql = (
        f"SELECT 'one' AS part, {one.key[0]} AS k, {random.choice(one.numbers)} AS v FROM {one.name}"
        f" UNION ALL SELECT 'two', {two.key[0]}, {random.choice(two.numbers)} FROM {two.name}"
    )
    return Query(sql, ("k", "v"), ("part",), ("part", "k"))


def _existing(random: Random, relations: list[Relation]) -> Query:
    relation, other = _keyed(random, relations), random.choice(relations)
    no = random.choice(["", "NOT "])
    mine, theirs = random.choice(relation.numbers), random.choice(other.numbers)
    sql = (
        f"SELECT {_list(relation.columns, 'x.')} FROM {relation.name} AS x"
        f" WHERE {no}EXISTS (SELECT 1 FROM {other.name} AS y WHERE y.{theirs} = x.{mine})"
    )
    return Query(sql, *_whole(relation), relation.key)


def _imported(random: Random, relations: list[Relation]) -> Query:
    relation = _keyed(random, relations)
    name = relation.name
    sql = (
        f"WITH {name} AS (SELECT * FROM {name}), picked AS (SELECT {_list(relation.columns)} FROM {name}"
        f" WHERE {_condition(random, relation)}) SELECT {_list(relation.columns)} FROM picked"
    )
    return Query(sql, *_whole(relation), relation.key)


def _subquery(random: Random, relations: list[Relation]) -> Query:
    relation, other = _keyed(random, relations), random.choice(relations)
    number, named = random.choice(other.numbers), _fresh(random)
    sql = (
        f"SELECT {_list(relation.columns)}, (SELECT max({number}) FROM {other.name}) AS {named}"
        f" FROM (SELECT * FROM {relation.name}) AS s"
    )
    return Query(sql, (*relation.numbers, named), relation.texts, relation.key)


def _difference(random: Random, relations: list[Relation]) -> Query:
    one, two = random.choice(relations), random.choice(relations)
    word = random.choice(["EXCEPT", "INTERSECT"])
    first, second = random.choice(one.numbers), random.choice(two.numbers)
    left = f"SELECT {first} AS k FROM {one.name} WHERE {first} IS NOT NULL"
    sql = f"{left} {word} SELECT {second} FROM {two.name}"
    return Query(sql, ("k",), (), ("k",))


def _repeated(random: Random, relations: list[Relation]) -> Query:
    """A key that may have several rows."""
    relation = _keyed(random, relations)
    column, value = random.choice(relation.numbers), random.choice(relation.numbers)
    sql = f"SELECT {column} AS k, {value} AS v FROM {relation.name} WHERE {column} IS NOT NULL"
    return Query(sql, ("k", "v"), (), ("k",))
