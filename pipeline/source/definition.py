"""What a source table consists of, so far as it decides on the values of rows that nobody writes."""

from pipeline.columns import Frozen


class Definition(Frozen):
    """A relation's identity, and digests of what pipeline/source/sql/definitions.sql says it consists of.

    Two definitions that are the same show the same values in the same rows. Vacuum, statistics, indexes,
    constraints, defaults, rights and policies are no part of it.
    """

    relation: int
    relations: str
    columns: str
    types: str
    code: str

    def difference(self, before: "Definition") -> str | None:
        """What is other than ``before``, in words; None where nothing is."""
        if self.relation != before.relation:
            return "another table stands under this name"
        changes = {
            "relations": "its partitions, inheriting tables or views have changed",
            "columns": "its columns have changed",
            "types": "a type or collation of its columns has changed",
            "code": "the query of a view, or a function in it, has changed",
        }
        return next(
            (words for part, words in changes.items() if getattr(self, part) != getattr(before, part)), None
        )
