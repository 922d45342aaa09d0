"""The data dictionary has tables, views, meanings, keys, sources and row counts, in a page of its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape

import psycopg
import pytest

from pipeline.models import library
from pipeline.review import dictionary
from pipeline.review.dictionary import Days, Dictionary
from tasks import data_dictionary, erd
from tests.pair import Pair


@pytest.fixture
def found(shop: Pair) -> Dictionary:
    house = shop.house
    return dictionary.read(house.url, house.schema, library.load(house.folder), [], house.raw)


def test_tables_have_keys_references_sources_and_row_counts(found: Dictionary) -> None:
    tables = {table.name: table for table in found.tables}
    assert {name: table.kind for name, table in tables.items()} == {
        "dim_shop": "dimension", "fact_sale": "fact", "dim_total": "dimension",
    }  # fmt: skip
    columns = {column.name: column for column in tables["fact_sale"].columns}
    assert [name for name, column in columns.items() if column.in_key] == ["sale_id"]
    assert columns["shop_id"].refers_to == "dim_shop"
    assert (columns["amount"].type, columns["amount"].sources) == ("numeric(8,2)", ("sale.amount",))
    assert tables["dim_shop"].rows == 3
    assert (tables["dim_shop"].versions or 0) > 3
    assert found.state.last_batch is not None


def test_views_for_readers_have_their_columns(found: Dictionary) -> None:
    views = {view.name: view for view in found.views}
    assert {"freshness", "rejected", "batches"} <= views.keys()
    assert not views.keys() & {table.name for table in found.tables}
    as_of = views["freshness"].columns[0]
    assert (as_of.name, as_of.type) == ("as_of", "timestamp with time zone")
    assert as_of.meaning
    assert not any("Made by the pipeline" in (view.meaning or "") for view in found.views)


def test_the_page_names_a_moment_that_can_be_looked_at(found: Dictionary, shop: Pair) -> None:
    page = data_dictionary.page(found, datetime.now(UTC))
    moment = str(re.findall(r"etl\.look_at\(&#39;(.+?)&#39;\)|etl\.look_at\('(.+?)'\)", page)[0][1])
    with psycopg.connect(shop.house.url) as reader:
        reader.execute("SELECT etl.look_at(%s)", (moment,))
        first = reader.execute("SELECT as_of = first_batch FROM reporting.freshness").fetchone()
        reader.execute("SELECT count(*) FROM reporting.fact_sale")
        reader.execute("SELECT etl.look_at(%s::timestamptz - interval '1 microsecond')", (moment,))
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            reader.execute("SELECT count(*) FROM reporting.fact_sale")
    assert first == (True,)


def test_the_page_explains_versions_empty_tables_days_and_questions(found: Dictionary) -> None:
    days = Days(column="day", first_day="2024-05-01", last_day="2024-05-09")
    tables = {table.name: table for table in found.tables}
    fact = tables["fact_sale"].model_copy(update={"days": days})
    empty = tables["dim_total"].model_copy(update={"rows": 0, "meaning": "One row per total."})
    view = found.views[0].model_copy(update={"questions": ("Which customers are lost (churn)?",)})
    changed = found.model_copy(update={"tables": (fact, empty), "views": (view,)})
    page = data_dictionary.page(changed, datetime.now(UTC))
    assert "2024-05-01 to 2024-05-09 (<code>day</code>)." in page
    assert '<a href="#dim_total">dim_total</a>: One row per total.' in page
    assert f'(churn)? <a href="#reporting.{view.name}">' in page
    assert "<code>public.fact_sale</code> has every version of every row: its sums are too high" in page
    for name in ("recorded_at", "superseded_at", "deleted", "committed_at", "valid_from", "valid_to"):
        assert f"<code>{name}" in page, name
    for end in ("_current", "_history", "_as_of"):
        assert found.beside[end] in page


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(found: Dictionary) -> None:
    script = "<script>alert(1)</script>"
    table = found.tables[0].model_copy(update={"name": script, "meaning": script})
    page = data_dictionary.page(found.model_copy(update={"tables": (table,)}), datetime.now(UTC))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in page
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", page)


def test_the_diagram_draws_names_that_mean_something_else_to_d2(found: Dictionary) -> None:
    names = (
        "label",
        "Shape",
        "class",
        "top",
        "style",
        "_",
        "null",
        "*",
        "a.b",
        "a->b",
        "${x}",
        "#",
        "@x",
        '"',
    )
    column = next(each for each in found.tables[0].columns if each.in_key)
    columns = tuple(column.model_copy(update={"name": name}) for name in names)
    table = found.tables[0].model_copy(update={"name": "steps", "columns": columns})
    other = table.model_copy(
        update={"name": "near", "columns": (column.model_copy(update={"refers_to": "steps"}),)}
    )
    picture = erd.draw([table, other])
    assert picture is not None
    drawn = {unescape(text).strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", picture)}
    assert {*names, "steps", "near"} <= drawn
