"""Text of any kind arrives exactly."""

from __future__ import annotations

from tests.engine.hostile import all_rows, insert
from tests.pair import Pair
from tests.support import value

VALUES = [
    "'; DROP TABLE canary; --",
    '"; DROP TABLE canary; --',
    "'); DROP TABLE canary; --",
    "$$; DROP TABLE canary; $$",
    "Robert'); SELECT pg_sleep(60); --",
    'a,b;c\td|e"f""g',
    "\\.",
    "\\N",
    "\\x41\\u0041\\",
    "line\nbreak\r\nand\rmore",
    '{"a": "b", "deleted": true}',
    '["\\u0000", null]',
    "\\u0000",
    "{{ 7 * 7 }} {% raw %} {0} {table} {{}}",
    "%s %(x)s %d %%",
    "${HOME} $(id) `id` $1 $body$",
    "<script>alert(1)</script> | a | b | [x](javascript:y)",
    "=cmd|' /C calc'!A0",
    "read_csv('/etc/passwd')",
    "\x1b[31mred\x07\x08",
    "\u202eright to left\u2028\u0085\ufeff\u200b",
    "NULL",
    "null",
    "",
    " ",
    "\x01",
    "naïve 🧾👩\u200d👩\u200d👧 日本",
    "x" * 200_000,
]


def test_text_of_any_kind_arrives_exactly(shared: Pair) -> None:
    """As value and key of a fact and a dimension, and through a join, on every path of the load."""
    shared.fresh(
        {
            "dim_word": "-- key: word\nSELECT word, note FROM words",
            "fact_word": "-- key: word\nSELECT word, note FROM words",
            "fact_join": "-- key: word\nSELECT a.word, b.note FROM words AS a JOIN words AS b USING (word)",
            "schema": """
                CREATE TABLE dim_word (word text NOT NULL, note text);
                CREATE TABLE fact_word (word text NOT NULL, note text);
                CREATE TABLE fact_join (word varchar NOT NULL, note varchar);
                CREATE TABLE canary ();
            """,
        },
        "CREATE TABLE words (word text PRIMARY KEY, note text)",
        "CREATE TABLE canary ()",
    )
    # Filling an empty table and merging are different code paths.
    words = [word[:2000] for word in VALUES]
    half = len(VALUES) // 2
    for some in (slice(0, half), slice(half, None)):
        insert(shared.source_url, "words", list(zip(words[some], VALUES[some], strict=True)))
        shared.run()
    expected = sorted(zip(words, VALUES, strict=True))
    for table in ("dim_word", "fact_word_current", "fact_join_current"):
        assert sorted(all_rows(shared.house.url, table)) == expected, table
    shared.do("UPDATE words SET note = word || note || '!'")
    shared.run()
    for table in ("dim_word", "fact_word_current", "fact_join_current"):
        assert sorted(all_rows(shared.house.url, table)) == [
            (word, f"{word}{note}!") for word, note in expected
        ]
    history = shared.house.query("SELECT word, note FROM dim_word_history WHERE valid_to IS NOT NULL")
    assert sorted(history) == expected
    shared.do("DELETE FROM words")
    shared.run(reconcile=True)
    assert value(shared.house.url, "SELECT count(*) FROM fact_word WHERE deleted") == len(VALUES)
    assert value(shared.house.url, "SELECT to_regclass('canary') IS NOT NULL")


def test_text_of_any_kind_may_be_rejected_and_accepted(shared: Pair) -> None:
    """The reason and the row show it unchanged."""
    shared.fresh(
        {
            "dim_word": "SELECT word FROM known",
            "fact_word": "-- key: id\nSELECT id, word, day, note FROM words",
            "schema": """
                CREATE TABLE dim_word (word text PRIMARY KEY);
                CREATE TABLE fact_word (id int NOT NULL, word text REFERENCES dim_word, day date, note text);
            """,
        },
        "CREATE TABLE known (word text PRIMARY KEY)",
        "CREATE TABLE words (id int PRIMARY KEY, word text, day text, note text)",
    )
    words = [word[:2000] for word in VALUES]
    waiting = [(place, word, None, word) for place, word in enumerate(words)]
    unfit = [(place, None, word, word) for place, word in enumerate(words, 100)]
    fine = (999, None, None, "a table that loses all its rows fails")
    insert(shared.source_url, "words", [*waiting, *unfit, fine])
    shared.run()
    found = shared.house.query("SELECT (key ->> 'id')::int, reason, \"row\" FROM etl.rejected")
    aside = {place: (reason, row) for place, reason, row in found}
    assert len(aside) == 2 * len(words)
    for place, word in enumerate(words):
        assert aside[place][0] == "word is not in dim_word"
        assert (aside[place][1]["word"], aside[place][1]["note"]) == (word, word)
        assert aside[100 + place][0] == "day does not fit date"
        assert (aside[100 + place][1]["day"], aside[100 + place][1]["note"]) == (word, word)
    insert(shared.source_url, "known", [(word,) for word in words])
    shared.do("UPDATE words SET day = NULL WHERE id >= 100")
    shared.run()
    assert shared.house.rejected() == []
    assert shared.house.query("SELECT id, word, note FROM fact_word ORDER BY 1") == [
        (place, word, note)
        for place, word, _, note in [*waiting, *((i, None, None, w) for i, _, w, _ in unfit), fine]
    ]
