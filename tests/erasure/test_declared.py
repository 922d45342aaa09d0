"""Personal columns that the source has dropped: their former values are erased, too."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

import pytest

from pipeline.errors import ModelError
from tests.erasure.conftest import DAYS
from tests.erasure.people import MODELS, SOURCE, forgotten, names_in
from tests.erasure.test_retained import retained
from tests.pair import Pair
from tests.recovery.restating import restated
from tests.support import execute, write_models

OLDER = "SELECT DISTINCT mail FROM dim_person_version WHERE person_id = 7 AND mail IS NOT NULL"


def without_mail(header: str) -> Mapping[str, str]:
    """Models of a source that has dropped the column; their table still has it."""
    person = (
        MODELS["dim_person"].replace(" mail,", "").replace("-- personal", f"{header}\n        -- personal")
    )
    team = MODELS["fact_team"].replace("DISTINCT mail", "DISTINCT person_id")
    return {**MODELS, "dim_person": person, "fact_team": team}


@pytest.fixture
def person(shared: Pair) -> Pair:
    """A shop of some days, with a source of its own."""
    shared.live(MODELS, SOURCE, DAYS[:3])
    return shared


def drop(shop: Pair, header: str) -> None:
    shop.do("ALTER TABLE person DROP COLUMN mail")
    restated(shop, {name: dedent(text).strip() for name, text in without_mail(header).items()})
    shop.run()


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("-- personal: dropped mail", marks=pytest.mark.campaign),
        "-- personal: dropped person.mail",
    ],
)
def test_values_of_a_column_that_the_source_has_dropped_are_erased(person: Pair, header: str) -> None:
    drop(person, header)
    assert {"'ann@x.org'", "ann2@x.org"} <= set(names_in(person))
    assert forgotten(person)["hits"] == []
    assert names_in(person) == []
    assert person.run() is None


def test_versions_that_were_not_restated_lose_what_the_model_no_longer_yields(person: Pair) -> None:
    retained(person)
    drop(person, "-- personal: dropped mail")
    assert person.house.query(OLDER) != []
    assert forgotten(person)["hits"] == []
    assert person.house.query(OLDER) == []
    assert names_in(person) == []


def test_processed_objects_lose_them_where_somebody_has_added_a_column_to_the_table(person: Pair) -> None:
    execute(person.house.url, "ALTER TABLE dim_person ADD COLUMN theirs text")
    restated(person, {})
    retained(person)
    drop(person, "-- personal: dropped mail")
    assert forgotten(person)["hits"] == []
    assert person.house.query(OLDER) == []
    assert names_in(person) == []


def test_a_former_column_that_the_table_fills_is_named_or_erased(shared: Pair) -> None:
    schema = MODELS["schema"].replace("mail text UNIQUE", "mail text NOT NULL DEFAULT '-'")
    shared.live({**MODELS, "schema": schema}, SOURCE, DAYS[:3])
    retained(shared)
    shared.do("ALTER TABLE person DROP COLUMN mail")
    models = {**without_mail("-- personal: dropped mail"), "schema": schema}
    restated(shared, {name: dedent(text).strip() for name, text in models.items()})
    shared.run()
    with pytest.raises(ModelError, match=r"mail would be NULL after the erasure.*DROP NOT NULL"):
        forgotten(shared)
    for table in ("dim_person", "dim_person_version"):
        execute(shared.house.url, f"ALTER TABLE {table} ALTER mail DROP NOT NULL")
    shared.house.prepared = None
    assert forgotten(shared)["hits"] == []
    assert names_in(shared) == []


def retyped(shop: Pair, models: Mapping[str, str]) -> None:
    """Drop the column, and add another one of its name."""
    drop(shop, "-- personal: dropped mail")
    shop.do("ALTER TABLE person ADD COLUMN mail integer", "UPDATE person SET mail = 987650000 + person_id")
    restated(shop, {name: dedent(text).strip() for name, text in models.items()})
    shop.run()


@pytest.mark.parametrize("yields_it", [pytest.param(False, marks=pytest.mark.campaign), True])
def test_values_of_a_column_that_has_another_type_now_are_erased(person: Pair, yields_it: bool) -> None:
    models = {**without_mail(""), "dim_person": without_mail("-- personal: mail")["dim_person"]}
    if yields_it:
        models["dim_person"] = MODELS["dim_person"].replace(
            "full_name, mail", "full_name, CAST(mail AS text) AS mail"
        )
    retyped(person, models)
    others = "SELECT count(*) FROM dim_person_version WHERE person_id <> 7 AND mail LIKE 'mail%'"
    before = person.house.query(others)
    assert forgotten(person)["hits"] == []
    assert names_in(person) == []
    assert person.house.query(others) == before
    assert person.run() is None


def test_a_column_that_the_source_has_is_not_declared_dropped(person: Pair) -> None:
    person_model = f"-- personal: dropped mail\n{dedent(MODELS['dim_person']).strip()}"
    write_models(person.house.folder, {"dim_person": person_model})
    person.do("UPDATE person SET mail = 'a@x.org' WHERE person_id = 7")
    words = r"dim_person\.sql:1: personal column mail is in person; remove the word dropped"
    with pytest.raises(ModelError, match=words):
        person.run()


def test_a_dropped_column_that_no_batch_has_is_refused(person: Pair) -> None:
    drop(person, "-- personal: dropped mial")
    words = r"dim_person\.sql:1: no batch in the raw bucket has a column mial; correct or remove the name"
    with pytest.raises(ModelError, match=words):
        forgotten(person)
