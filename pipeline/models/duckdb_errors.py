"""The file and line of DuckDB's errors about a model, and what to write instead."""

import re
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.messages import of_duckdb

_PRODUCT = (
    "a product has more than 38 digits; cast its factors to the digits that they need, such as"
    " CAST(x AS DECIMAL(18, 2))"
)
_BETTER = {
    "Division by zero": "a row is divided by zero; write NULLIF(divisor, 0) for NULL, or leave such rows out",
    "in multiplication of DECIMAL": _PRODUCT,
    "perform an accurate multiplication": _PRODUCT,
    "more than one column in front of a star": "before .* a table has no schema; write its name or its alias",
    "Only SELECT statements can be serialized": "this is no SELECT; a model is one SELECT",
}


def error_in(path: Path, words: str) -> ModelError:
    """DuckDB's message with file and line, in one line, and without values of rows."""
    shown = of_duckdb(words)
    line = re.search(r"LINE (\d+):", shown) or re.search(r"LINE (\d+):", words)
    first = re.split(r"\n\s*\n|\nLINE ", shown)[0].replace("\n", " ")
    return ModelError(f"{path}{':' + line[1] if line else ''}: {better_words(words) or first}")


def better_words(words: str) -> str | None:
    """What to say instead of a message of DuckDB, if there is something better."""
    return next((better for part, better in _BETTER.items() if part in words), None)
