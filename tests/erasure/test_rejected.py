"""After a row is forgotten of which rows were rejected, a rebuild equals the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.erasure import forget
from pipeline.errors import ModelError
from pipeline.lake import erasures
from pipeline.source.hashing import HashKey
from tests.erasure.people import again, forgotten
from tests.pair import Pair

SOURCE = (
    "CREATE TABLE person (person_id integer PRIMARY KEY, name text, mail text, born date, age integer)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, person_id integer, amount integer)",
    """INSERT INTO person SELECT n, 'Person' || n, 'mail' || n || '@x.org', date '1980-01-01' + n, 20 + n
        FROM generate_series(1, 12) AS n""",
    "UPDATE person SET name = 'Barnaby', mail = 'clementine', age = 33 WHERE person_id = 7",
    "INSERT INTO sale SELECT n, 1 + n % 8, n FROM generate_series(1, 40) AS n",
)
DAYS = ("UPDATE person SET age = age + 1 WHERE person_id IN (6, 7)",)
GONE = (*DAYS, "DELETE FROM person WHERE person_id = 7")

PERSON = "-- personal: name, mail, born\nSELECT person_id, name, mail, born, age FROM person"
HASHED = PERSON.replace(", mail, born\n", "\n-- personal: hash mail\n")
SALE = "-- key: sale_id\nSELECT sale_id, person_id, amount FROM sale"
JOINED = (
    "-- key: sale_id\n-- personal: person.name, person.mail\n"
    "SELECT sale_id, name, mail, amount FROM sale JOIN person USING (person_id)"
)
CAST = (
    "-- key: person_id\n-- personal: name, mail\n"
    "SELECT person_id, name, CAST(substr(mail, 5, 1) AS integer) AS mail FROM person"
)
COMPUTED = "-- personal: name, age\nSELECT person_id, length(name) AS name, age + 1 AS age FROM person"
REPEATED = "-- personal: name, mail\nSELECT person_id % 6 AS person_id, name, mail FROM person"


def person(rule: str = "", mail: str = "text") -> str:
    columns = f"person_id integer PRIMARY KEY, name text, mail {mail}, born date, age integer"
    return f"CREATE TABLE IF NOT EXISTS dim_person ({columns}{rule and f', CHECK ({rule})'});"


def fact(columns: str) -> str:
    return f"CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer NOT NULL, {columns});"


def with_key(expression: str) -> str:
    return PERSON.replace("SELECT person_id,", f"SELECT {expression} AS person_id,")


TOO_BIG = with_key("CASE person_id WHEN 7 THEN 7000000000 ELSE person_id END")
NO_AGE = PERSON.replace("age FROM", "CASE person_id WHEN 7 THEN NULL ELSE age END AS age FROM")
CASTS = "CREATE TABLE IF NOT EXISTS fact_person (person_id integer NOT NULL, name text, mail integer);"
LARGE = fact("name text, mail text, amount integer, CHECK (amount % 16 <> 6)")
SUM = """
    -- key: one
    -- personal: mail
    SELECT 1 AS one, CAST(sum(CAST(replace(mail, 'clementine', '5') AS integer)) AS integer) AS sum
    FROM person WHERE person_id = 7
"""
SUMS = "CREATE TABLE IF NOT EXISTS dim_sum (one integer PRIMARY KEY, sum integer);"

NOT_B = person("name NOT LIKE 'B%'")
REFERS = NOT_B + fact("person_id integer REFERENCES dim_person, amount integer")
Form = tuple[dict[str, str], tuple[str, ...]]
FORMS: dict[str, Form] = {
    "for an erased value": ({"dim_person": PERSON, "schema": NOT_B}, DAYS),
    "and those that refer to it": ({"dim_person": PERSON, "fact_sale": SALE, "schema": REFERS}, DAYS),
    "for another value": ({"dim_person": PERSON, "schema": person("age NOT IN (33, 34)")}, DAYS),
    "and corrected": ({"dim_person": PERSON, "schema": person("age <> 33")}, DAYS),
    "and deleted": ({"dim_person": PERSON, "schema": person("age < 33")}, GONE),
    "too long": ({"dim_person": PERSON, "schema": person(mail="varchar(8)")}, DAYS),
    "for a NULL": (
        {"dim_person": NO_AGE, "schema": person().replace("age integer", "age integer NOT NULL")},
        DAYS,
    ),
    "for its key": ({"dim_person": TOO_BIG, "schema": person()}, DAYS),
    "for a missing key": ({"dim_person": with_key("nullif(person_id, 7)"), "schema": person()}, DAYS),
    "for a key of two rows": ({"dim_person": REPEATED, "schema": person()}, DAYS),
    "as a cast fails": ({"fact_person": CAST, "schema": CASTS}, DAYS),
    "of a join": ({"fact_sale": JOINED, "schema": LARGE}, DAYS),
    "for a computed value": (
        {"dim_person": COMPUTED, "schema": person("age <> 35").replace("name text", "name integer")},
        DAYS,
    ),
    "with a hash": ({"dim_person": HASHED, "schema": person("age <> 34")}, DAYS),
}


@pytest.fixture
def made(shared: Pair) -> Iterator[Pair]:
    shared.key = HashKey("made up " * 5)
    yield shared
    shared.key = None


def live(pair: Pair, form: Form) -> None:
    models, days = form
    pair.fresh(models, *SOURCE)
    for day in ("SELECT", *days):
        pair.do(day)
        pair.run(max_rejected_share=1)
    assert pair.house.query("SELECT count(*) > 0 FROM etl.rejected") == [(True,)]


def differences(pair: Pair) -> list[Any]:
    found = pair.house.rehearse()
    assert found.gaps == []
    return found.differences


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.rarely(
    "corrected", "too long", "a missing key", "two rows", "of a join", "computed", "another value"
)
def test_a_rebuild_equals_the_warehouse(made: Pair, form: str) -> None:
    live(made, FORMS[form])
    assert forgotten(made)["hits"] == []
    assert differences(made) == []
    made.do("UPDATE person SET age = age + 1 WHERE person_id = 8")
    made.run(max_rejected_share=1)
    assert differences(made) == []


def test_an_erasure_that_is_killed_before_it_restates_is_completed(
    made: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(made, FORMS["and those that refer to it"])
    with monkeypatch.context() as patch:
        patch.delattr(forget, "restate")
        with pytest.raises(NameError):
            forgotten(made)
    assert differences(made)
    again(made)
    assert differences(made) == []


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (
            {"dim_person": PERSON, "schema": person("mail NOT LIKE 'erased%'")},
            r'dim_person does not accept an erased value: .*"dim_person_mail_check"; change the table so',
        ),
        (
            {"dim_person": PERSON, "schema": person(mail="varchar(12)")},
            r"dim_person does not accept an erased value: value too long .*; change the table so",
        ),
        (
            {"dim_sum": SUM, "schema": SUMS},
            r"dim_sum\.sql:.*Conversion Error.*; so it would fail with erased values; write TRY_CAST",
        ),
        (
            {
                "dim_person": "-- personal: name\nSELECT person_id,"
                " CAST(substr(replace(name, 'Barnaby', 'Person7'), 7) AS integer) AS number FROM person",
                "fact_sale": "-- key: sale_id\nSELECT sale_id, person_id FROM sale",
                "schema": """
                    CREATE TABLE IF NOT EXISTS dim_person (person_id integer PRIMARY KEY, number integer);
                    CREATE TABLE IF NOT EXISTS fact_sale (
                        sale_id integer NOT NULL, person_id integer REFERENCES dim_person
                    );
                """,
            },
            r"dim_person\.sql:.*Conversion Error.*; so it would fail with erased values; write TRY_CAST",
        ),
    ],
)
def test_an_erased_value_that_does_not_fit_is_refused(made: Pair, models: dict[str, str], words: str) -> None:
    made.fresh(models, *SOURCE)
    made.run()
    before = made.house.query(f"SELECT * FROM {next(iter(models))}")
    with pytest.raises(ModelError, match=words) as refused:
        forgotten(made)
    assert "\n" not in str(refused.value)
    assert made.house.query(f"SELECT * FROM {next(iter(models))}") == before
    assert erasures.in_lake(made.house.raw, {}) == {}
