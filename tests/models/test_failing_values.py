"""A cast that fails for one row in a model that is computed as a whole: the error says where it is."""

from __future__ import annotations

import pytest

from pipeline import messages
from pipeline.errors import ModelError
from tests.pair import Pair

SOURCE = (
    "CREATE TABLE item (item_id int PRIMARY KEY, code text, price numeric(12, 2), made text)",
    "INSERT INTO item SELECT n, n, n, '2024-01-01' FROM generate_series(1, 20) AS n",
)
SUM = """
-- key: one
SELECT
    1 AS one,
    {} AS value
FROM item AS i
"""
TABLES = """
    CREATE TABLE IF NOT EXISTS dim_sum (one integer PRIMARY KEY, value numeric);
    CREATE TABLE IF NOT EXISTS dim_more (one integer PRIMARY KEY, value numeric);
"""
REMEDY = "; write TRY_CAST for NULL, or correct it in the source"
HIDDEN = "; TOTESYS_SHOW_VALUES=true shows the value and its row"
FAILS = {
    "sum(CAST(i.code AS INTEGER))": (
        "UPDATE item SET code = 'se''v\"en' WHERE item_id = 7",
        "a value of code does not fit integer, in item.code",
        "Could not convert string 'se'v\"en' to INT32 when casting from source column code, in item.code",
    ),
    "sum(CAST(substr(i.code, 1, 9) AS INTEGER))": (
        "UPDATE item SET code = 'seven' WHERE item_id = 7",
        "a value does not fit integer",
        "'seven' to INT32",
    ),
    "max(year(CAST(made AS DATE)))": (
        "UPDATE item SET made = 'today' WHERE item_id = 7",
        "a value of made does not fit, in item.made",
        ", in item.made",
    ),
    "sum(CAST(price AS SMALLINT))": (
        "UPDATE item SET price = 99999 WHERE item_id = 7",
        "a value of price does not fit smallint, in item.price",
        "in item.price",
    ),
}


@pytest.mark.parametrize("shows", [False, True])
@pytest.mark.parametrize("expression", FAILS)
def test_the_line_the_column_and_the_row_are_named(
    shared: Pair, monkeypatch: pytest.MonkeyPatch, expression: str, shows: bool
) -> None:
    monkeypatch.setattr(messages, "shows_values", lambda: shows)
    change, hidden, shown = FAILS[expression]
    shared.fresh({"dim_sum": SUM.format(expression), "schema": TABLES}, *SOURCE)
    shared.run()
    shared.do(change)
    with pytest.raises(ModelError) as raised:
        shared.run()
    text = str(raised.value)
    assert text.startswith(f"{shared.house.folder}/dim_sum.sql:4: Conversion Error: ")
    assert "\n" not in text
    if shows:
        assert text.endswith(REMEDY)
        assert shown in text
        assert ("of item_id 7;" in text) == ("item." in hidden)
    else:
        assert text.partition("Conversion Error: ")[2] == hidden + REMEDY + HIDDEN


def test_the_model_below_is_named_whose_cast_fails(shared: Pair) -> None:
    models = {"dim_sum": SUM.format("sum(CAST(code AS INTEGER))"), "schema": TABLES}
    models["dim_more"] = "SELECT one, value + 1 AS value FROM dim_sum"
    shared.fresh(models, *SOURCE, "UPDATE item SET code = 'x' WHERE item_id = 7")
    with pytest.raises(ModelError, match=r"dim_sum\.sql:4: .* in item\.code"):
        shared.run()
