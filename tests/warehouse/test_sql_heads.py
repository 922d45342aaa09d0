"""The head of each SQL template lists the names that are filled in and the values that are bound."""

from __future__ import annotations

import re

from demo.home import PROJECT

FOLDER = PROJECT / "pipeline" / "warehouse" / "sql"


def listed(head: str, heading: str) -> set[str]:
    """The items of a heading such as `Binds: schema, rows (NULL if unknown)`."""
    match = re.search(rf"{heading}: (.*?)\.(?:\s|$)", head)
    return set(re.sub(r" \([^)]*\)", "", match[1]).split(", ")) if match else set()


def test_the_head_of_each_template_lists_its_names_and_values() -> None:
    for path in sorted(FOLDER.rglob("*.sql")):
        lines = path.read_text(encoding="utf-8").splitlines()
        body_start = next(number for number, line in enumerate(lines) if not line.startswith("--"))
        head = " ".join(line.removeprefix("--").strip() for line in lines[:body_start])
        body = "\n".join(lines[body_start:])
        assert head, f"{path.name} does not begin with a comment that says what it does"
        names, values = (
            set(re.findall(r"(?<![{'])\{([a-z_]+)\}(?!\})", body)),
            re.findall(r"%\((\w+)\)s", body),
        )
        assert (listed(head, "Names"), listed(head, "Binds")) == (names, set(values)), path.name


def test_no_statement_compares_each_row_with_all_of_a_subquery() -> None:
    """Postgres scans the rows of `<> ALL (SELECT …)` for each row; `NOT EXISTS` is a join."""
    for path in sorted((PROJECT / "pipeline").rglob("*")):
        if path.suffix in {".sql", ".py"}:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"<> ?ALL ?\(\s*SELECT", text, re.IGNORECASE), path.name
