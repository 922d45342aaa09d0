"""The tables of the source for random models, and what a model or table looks like to others."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.columns import Column


@dataclass(frozen=True)
class Relation:
    """A table or model: its columns of numbers and of text, and its key.

    ``grows``: all its rows with one key come from one row of a source table, or are equal. ``by_cursor``:
    its rows come from the view that is read by a cursor.
    """

    name: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    key: tuple[str, ...]
    grows: bool = False
    by_cursor: bool = False

    @property
    def text(self) -> str:
        """What stands for a table of the source."""
        return self.name.replace('"', "")

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.numbers, *self.texts)

    @property
    def catalogue(self) -> tuple[Column, ...]:
        """A table's columns as the source's catalogue has them."""
        whole = "bigint" if self.by_cursor else "integer"
        types = {name: "numeric" if name == "amount" else whole for name in self.numbers}
        types |= dict.fromkeys(self.texts, "text")
        return tuple(Column(name=name, type=type_) for name, type_ in types.items())


TABLES = (
    Relation("orders", ("id", "person", "amount", "place"), ("label",), ("id",), grows=True),
    Relation("people", ("id", "boss", "age"), ("name", "town"), ("id",), grows=True),
    Relation('"Store".orders', ("shelf", "count"), ("item",), ("shelf", "item"), grows=True),
    Relation("log", ("number", "place"), ("message",), (), grows=True),
)
SEED = Relation("targets", ("k", "goal"), ("word",), ("k",), grows=True)
FEED = Relation("feed", ("id", "version", "person"), ("note",), ("id",), grows=True, by_cursor=True)
SOURCE = """
    CREATE TABLE orders (id int PRIMARY KEY, person int, amount numeric, place int, label text);
    CREATE TABLE people (id int PRIMARY KEY, boss int, age int, name text, town text);
    CREATE SCHEMA "Store";
    CREATE TABLE "Store".orders (shelf int, count int, item text, PRIMARY KEY (shelf, item));
    CREATE TABLE log (number int, place int, message text);
    CREATE TABLE feed_row (id bigint PRIMARY KEY, version bigint, person bigint, note text);
    CREATE VIEW feed AS SELECT * FROM feed_row;
    CREATE TABLE read_of_feed (LIKE feed_row);
"""
# What models read, if it is not a table of the source: a seed, the rows of the view that batches have read,
# and DuckDB's macros.
ORACLE = """
CREATE TABLE targets (k int, goal int, word text);
CREATE VIEW feed AS SELECT * FROM read_of_feed;
CREATE FUNCTION "if"(boolean, anycompatible, anycompatible) RETURNS anycompatible LANGUAGE sql
    AS 'SELECT CASE WHEN $1 THEN $2 ELSE $3 END';
CREATE FUNCTION list_max(anyarray) RETURNS anyelement LANGUAGE sql
    AS 'SELECT max(value) FROM unnest($1) AS value';
CREATE FUNCTION list_sum(numeric[]) RETURNS numeric LANGUAGE sql
    AS 'SELECT sum(value) FROM unnest($1) AS value';
CREATE FUNCTION fdiv(numeric, numeric) RETURNS numeric LANGUAGE sql AS 'SELECT floor($1 / $2)';
CREATE FUNCTION add_weighted(numeric[], numeric, numeric) RETURNS numeric[] LANGUAGE sql STRICT
    AS 'SELECT ARRAY[$1[1] + $2 * $3, $1[2] + $3]';
CREATE FUNCTION weighted(numeric[]) RETURNS double precision LANGUAGE sql
    AS 'SELECT $1[1]::double precision / NULLIF($1[2], 0)::double precision';
CREATE AGGREGATE weighted_avg(numeric, numeric) (
    SFUNC = add_weighted, STYPE = numeric[], INITCOND = '{0,0}', FINALFUNC = weighted
);
"""


@dataclass(frozen=True)
class Query:
    """A model's SELECT; the others are those of a Relation."""

    sql: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    key: tuple[str, ...]
    grows: bool = False
    by_cursor: bool = False

    def as_relation(self, name: str) -> Relation:
        return Relation(name, self.numbers, self.texts, self.key, self.grows, self.by_cursor)
