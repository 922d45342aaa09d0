"""Random queries whose rows are groups, pairs or parts of rows, with a key of their own."""

from __future__ import annotations

from random import Random

from tests.differential.relations import Query, Relation
from tests.differential.rows import keyed


def _numbered(random: Random, relations: list[Relation]) -> Relation:
    """A relation whose key is one column of numbers."""
    return random.choice([each for each in relations if len(each.key) == 1 and each.key[0] in each.numbers])


def grouped(random: Random, relations: list[Relation]) -> Query:
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


def distinct(random: Random, relations: list[Relation]) -> Query:
    relation = random.choice(relations)
    column = random.choice(relation.columns)
    sql = f"SELECT DISTINCT {column} AS k FROM {relation.name} WHERE {column} IS NOT NULL"
    numbers, texts = ((), ("k",)) if column in relation.texts else (("k",), ())
    return Query(sql, numbers, texts, ("k",), grows=relation.grows)


def united(random: Random, relations: list[Relation]) -> Query:
    one = random.choice([each for each in relations if len(each.key) == 1 and each.key[0] in each.numbers])
    two = random.choice([each for each in relations if len(each.key) == 1 and each.key[0] in each.numbers])
    sql = (
        f"SELECT 'one' AS part, {one.key[0]} AS k, {random.choice(one.numbers)} AS v FROM {one.name}"
        f" UNION ALL SELECT 'two', {two.key[0]}, {random.choice(two.numbers)} FROM {two.name}"
    )
    return Query(sql, ("k", "v"), ("part",), ("part", "k"), grows=one.grows and two.grows)


def difference(random: Random, relations: list[Relation]) -> Query:
    one, two = random.choice(relations), random.choice(relations)
    word = random.choice(["EXCEPT", "INTERSECT"])
    first, second = random.choice(one.numbers), random.choice(two.numbers)
    left = f"SELECT {first} AS k FROM {one.name} WHERE {first} IS NOT NULL"
    sql = f"{left} {word} SELECT {second} FROM {two.name}"
    return Query(sql, ("k",), (), ("k",))


def repeated(random: Random, relations: list[Relation]) -> Query:
    """A key that may have several rows."""
    relation = keyed(random, relations)
    column, value = random.choice(relation.numbers), random.choice(relation.numbers)
    sql = f"SELECT {column} AS k, {value} AS v FROM {relation.name} WHERE {column} IS NOT NULL"
    return Query(sql, ("k", "v"), (), ("k",))


def outer(random: Random, relations: list[Relation]) -> Query:
    """A join that keeps the rows of both sides, or of the right one."""
    one, two = _numbered(random, relations), _numbered(random, relations)
    first, second = random.choice(one.numbers), random.choice(two.numbers)
    joined = f"{one.name} AS x {{}} JOIN {two.name} AS y ON x.{one.key[0]} = y.{two.key[0]}"
    if random.random() < 0.5:
        kind, key = "FULL", f"COALESCE(x.{one.key[0]}, y.{two.key[0]})"
    else:
        kind, key = "RIGHT", f"y.{two.key[0]}"
    sql = f"SELECT {key} AS k, x.{first} AS v, y.{second} AS w FROM {joined.format(kind)}"
    return Query(sql, ("k", "v", "w"), (), ("k",))


def several_rows(random: Random, relations: list[Relation]) -> Query:
    """Several rows for each row."""
    relation = _numbered(random, relations)
    one, two = random.choice(relation.numbers), random.choice(relation.numbers)
    sql = (
        f"SELECT x.{relation.key[0]} AS k, g.n, CASE g.n WHEN 1 THEN x.{one} ELSE x.{two} END AS v"
        f" FROM {relation.name} AS x CROSS JOIN generate_series(1, 2) AS g(n)"
    )
    return Query(sql, ("k", "n", "v"), (), ("k", "n"), grows=relation.grows)


def unnested(random: Random, relations: list[Relation]) -> Query:
    """The elements of an array as rows, of which several can have the same key."""
    relation = _numbered(random, relations)
    one, two = random.choice(relation.numbers), random.choice(relation.numbers)
    sql = (
        f"SELECT k, v, 0 AS w FROM (SELECT {relation.key[0]} AS k, unnest(ARRAY[{one}, {two}]) AS v"
        f" FROM {relation.name}) AS u WHERE v IS NOT NULL"
    )
    return Query(sql, ("k", "v", "w"), (), ("k", "v"))


def listed(random: Random, relations: list[Relation]) -> Query:
    """Aggregates with an order, a filter and distinct values."""
    relation = random.choice([each for each in relations if each.texts])
    by, number, text = (random.choice(each) for each in (relation.columns, relation.numbers, relation.texts))
    sql = (
        f"SELECT {by} AS k, count(DISTINCT {number}) AS many, count(*) FILTER (WHERE {text} > 'e') AS late,"
        f" string_agg({text}, ',' ORDER BY {text}) AS list FROM {relation.name}"
        f" WHERE {by} IS NOT NULL GROUP BY {by}"
    )
    is_text = by in relation.texts
    numbers = ("many", "late") if is_text else ("k", "many", "late")
    return Query(sql, numbers, ("k", "list") if is_text else ("list",), ("k",))


def averaged(random: Random, relations: list[Relation]) -> Query:
    """A macro of DuckDB that is an aggregate."""
    relation = random.choice(relations)
    by, value, weight = (random.choice(relation.numbers) for _ in range(3))
    sql = (
        f"SELECT {by} AS k, CAST(floor(weighted_avg({value}, abs({weight}) + 1)) AS bigint) AS average"
        f" FROM {relation.name} WHERE {by} IS NOT NULL GROUP BY {by}"
    )
    return Query(sql, ("k", "average"), (), ("k",))


def recursive(random: Random, _: list[Relation]) -> Query:
    """The bosses above each person, who can be in a circle."""
    where = f" WHERE age > {random.randrange(8)}" if random.random() < 0.5 else ""
    sql = (
        f"WITH RECURSIVE above AS (SELECT id, boss FROM people{where} UNION"
        " SELECT above.id, people.boss FROM above INNER JOIN people ON people.id = above.boss)"
        " SELECT id AS k, count(*) AS many, max(boss) AS most FROM above GROUP BY id"
    )
    return Query(sql, ("k", "many", "most"), (), ("k",))


def grouping_sets(random: Random, relations: list[Relation]) -> Query:
    """Groups and their total; two columns make the key."""
    relation = random.choice(relations)
    by, number = random.choice(relation.numbers), random.choice(relation.numbers)
    sql = (
        f"SELECT GROUPING({by}) AS g, COALESCE({by}, -1) AS k, count(*) AS many, max({number}) AS most"
        f" FROM {relation.name} GROUP BY GROUPING SETS (({by}), ())"
    )
    return Query(sql, ("g", "k", "many", "most"), (), ("g", "k"))
