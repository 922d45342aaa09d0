"""What is said of a schema.sql and of marts does not depend on the language of the server's messages."""

from __future__ import annotations

import psycopg
import pytest

from pipeline.warehouse import mart_changes, schema_file

OWN_SCRIPT = "correct it, or leave it to a script of your own; runs also read the file with temporary tables"


@pytest.mark.parametrize(
    ("error", "is_temporary", "advice"),
    [
        (psycopg.errors.InvalidTableDefinition("Tabelle »x« ist eine temporäre Tabelle"), True, OWN_SCRIPT),
        (psycopg.errors.InvalidParameterValue("ajout impossible à la publication"), True, OWN_SCRIPT),
        (psycopg.errors.WrongObjectType("»x« ist keine Tabelle"), False, "correct it"),
        (psycopg.errors.SyntaxError("erreur de syntaxe"), True, "correct it"),
        (
            psycopg.errors.DuplicateTable("Relation »x« existiert bereits"),
            False,
            "runs execute the file again: write IF NOT EXISTS or OR REPLACE",
        ),
    ],
)
def test_the_kind_of_an_error_tells_what_to_do(error: psycopg.Error, is_temporary: bool, advice: str) -> None:
    assert schema_file._advice(error, is_temporary=is_temporary) == advice


def test_a_stand_in_of_a_renamed_table_is_found_in_any_language() -> None:
    error = psycopg.errors.WrongObjectType("»fact_sale_history« ist ein zusammengesetzter Typ")
    line = "old.sql:2: »fact_sale_history« ist ein zusammengesetzter Typ; correct the mart"
    hidden = ["fact_sale", "fact_sale_history"]
    assert mart_changes._without_stand_in(line, error, hidden) == (
        'old.sql:2: relation "fact_sale_history" does not exist; correct the mart'
    )
    other = psycopg.errors.UndefinedColumn("Spalte »fact_sale« existiert nicht")
    assert mart_changes._without_stand_in(str(other), other, hidden) == str(other)
