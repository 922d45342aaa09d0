"""Random queries whose rows are rows of one relation, with its key."""

from __future__ import annotations

from random import Random

from tests.differential.relations import Query, Relation


def keyed(random: Random, relations: list[Relation]) -> Relation:
    return random.choice([each for each in relations if each.key])


def condition(random: Random, relation: Relation, alias: str = "") -> str:
    column = random.choice(relation.columns)
    at = f"{alias}{column}"
    if column in relation.texts:
        return random.choice([f"{at} < 'm'", f"{at} IN ('a', 'b', 'k')", f"{at} IS NOT NULL", f"{at} <> 'c'"])
    return random.choice(
        [f"{at} > {random.randrange(8)}", f"{at} IS NULL", f"{at} BETWEEN 2 AND 7", f"NOT {at} = 3"]
    )


def fresh(random: Random) -> str:
    """A column's name that no relation has."""
    return f"c{random.randrange(10**9)}"


def _whole(relation: Relation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return relation.numbers, relation.texts


def _row_by_row(relation: Relation, sql: str, more: str | None = None) -> Query:
    """A query whose rows each come from one row of a relation; ``more`` is another column of numbers."""
    numbers = (*relation.numbers, more) if more else relation.numbers
    return Query(sql, numbers, relation.texts, relation.key, relation.grows, relation.by_cursor)


def listed_columns(columns: tuple[str, ...], alias: str = "") -> str:
    return ", ".join(f"{alias}{column}" for column in columns)


def plain(random: Random, relations: list[Relation]) -> Query:
    relation = keyed(random, relations)
    number = random.choice(relation.numbers)
    more = fresh(random)
    extra = f"COALESCE({number}, 0) + 1 AS {more}"
    sql = f"SELECT {listed_columns(relation.columns)}, {extra} FROM {relation.name}"
    return _row_by_row(relation, sql, more)


def called(random: Random, relations: list[Relation]) -> Query:
    """A macro of DuckDB."""
    relation = keyed(random, relations)
    one, two, more = random.choice(relation.numbers), random.choice(relation.numbers), fresh(random)
    calls = [
        f"nullif({one}, {random.randrange(8)})",
        f"if({one} > {random.randrange(8)}, {one}, {two})",
        f"CAST(fdiv({one}, {random.randrange(2, 5)}) AS bigint)",
    ]
    lists = [f"list_max(ARRAY[{one}, {two}])", f"CAST(list_sum(ARRAY[{one}, {two}]) AS bigint)"]
    # An aggregate of a list is not taken for a function of one row.
    call = random.choice(calls if relation.by_cursor else calls + lists)
    where = f" WHERE if({one} > 3, {two}, {one}) > 1" if random.random() < 0.3 else ""
    sql = f"SELECT {listed_columns(relation.columns)}, {call} AS {more} FROM {relation.name}{where}"
    return _row_by_row(relation, sql, more)


def filtered(random: Random, relations: list[Relation]) -> Query:
    relation = keyed(random, relations)
    sql = (
        f"SELECT {listed_columns(relation.columns)} FROM {relation.name} WHERE {condition(random, relation)}"
    )
    return _row_by_row(relation, sql)


def joined(random: Random, relations: list[Relation]) -> Query:
    left, right = keyed(random, relations), keyed(random, relations)
    texts = len(right.key) == 1 and right.key[0] in right.texts and left.texts
    if len(right.key) != 1 or (right.key[0] in right.texts and not texts):
        return filtered(random, relations)
    on = random.choice(left.texts if right.key[0] in right.texts else left.numbers)
    kind = random.choice(["INNER", "LEFT"])
    other, named = random.choice(right.columns), fresh(random)
    where = f" WHERE {condition(random, left, 'x.')}" if random.random() < 0.4 else ""
    sql = (
        f"SELECT {listed_columns(left.columns, 'x.')}, y.{other} AS {named} FROM {left.name} AS x"
        f" {kind} JOIN {right.name} AS y ON x.{on} = y.{right.key[0]}{where}"
    )
    is_text = other in right.texts
    return Query(
        sql,
        (*left.numbers, *(() if is_text else (named,))),
        (*left.texts, *((named,) if is_text else ())),
        left.key,
    )


def windowed(random: Random, relations: list[Relation]) -> Query:
    relation = keyed(random, relations)
    part, number = random.choice(relation.columns), random.choice(relation.numbers)
    key = listed_columns(relation.key)
    window = random.choice(
        [
            f"CAST(sum({number}) OVER (PARTITION BY {part}) AS bigint)",
            f"row_number() OVER (PARTITION BY {part} ORDER BY {number} NULLS LAST, {key})",
            f"lag({number}) OVER (ORDER BY {key})",
            f"rank() OVER (ORDER BY {number} NULLS FIRST)",
        ]
    )
    named = fresh(random)
    sql = f"SELECT {listed_columns(relation.columns)}, {window} AS {named} FROM {relation.name}"
    return Query(sql, (*relation.numbers, named), relation.texts, relation.key)


def top(random: Random, relations: list[Relation]) -> Query:
    relation = keyed(random, relations)
    by = random.choice(relation.numbers)
    sql = (
        f"SELECT {listed_columns(relation.columns)} FROM {relation.name}"
        f" ORDER BY {by} DESC NULLS LAST, {listed_columns(relation.key)} LIMIT {random.randrange(1, 5)}"
    )
    return Query(sql, *_whole(relation), relation.key)


def tied(random: Random, relations: list[Relation]) -> Query:
    """Rows in an order that may have ties; a model whose order has ties is refused."""
    relation = keyed(random, relations)
    part, number = random.choice(relation.columns), random.choice(relation.numbers)
    by = random.sample(relation.columns, random.randrange(1, len(relation.columns) + 1))
    order = ", ".join(f"{column} {random.choice(['ASC', 'DESC'])} NULLS LAST" for column in by)
    listed, named = listed_columns(relation.columns), fresh(random)
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


def existing(random: Random, relations: list[Relation]) -> Query:
    relation, other = keyed(random, relations), random.choice(relations)
    no = random.choice(["", "NOT "])
    mine, theirs = random.choice(relation.numbers), random.choice(other.numbers)
    sql = (
        f"SELECT {listed_columns(relation.columns, 'x.')} FROM {relation.name} AS x"
        f" WHERE {no}EXISTS (SELECT 1 FROM {other.name} AS y WHERE y.{theirs} = x.{mine})"
    )
    return Query(sql, *_whole(relation), relation.key)


def imported(random: Random, relations: list[Relation]) -> Query:
    relation = keyed(random, relations)
    name, listed = relation.name.rpartition(".")[2], listed_columns(relation.columns)
    sql = (
        f"WITH {name} AS (SELECT * FROM {relation.name}), picked AS (SELECT {listed} FROM {name}"
        f" WHERE {condition(random, relation)}) SELECT {listed} FROM picked"
    )
    return _row_by_row(relation, sql)


def subquery(random: Random, relations: list[Relation]) -> Query:
    relation, other = keyed(random, relations), random.choice(relations)
    number, named = random.choice(other.numbers), fresh(random)
    sql = (
        f"SELECT {listed_columns(relation.columns)}, (SELECT max({number}) FROM {other.name}) AS {named}"
        f" FROM (SELECT * FROM {relation.name}) AS s"
    )
    return Query(sql, (*relation.numbers, named), relation.texts, relation.key)


def counted(random: Random, relations: list[Relation]) -> Query:
    """A subquery for each row that refers to it."""
    relation, other = keyed(random, relations), random.choice(relations)
    mine, theirs, named = random.choice(relation.numbers), random.choice(other.numbers), fresh(random)
    sql = (
        f"SELECT {listed_columns(relation.columns, 'x.')}, (SELECT count(*) FROM {other.name} AS y"
        f" WHERE y.{theirs} = x.{mine}) AS {named} FROM {relation.name} AS x"
    )
    return Query(sql, (*relation.numbers, named), relation.texts, relation.key)
