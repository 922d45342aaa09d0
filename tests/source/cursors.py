"""Models of relations that are read by a cursor."""

from __future__ import annotations

SCHEMA = """
    CREATE TABLE IF NOT EXISTS fact_v (id integer NOT NULL, note varchar);
    CREATE TABLE IF NOT EXISTS fact_w (id integer NOT NULL, note varchar);
"""


def model(cursor: str | None, table: str = "v") -> str:
    """A model of a view, or of another relation, that is read by a cursor."""
    line = f"-- cursor: {cursor}\n" if cursor else ""
    return f"-- key: id\n{line}SELECT id, note FROM {table}"
