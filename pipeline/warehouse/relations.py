"""How the views for readers belong together, which Postgres cannot declare, and files that tell BI tools.

A view of a table has the key of its model, and refers to others as the table's foreign keys do.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from urllib.parse import quote
from uuid import NAMESPACE_URL, UUID, uuid5

from psycopg import sql

from pipeline.columns import Frozen
from pipeline.models.target import LONGEST_NAME, Target
from pipeline.postgres import Connection, select
from pipeline.warehouse.marts import meaning_of
from pipeline.warehouse.schemas import reporting_schema

_SUPERSET_VERSION = "1.0.0"
_NO_PASSWORD = "X" * 10  # with which Superset asks for the password


class Column(Frozen):
    """A column of a view, with its type and meaning."""

    view_name: str
    about: str | None
    name: str
    type: str
    meaning: str | None


class Link(Frozen):
    """A column that refers to a column of another view."""

    column: str
    to_view: str
    to_column: str


class View(Frozen):
    """A view for readers: its columns, its key (if it is a table's), and what it refers to."""

    name: str
    about: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of its columns."""
        return [column.name for column in self.columns]


class Place(Frozen):
    """The database that the views are in, as a BI tool reaches it."""

    host: str
    port: int
    database: str
    role: str
    schema_name: str


def read(connection: Connection, schema: str, targets: Mapping[str, Target]) -> list[View]:
    """The views for readers, those of tables with their keys and links."""
    found: dict[str, list[Column]] = {}
    reporting = reporting_schema(schema)
    for column in select(connection, Column, "warehouse/reader_columns.sql", reporting=reporting):
        found.setdefault(column.view_name, []).append(column)
    return [
        View(
            name=name,
            about=meaning_of(columns[0].about),
            columns=tuple(columns),
            key=targets[name].key if name in targets else (),
            links=tuple(_links(schema, targets[name], found)) if name in targets else (),
        )
        for name, columns in found.items()
    ]


def _links(schema: str, target: Target, views: Mapping[str, object]) -> Iterator[Link]:
    """The foreign keys of a table that consist of one column, in the order of its columns."""
    places = {column.name: place for place, column in enumerate(target.columns)}
    for reference in sorted(target.references, key=lambda each: places[each.columns[0]]):
        if reference.to_schema == schema and reference.to_table in views and len(reference.columns) == 1:
            yield Link(
                column=reference.columns[0], to_view=reference.to_table, to_column=reference.to_columns[0]
            )


def metabase(views: Sequence[View], place: Place) -> str:
    """The views as a manifest of dbt, which the tool dbt-metabase brings into Metabase."""
    nodes = {f"model.warehouse.{view.name}": _node(view, place) for view in views}
    manifest = {"metadata": {}, "nodes": nodes, "sources": {}, "child_map": {name: [] for name in nodes}}
    return json.dumps(manifest, indent=1)


def _node(view: View, place: Place) -> dict[str, object]:
    """A view as a model of dbt, whose constraints are the key and the links."""
    constraints: dict[str, list[dict[str, object]]] = {name: [] for name in view.names}
    if len(view.key) == 1:
        constraints[view.key[0]].append({"type": "primary_key"})
    for link in view.links:
        to_view = f"{place.database}.{place.schema_name}.{link.to_view}"
        constraints[link.column].append(
            {"type": "foreign_key", "to": to_view, "to_columns": [link.to_column]}
        )
    return {
        "resource_type": "model",
        "unique_id": f"model.warehouse.{view.name}",
        "name": view.name,
        "database": place.database,
        "schema": place.schema_name,
        "description": view.about,
        "config": {"materialized": "view"},
        "columns": {
            column.name: {
                "name": column.name,
                "description": column.meaning or "",
                "data_type": column.type,
                "constraints": constraints[column.name],
            }
            for column in view.columns
        },
    }


def superset(views: Sequence[View], place: Place, home: str) -> bytes:
    """The views as an archive of datasets that Superset imports; one that refers to others has a joined one.

    ``home`` names the warehouse, so that a later import replaces the datasets of an earlier one.
    """
    base = uuid5(NAMESPACE_URL, f"{home}/{place.schema_name}")
    by_name = {view.name: view for view in views}
    datasets = {view.name: _dataset(view, place, base) for view in views}
    datasets |= {f"{view.name}_joined": _joined(view, by_name, place, base) for view in views if view.links}
    login = f"{quote(place.role)}:{_NO_PASSWORD}@{place.host}:{place.port}/{quote(place.database)}"
    database = {
        "database_name": f"{place.database} {place.schema_name}",
        "sqlalchemy_uri": f"postgresql+psycopg2://{login}",
        "expose_in_sqllab": True,
        "allow_dml": False,
        "extra": {},
        "uuid": str(base),
        "version": _SUPERSET_VERSION,
    }
    files = {
        "metadata.yaml": {"version": _SUPERSET_VERSION, "type": "SqlaTable"},
        "databases/warehouse.yaml": database,
    } | {f"datasets/warehouse/{name}.yaml": dataset for name, dataset in datasets.items()}
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            # JSON is YAML.
            file.writestr(f"warehouse/{name}", json.dumps(content, indent=1))
    return archive.getvalue()


def _dataset(view: View, place: Place, base: UUID) -> dict[str, object]:
    """A view as a dataset of Superset."""
    return {
        "table_name": view.name,
        "schema": place.schema_name,
        "description": view.about,
        "columns": [
            {
                "column_name": column.name,
                "type": column.type.upper(),
                "description": column.meaning,
                "is_dttm": column.type == "date" or column.type.startswith("timestamp"),
                "groupby": True,
                "filterable": True,
            }
            for column in view.columns
        ],
        "metrics": [{"metric_name": "count", "expression": "COUNT(*)"}],
        "uuid": str(uuid5(base, view.name)),
        "database_uuid": str(base),
        "version": _SUPERSET_VERSION,
    }


def _joined(view: View, views: Mapping[str, View], place: Place, base: UUID) -> dict[str, object]:
    """A view with the columns of all that it refers to, as a dataset over a query.

    These begin with the name of the column that refers to them: sales_staff_first_name.
    """
    columns = {column.name: column for column in view.columns}
    selected = [sql.Identifier("row", column.name) for column in view.columns]
    parts: list[sql.Composable] = list(selected)
    joins: list[sql.Composable] = []
    for number, link in enumerate(view.links):
        alias = f"to_{number}"
        for column in views[link.to_view].columns:
            name = f"{link.column.removesuffix('_id').removesuffix('_date')}_{column.name}"
            if column.name == link.to_column or name in columns or len(name.encode()) > LONGEST_NAME:
                continue
            columns[name] = column.model_copy(update={"name": name})
            parts.append(sql.SQL("{} AS {}").format(sql.Identifier(alias, column.name), sql.Identifier(name)))
        joins.append(
            sql.SQL("LEFT JOIN {} AS {} ON {} = {}").format(
                sql.Identifier(place.schema_name, link.to_view),
                sql.Identifier(alias),
                sql.Identifier("row", link.column),
                sql.Identifier(alias, link.to_column),
            )
        )
    query = sql.SQL("SELECT\n    {}\nFROM {} AS {}\n{}").format(
        sql.SQL(",\n    ").join(parts),
        sql.Identifier(place.schema_name, view.name),
        sql.Identifier("row"),
        sql.SQL("\n").join(joins),
    )
    joined = View(
        name=f"{view.name}_joined",
        about=f"{view.about} With the columns of all that it refers to.",
        columns=tuple(columns.values()),
    )
    return _dataset(joined, place, base) | {"sql": query.as_string()}
