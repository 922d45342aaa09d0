"""Comments of tables, views, functions and columns: what they mean, as models, schema.sql and marts say.

A table's comment comes from the head of its model, its columns' from ``COMMENT ON COLUMN`` in schema.sql. The
objects beside the table have the same, after a sentence that says what they are.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from pipeline.models.library import Model
from pipeline.models.marts import Mart
from pipeline.models.target import COMMITTED_AT, DELETED, RECORDED_AT, SUPERSEDED_AT, Target, versions_name
from pipeline.postgres import Connection, select, template
from pipeline.warehouse.alterations import Alterations
from pipeline.warehouse.marts import MARK
from pipeline.warehouse.schemas import reporting_schema, view_schemas

OF_ENGINE = {
    RECORDED_AT: "The moment of the batch that brought this version; -infinity if the row is older.",
    SUPERSEDED_AT: "The moment of the batch with the next version of the row; NULL for the latest version.",
    DELETED: "True if the source has deleted the row; this version then repeats its last values.",
    COMMITTED_AT: "When the source committed this version; NULL if that is not known.",
    "valid_from": "The moment from which this version is valid; -infinity if the row is older than that.",
    "valid_to": "The moment at which this version's validity ends; NULL if it is valid now.",
}
ENDED = {DELETED: "True if this version ended because the source has deleted the row."}
_TABLE = (
    "Every version of every row: {reporting} has the present ones under the same name.",
    "The latest version of every row, also of rows that the source has deleted.",
    "The present rows.",
)
BESIDE = {
    "_current": "The present rows.",
    "_history": "Every version of every row, each valid from valid_from until before valid_to.",
    "_version": "The table behind the view {name}_history.",
    "_as_of": "The rows as they were at a moment.",
}
_AT_A_MOMENT = "The rows as they are now, or as they were at the moment that etl.look_at has set."


@dataclass(frozen=True)
class _Place:
    """A comment as it is: of an object, or of its column; a function has a signature."""

    schema_name: str
    object_name: str
    kind: str
    signature: str | None
    column_name: str | None
    description: str | None

    def says(self, text: str | None) -> sql.Composed:
        """The statement that makes it this text."""
        names = [self.schema_name, self.object_name, *([self.column_name] if self.column_name else [])]
        named = template(self.signature) if self.signature else sql.Identifier(*names)
        kind = template("COLUMN" if self.column_name else self.kind)
        return sql.SQL("COMMENT ON {} {} IS {}").format(kind, named, sql.Literal(text))


def ensure(
    connection: Connection,
    schema: str,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    marts: Iterable[Mart],
    found: Alterations | None,
) -> None:
    """Make the comments say what models, schema.sql and marts say; nothing is done if they do."""
    schemas = [schema, *view_schemas(schema)]
    places = select(connection, _Place, "warehouse/comments.sql", schemas=schemas)
    wanted = _of_columns(schema, targets, places, _removed(found))
    of_objects = dict(_of_objects(schema, models, targets))
    by_mart = {mart.name: mart for mart in marts}
    changed = []
    for place in places:
        is_mart = place.schema_name == reporting_schema(schema) and place.object_name in by_mart
        if is_mart:
            text: str | None = _of_mart(by_mart[place.object_name], place)
        elif place.column_name:
            key = (place.schema_name, place.object_name, place.column_name)
            text = wanted.get(key, place.description)
        else:
            text = of_objects.get((place.schema_name, place.object_name), place.description)
        if text != place.description:
            changed.append(place.says(text))
    if changed:
        connection.execute(sql.SQL("; ").join(changed))


def _removed(found: Alterations | None) -> set[tuple[str, str]]:
    """The columns whose comments schema.sql had before and has no more."""
    if found is None:
        return set()
    return {
        (name, column.name)
        for name, columns in found.before.items()
        for column in columns.values()
        if (now := found.declared.get(name, {}).get(column.name)) and column.comment and not now.comment
    }


def _of_objects(
    schema: str, models: Mapping[str, Model], targets: Mapping[str, Target]
) -> Iterator[tuple[tuple[str, str], str]]:
    """The comments of tables and of what stands beside them, by schema and name."""
    as_of, reporting = view_schemas(schema)
    for name, target in targets.items():
        meaning = models[name].meaning
        about = _TABLE[0 if target.fact else 2 if target.bridge else 1].format(reporting=reporting)
        if meaning:
            yield (schema, name), f"{about} {meaning}"
        for suffix, text in BESIDE.items():
            yield (schema, f"{name}{suffix}"), f"{text.format(name=name)} {meaning}".strip()
        for home in (as_of, reporting):
            yield (home, name), f"{_AT_A_MOMENT} {meaning}".strip()


def _of_columns(
    schema: str,
    targets: Mapping[str, Target],
    places: Collection[_Place],
    removed: Collection[tuple[str, str]],
) -> dict[tuple[str, str, str], str | None]:
    """The comments of columns by schema, object and column: those of the table, and those of the engine."""
    of_tables = {
        (place.object_name, place.column_name): place.description
        for place in places
        if place.schema_name == schema and place.column_name
    }
    found: dict[tuple[str, str, str], str | None] = {(schema, *each): None for each in removed}
    for name, target in targets.items():
        own = {column.name for column in target.columns}
        beside = [(schema, f"{name}{suffix}") for suffix in ("_current", "_history")]
        beside += [(home, name) for home in view_schemas(schema)]
        if target.fact:
            beside.append((schema, name))
            of_engine = OF_ENGINE
        else:
            beside.append((schema, versions_name(name)))
            of_engine = OF_ENGINE | ENDED
        for home, relation in beside:
            found |= {(home, relation, each): text for each, text in of_engine.items() if each not in own}
            if (home, relation) != (schema, name):
                found |= {
                    (home, relation, each): found.get((schema, name, each), of_tables.get((name, each)))
                    for each in own
                }
    return found


def _of_mart(mart: Mart, place: _Place) -> str | None:
    """The comment of a mart, which a mark ends, or of its column."""
    if place.column_name:
        return mart.columns.get(place.column_name)
    returns = "".join(f" {name}: {text}" for name, text in mart.columns.items())
    meaning = mart.meaning + (f" Returns{returns}" if mart.is_function and returns else "")
    return f"{meaning} {MARK}."
