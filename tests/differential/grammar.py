"""Random models: SELECTs that mean the same in Postgres and DuckDB, over tables and over each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from tests.differential import rows, sets
from tests.differential.relations import Query, Relation

# The others are refused over relations that are read by a cursor.
_ROW_BY_ROW = (rows.plain, rows.filtered, rows.imported, rows.called)


def draw(random: Random, relations: list[Relation]) -> Query:
    """A query over some of the relations."""
    makers: list[Callable[[Random, list[Relation]], Query]] = [
        rows.plain,
        rows.plain,
        rows.filtered,
        rows.joined,
        sets.grouped,
        rows.windowed,
        rows.top,
        sets.distinct,
        sets.united,
        rows.existing,
        rows.imported,
        rows.subquery,
        sets.difference,
        sets.repeated,
        rows.tied,
        rows.tied,
        sets.outer,
        sets.outer,
        sets.several_rows,
        sets.unnested,
        rows.counted,
        sets.listed,
        sets.recursive,
        sets.grouping_sets,
        rows.called,
        sets.averaged,
    ]
    by_cursor = [each for each in relations if each.numbers and each.by_cursor]
    if by_cursor and random.random() < 0.1:
        return random.choice(_ROW_BY_ROW)(random, by_cursor)
    return random.choice(makers)(random, [each for each in relations if each.numbers and not each.by_cursor])


def varied(random: Random, query: Query) -> Query:
    """Another query of the same columns over the same relations, like an edited model."""
    relation = query.as_relation("q")
    numbers = [each for each in query.numbers if each not in query.key]
    more = random.choice(numbers) if numbers and random.random() < 0.5 else None
    columns = [f"COALESCE({each}, 0) + 1 AS {each}" if each == more else each for each in relation.columns]
    where = f" WHERE {rows.condition(random, relation)}" if more is None or random.random() < 0.3 else ""
    return replace(query, sql=f"SELECT {', '.join(columns)} FROM ({query.sql}) AS q{where}")
