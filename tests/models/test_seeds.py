"""Seeds: CSV files that models read as tables, in their types, as each batch had them."""

from __future__ import annotations

import shutil
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.lake import manifests
from pipeline.models import seeds
from tests.house import plan_batch
from tests.pair import EMPTY, Pair
from tests.support import execute, write_models


def seed(folder: Path, content: str | bytes, name: str = "rates") -> seeds.Seed:
    """A seed of that content."""
    path = folder / f"{name}.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return seeds.read(path)


@pytest.mark.parametrize(
    ("values", "type_", "first"),
    [
        (["1", "-20"], "bigint", 1),
        (["9223372036854775808"], "numeric(38,0)", Decimal(9223372036854775808)),
        (["007", "12"], "text", "007"),
        (["+1"], "text", "+1"),
        (["1.50", "2"], "numeric(18,2)", Decimal("1.50")),
        (["123456789012345678.5"], "numeric(38,1)", Decimal("123456789012345678.5")),
        (["1" * 39 + ".5"], "text", "1" * 39 + ".5"),
        (["1e5"], "text", "1e5"),
        (["true", "false"], "boolean", True),
        (["True"], "text", "True"),
        (["2024-02-29", ""], "date", date(2024, 2, 29)),
        (["2023-02-29"], "text", "2023-02-29"),
        (["2024-02-29 10:11:12.5"], "timestamp", datetime(2024, 2, 29, 10, 11, 12, 500_000)),
        (["2024-02-29 25:11"], "text", "2024-02-29 25:11"),
        (["", ""], "text", None),
        (["x", "", "1"], "text", "x"),
        (["'; DROP", "a\nb"], "text", "'; DROP"),
    ],
)
def test_a_type_is_inferred_from_all_values(
    tmp_path: Path, values: list[str], type_: str, first: object
) -> None:
    quoted = [f'{place},"{value}"' for place, value in enumerate(values)]
    read = seed(tmp_path, "\n".join(["place,value", *quoted]))
    assert read.columns[1].type == type_
    assert read.rows["value"][0].as_py() == first


def test_a_type_may_be_declared(tmp_path: Path) -> None:
    head = 'a:text,b : smallint,"c:numeric(6, 2)",d:Date,e'
    read = seed(tmp_path, f"{head}\r\n007,12,1.5,2024-01-01,x\r\n,,,,\r\n")
    assert [column.type for column in read.columns] == ["text", "smallint", "numeric(6,2)", "date", "text"]
    expected = {"a": "007", "b": 12, "c": Decimal("1.50"), "d": date(2024, 1, 1), "e": "x"}
    assert read.rows.to_pylist() == [expected, dict.fromkeys(expected)]


def test_line_ends_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    one = seed(tmp_path, "a,b\n1,x\n")
    assert seed(tmp_path, b'\xef\xbb\xbfa,b\r\n1,"x"\r\n').digest == one.digest
    assert seed(tmp_path, "a,b\n1,y\n").digest != one.digest
    assert seed(tmp_path, "a:text,b\n1,x\n").digest != one.digest


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_only_line_ends_of_csv_end_a_row(tmp_path: Path, character: str) -> None:
    read = seed(tmp_path, f"name\na{character}b\nc\n")
    assert read.rows.to_pylist() == [{"name": f"a{character}b"}, {"name": "c"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r":1: is empty; its first line names the columns"),
        ("a,b\n1,2\n3\n", r":3: has 1 of the 2 fields that line 1 names"),
        ("a,b\n1,2,3\n", r":2: has 3 of the 2 fields that line 1 names"),
        ('a,b\n"x\ny",2\n\n3,4\n', r":4: has 0 of the 2 fields"),
        ("a,b,a\n", r":1: more than one column has the name a"),
        ("a,A\n", r":1: more than one column has the name a"),
        ("a,\n1,2\n", r":1: a column has no name"),
        ("a:int\n1\n", r":1: column a has the type 'int'; use one of boolean, smallint, integer,"),
        ("a:numeric\n1\n", r":1: column a has the type 'numeric'"),
        ('"a:numeric(50,2)"\n1\n', r":1: column a has the type 'numeric\(50,2\)'"),
        ("a:integer\n1\nx\n", r":3: column a: not a value of type integer"),
        ("a:smallint\n40000\n", r":2: column a: not a value of type smallint"),
        ('"a:numeric(4,2)"\n1.234\n', r":2: column a: not a value of type numeric\(4,2\)"),
        ('"a:numeric(4,2)"\n123.4\n', r":2: column a: not a value of type numeric\(4,2\)"),
        ("a:date\n2024-02-30\n", r":2: column a: not a value of type date"),
        ("a:boolean\nyes\n", r":2: column a: not a value of type boolean"),
        (b"a\nx\nCaf\xe9\n", r":3: is not UTF-8"),
        ('a\n"x\n', r":2: is not valid CSV: unexpected end of data"),
        ("a\n" + "x" * 10_000_001, r": has more than 10,000,000 bytes; put it into the source as a table"),
    ],
)
def test_an_invalid_seed_is_refused_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ModelError, match=rf"rates\.csv{message}") as raised:
        seed(tmp_path, content)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("seeds/dim_a.csv", r"seeds/dim_a\.csv: has the name of .*dim_a\.sql; rename one"),
        ("seeds/iso_4217.csv", r"has the name of the reference table iso_4217"),
        ("seeds/more/rates.csv", r"more/rates\.csv: is in a subfolder; seeds lie directly in .*seeds"),
    ],
)
def test_a_seed_needs_a_unique_name_and_lies_in_its_folder(tmp_path: Path, file: str, message: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        write_models(tmp_path, {"dim_a": "SELECT a FROM t"})


MODELS = {
    "dim_rate": "SELECT code, rate FROM rates",
    "fact_sale": """
        -- key: sale_id
        SELECT s.sale_id, s.pieces * r.rate AS worth FROM sale AS s JOIN rates AS r ON r.code = s.code
    """,
    "dim_sale": "SELECT sale_id, worth FROM fact_sale",
    "fact_plain": "-- key: sale_id\nSELECT sale_id, pieces FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_rate (code text PRIMARY KEY, rate numeric(10, 2));
        CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer, worth numeric(20, 2));
        CREATE TABLE IF NOT EXISTS dim_sale (sale_id integer PRIMARY KEY, worth numeric(20, 2));
        CREATE TABLE IF NOT EXISTS fact_plain (sale_id integer, pieces integer);
    """,
}
SOURCE = (
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, code text, pieces integer)",
    "INSERT INTO sale VALUES (1, 'GBP', 2), (2, 'EUR', 4)",
)
WORTH = "SELECT sale_id, worth::text FROM fact_sale_current ORDER BY 1"


def write(pair: Pair, rates: str) -> None:
    folder = pair.house.folder / "seeds"
    folder.mkdir(exist_ok=True)
    (folder / "rates.csv").write_text(rates, encoding="utf-8")


def begin(pair: Pair) -> None:
    pair.fresh(MODELS, *SOURCE)
    write(pair, "code,rate\nGBP,1.00\nEUR,0.80\n")
    pair.run()
    assert pair.house.query(WORTH) == [(1, "2.00"), (2, "3.20")]


def test_a_changed_seed_recomputes_the_models_that_read_it(shared: Pair) -> None:
    begin(shared)
    assert shared.run() is None
    write(shared, "code,rate\r\nGBP,1.00\r\nEUR,0.80\r\n")
    assert shared.run() is None, "what the rows are has not changed"
    write(shared, "code,rate\nEUR,0.90\nUSD,0.70\n")
    shared.do("INSERT INTO sale VALUES (3, 'USD', 10)")
    planned, manifest = plan_batch(shared.source_url, shared.house)
    assert planned.summary.startswith("1 row of sale; new seeds: rates")
    assert manifest
    assert manifest.rows == 1
    counts = shared.house.bring(manifest)
    assert shared.house.query(WORTH) == [(2, "3.60"), (3, "7.00")]
    assert shared.house.query("SELECT sale_id, worth::text FROM dim_sale WHERE sale_id > 1 ORDER BY 1") == [
        (2, "3.60"),
        (3, "7.00"),
    ]
    assert counts["fact_plain"].read == 1, "what does not read it goes on by changes"


@pytest.mark.parametrize("how", [{"full": True}, {"reconcile": True}])
def test_reading_everything_writes_the_seed_again(shared: Pair, how: dict[str, Any]) -> None:
    begin(shared)
    shutil.rmtree(Path(shared.house.raw.root) / "rates")
    shared.run(**how)
    write(shared, "code,rate\nGBP,1.00\nEUR,0.80\nUSD,1.00\n")
    shared.run()
    assert shared.house.query(WORTH) == [(1, "2.00"), (2, "3.20")]


def test_a_rebuild_reads_the_seed_that_each_batch_had(shared: Pair) -> None:
    begin(shared)
    write(shared, "code,rate\nGBP,1.00\nEUR,0.90\n")
    shared.run()
    versions = "SELECT sale_id, worth::text, recorded_at, deleted FROM fact_sale ORDER BY 1, 3"
    before = shared.house.query(versions)
    assert len(before) == 3
    write(shared, "code,rate\nGBP,5\nEUR,6\n")
    execute(shared.house.url, *EMPTY)
    shared.house.prepare()
    while waiting := shared.sealed():
        shared.house.bring(waiting)
    assert shared.house.query(versions) == before


def test_a_seed_with_the_name_of_a_source_table_is_refused(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE, "CREATE VIEW rates AS SELECT 1 AS code")
    write(shared, "code,rate\nGBP,1.00\n")
    with pytest.raises(
        ModelError, match=r"rates\.csv: a table of the source has the same name; rename the seed"
    ):
        shared.run()
    assert manifests.sealed_after(shared.house.raw, None) is None
