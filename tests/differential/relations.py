"""The tables of the source for random models, and what a model or table looks like to others."""

from __future__ import annotations

from dataclasses import dataclass

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
