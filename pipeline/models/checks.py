"""Checks beside models: queries in ``checks/*.sql`` that return the rows which should not be there.

They are run in Postgres, inside the transaction that loads a batch; see pipeline.warehouse.checks.
"""

import re
from pathlib import Path
from typing import Literal

from pipeline.columns import Frozen
from pipeline.errors import ModelError
from pipeline.words import head_of, text_of

FOLDER = "checks"
_FORM = "`-- check: fail` or `-- check: warn`"
_HEADER = re.compile(r"--\s*([A-Za-z_]+)\s*:\s*(.*?)\s*")


class Check(Frozen):
    """A check: its query, what it means that the query returns rows, and what becomes of the batch then."""

    name: str
    path: Path
    sql: str
    severity: Literal["fail", "warn"]
    meaning: str

    def names(self, relation: str) -> bool:
        """Whether its query may name a relation."""
        return relation.lower() in self.sql.lower()


def load(models: Path) -> list[Check]:
    """Read the checks beside the models of a folder; raises ModelError with file and line."""
    return [_read(path) for path in sorted((models / FOLDER).glob("*.sql"))]


def _read(path: Path) -> Check:
    text = text_of(path)
    severity, meaning = "", ""
    for number, comment in head_of(text):
        match = _HEADER.fullmatch(comment)
        if match and match[1].lower() == "check":
            severity = match[2].lower()
            if severity not in {"fail", "warn"}:
                raise ModelError(f"{path}:{number}: check is {match[2]!r}; write {_FORM}")
        elif not meaning:
            meaning = comment.lstrip("-").strip()
    if not severity:
        raise ModelError(f"{path}:1: it does not say what a row means for the batch; write {_FORM}")
    if not meaning:
        raise ModelError(f"{path}:1: begin it with a comment line that says what its rows mean")
    if not re.sub(r"--[^\n]*", "", text).strip().strip(";"):
        raise ModelError(f"{path}: holds no SELECT")
    return Check(
        name=path.stem,
        path=path,
        sql=text.rstrip().rstrip(";"),
        severity="fail" if severity == "fail" else "warn",
        meaning=meaning.rstrip("."),
    )
