"""Scenarios of slowly changing dimensions: the changes of a row, and its versions after them."""

from dataclasses import dataclass, field

# A version: its first batch, the batch that ended it or None, and its values.
Span = tuple[int, int | None, str]


@dataclass(frozen=True)
class Scenario:
    """The statements before each batch, and the versions of row 1 after them.

    ``others`` has the versions of other rows.

    In statements ``{mine}`` selects the scenario's rows, and ``{new}`` inserts some of (id, name, city).
    """

    name: str
    steps: tuple[str, ...]
    versions: tuple[Span, ...]
    others: dict[int, tuple[Span, ...]] = field(default_factory=dict)


BORN = "{new} (1, 'a', 'York')"


RENAMED = "UPDATE member SET name = 'b' WHERE {mine}"


GONE = "DELETE FROM member WHERE {mine}"


BACK = BORN


SCENARIOS = [
    Scenario("a new row has one open version", (BORN,), ((0, None, "a York"),)),
    Scenario("a row may come later", ("", BORN), ((1, None, "a York"),)),
    Scenario("a changed value ends a version", (BORN, RENAMED), ((0, 1, "a York"), (1, None, "b York"))),
    Scenario(
        "each batch's change is a version",
        (BORN, RENAMED, "UPDATE member SET name = 'c' WHERE {mine}"),
        ((0, 1, "a York"), (1, 2, "b York"), (2, None, "c York")),
    ),
    Scenario(
        "two changes between batches are one version",
        (BORN, RENAMED + "; UPDATE member SET name = 'c' WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "c York")),
    ),
    Scenario(
        "there and back between batches is none",
        (BORN, RENAMED + "; UPDATE member SET name = 'a' WHERE {mine}"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "there and back over batches is three",
        (BORN, RENAMED, "UPDATE member SET name = 'a' WHERE {mine}"),
        ((0, 1, "a York"), (1, 2, "b York"), (2, None, "a York")),
    ),
    Scenario(
        "an UPDATE without a change is none",
        (BORN, "UPDATE member SET name = name WHERE {mine}"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "a timestamp alone is a change of an untracked column",
        (BORN, "UPDATE member SET touched = touched + INTERVAL '1 day' WHERE {mine}"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "a change that leaves the timestamp alone is one",
        (BORN, "UPDATE member SET city = 'Bath' WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "a Bath")),
    ),
    Scenario(
        "a timestamp that goes back is no obstacle",
        (BORN, "UPDATE member SET name = 'b', touched = '1999-01-01' WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "b York")),
    ),
    Scenario(
        "a timestamp that is NULL is no obstacle",
        (BORN, "UPDATE member SET name = 'b', touched = NULL WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "b York")),
    ),
    Scenario("a deleted row ends", (BORN, GONE), ((0, 1, "a York"),)),
    Scenario("a deletion is seen once", (BORN, GONE, "", ""), ((0, 1, "a York"),)),
    Scenario("a changed row is deleted", (BORN, RENAMED, GONE), ((0, 1, "a York"), (1, 2, "b York"))),
    Scenario("changed and deleted between batches", (BORN, RENAMED + ";" + GONE), ((0, 1, "a York"),)),
    Scenario("a row comes back as it was", (BORN, GONE, BACK), ((0, 1, "a York"), (2, None, "a York"))),
    Scenario(
        "a row comes back after some batches",
        (BORN, GONE, "", "", BACK),
        ((0, 1, "a York"), (4, None, "a York")),
    ),
    Scenario(
        "a row comes back with other values",
        (BORN, GONE, "{new} (1, 'z', 'Hull')"),
        ((0, 1, "a York"), (2, None, "z Hull")),
    ),
    Scenario(
        "a row comes back and goes again", (BORN, GONE, BACK, GONE), ((0, 1, "a York"), (2, 3, "a York"))
    ),
    Scenario(
        "a row comes back and changes",
        (BORN, GONE, BACK, RENAMED),
        ((0, 1, "a York"), (2, 3, "a York"), (3, None, "b York")),
    ),
    Scenario("deleted and inserted again between batches", (BORN, GONE + ";" + BACK), ((0, None, "a York"),)),
    Scenario(
        "deleted and inserted with other values between batches",
        (BORN, GONE + "; {new} (1, 'z', 'York')"),
        ((0, 1, "a York"), (1, None, "z York")),
    ),
    Scenario("inserted and deleted between batches", (BORN + ";" + GONE,), ()),
    Scenario(
        "another key is another row",
        (BORN, "UPDATE member SET id = 2 WHERE {mine}"),
        ((0, 1, "a York"),),
        {2: ((1, None, "a York"),)},
    ),
    Scenario(
        "keys change places",
        (
            BORN + ", (2, 'b', 'Bath')",
            "UPDATE member SET id = -id WHERE {mine}; UPDATE member SET id = 3 + id WHERE {mine}",
        ),
        ((0, 1, "a York"), (1, None, "b Bath")),
        {2: ((0, 1, "b Bath"), (1, None, "a York"))},
    ),
    Scenario(
        "one of two changes",
        (BORN + ", (2, 'b', 'Bath')", "UPDATE member SET city = 'Hull' WHERE {mine} AND id = 2"),
        ((0, None, "a York"),),
        {2: ((0, 1, "b Bath"), (1, None, "b Hull"))},
    ),
    Scenario(
        "one goes and another comes",
        (BORN, GONE + "; {new} (2, 'b', 'Bath')"),
        ((0, 1, "a York"),),
        {2: ((1, None, "b Bath"),)},
    ),
    Scenario(
        "a value becomes NULL and is one again",
        (BORN, "UPDATE member SET city = NULL WHERE {mine}", "UPDATE member SET city = 'York' WHERE {mine}"),
        ((0, 1, "a York"), (1, 2, "a -"), (2, None, "a York")),
    ),
    Scenario(
        "NULL and the empty text are two values",
        ("{new} (1, 'a', NULL)", "UPDATE member SET city = '' WHERE {mine}"),
        ((0, 1, "a -"), (1, None, "a ")),
    ),
    Scenario(
        "a blank at the end is a change",
        (BORN, "UPDATE member SET city = 'York ' WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "a York ")),
    ),
    Scenario(
        "a savepoint that is rolled back is no change",
        (BORN, "BEGIN; SAVEPOINT s; UPDATE member SET name = 'x' WHERE {mine}; ROLLBACK TO s; COMMIT"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "a deletion that is rolled back is none",
        (BORN, "BEGIN; DELETE FROM member WHERE {mine}; ROLLBACK"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "a change within a savepoint is one",
        (BORN, "BEGIN; SAVEPOINT s; UPDATE member SET name = 'b' WHERE {mine}; RELEASE s; COMMIT"),
        ((0, 1, "a York"), (1, None, "b York")),
    ),
]
