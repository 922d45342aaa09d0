"""Detect changes of a table's definition that change the values of rows that nobody wrote."""

from pipeline.columns import Frozen


class Definition(Frozen):
    """A relation's oid, and digests of its parts (see sql/definitions.sql).

    While the definition is equal, rows that nobody writes keep their values. It leaves out what never
    changes them: vacuum, statistics, indexes, constraints, defaults, rights and policies.
    """

    relation: int
    relations: str
    columns: str
    types: str
    code: str

    def difference(self, before: "Definition") -> str | None:
        """The first difference from ``before`` as a sentence; None where they are equal."""
        if self.relation != before.relation:
            return "another table has this name now"
        changes = {
            "relations": "its partitions, inheriting tables or views have changed",
            "columns": "its columns have changed",
            "types": "a type or collation of its columns has changed",
            "code": "the query of a view, or a function in it, has changed",
        }
        return next(
            (words for part, words in changes.items() if getattr(self, part) != getattr(before, part)), None
        )
