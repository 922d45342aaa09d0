"""Unified diffs of what a warehouse was loaded with and what stands in the files now."""

from collections.abc import Iterator, Mapping
from difflib import unified_diff

from pipeline.models.library import Model
from pipeline.warehouse import declarations
from pipeline.warehouse.alterations import Alterations


def of_file(old_text: str, text: str) -> list[str]:
    """The lines of a diff of schema.sql; empty if only comments and blank lines have changed."""
    old, new = _statements(old_text), _statements(text)
    return list(unified_diff(old, new, "schema.sql, as loaded", "schema.sql", lineterm="", n=1))


def of_model(name: str, found: Alterations, models: Mapping[str, Model]) -> Iterator[str]:
    """The lines of a unified diff of the model, if its former text is known."""
    if (old := found.texts.get(name)) is not None and name in models:
        lines = old.splitlines(), models[name].sql.splitlines()
        yield from unified_diff(*lines, f"{name}.sql, as loaded", f"{name}.sql", lineterm="", n=1)


def of_table(name: str, found: Alterations) -> Iterator[str]:
    """The lines of a unified diff of the columns that schema.sql declares, if its former text is known."""
    if before := declarations.lines(found.before.get(name)):
        lines = before, declarations.lines(found.declared.get(name))
        yield from unified_diff(
            *lines, f"{name} in schema.sql, as loaded", f"{name} in schema.sql", lineterm="", n=1
        )


def _statements(text: str) -> list[str]:
    """The lines of SQL without comments and blank lines."""
    lines = (line.partition("--")[0].rstrip() for line in text.splitlines())
    return [line for line in lines if line.strip()]
