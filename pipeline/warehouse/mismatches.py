"""Find tables that are not as they were loaded: changed by others, dropped, emptied or restored."""

from collections.abc import Collection, Iterable, Mapping

from pipeline.columns import Frozen
from pipeline.postgres import Connection, statement, transaction
from pipeline.warehouse import bindings
from pipeline.warehouse.bindings import UNKNOWN, Binding
from pipeline.words import counted


class Mismatch(Frozen):
    """A table that is not as it was loaded, with the ``reason`` as one line.

    With ``lacks_history`` the versions of a dimension may differ, too. A table that ``may_be_ahead`` may have
    later batches than the schema etl, which was restored. One that ``is_erased`` keeps no version that the
    lake does not have any more.
    """

    table: str
    reason: str
    is_empty: bool
    lacks_history: bool = False
    may_be_ahead: bool = False
    is_erased: bool = False


def examine_tables(url: str, schema: str, targets: Iterable[str]) -> list[Mismatch]:
    """Find the mismatches, and bind tables again that were counted or only rewritten, as by VACUUM FULL."""
    with transaction(url, "warehouse") as connection:
        results = _compare(connection, schema, targets)
        counted_again = [
            (binding, rows)
            for binding, rows, mismatch in results
            if not mismatch and (binding.is_outdated or binding.will_be_trusted)
        ]
        bindings.bind_again(connection, schema, counted_again)
    return [mismatch for _, _, mismatch in results if mismatch]


def find_mismatches(connection: Connection, schema: str, targets: Iterable[str]) -> list[Mismatch]:
    """Find the mismatches, and change nothing."""
    return [mismatch for _, _, mismatch in _compare(connection, schema, targets) if mismatch]


def _compare(
    connection: Connection, schema: str, targets: Iterable[str]
) -> list[tuple[Binding, int, Mismatch | None]]:
    """Each table's binding, row count and mismatch, without those that are computed again anyway."""
    tables = [each for each in bindings.read(connection, schema, targets) if not each.is_behind]
    histories = [
        each.versions
        for each in tables
        if each.has_versions and each.version_count is not None and not each.has_untouched_versions
    ]
    existing = [each.table_name for each in tables if each.is_there and not each.is_untouched]
    rows = {each.table_name: each.row_count or 0 for each in tables if each.is_untouched}
    rows |= {each.versions: each.version_count or 0 for each in tables if each.has_untouched_versions}
    rows |= bindings.count_rows(connection, schema, [*existing, *histories])
    restored = {each.table_name: not each.has_versions for each in tables if each.was_restored}
    stale = _changed_at_another_time(connection, schema, restored)
    return [
        (each, number, _mismatch(schema, each, number, rows.get(each.versions, 0), stale))
        for each in tables
        for number in [rows.get(each.table_name, 0)]
    ]


def _changed_at_another_time(connection: Connection, schema: str, restored: Mapping[str, bool]) -> set[str]:
    """The restored tables whose last change is not the one that etl.batch records."""
    if not restored:
        return set()
    actual = bindings.last_changes(connection, schema, restored)
    recorded = connection.execute(statement("warehouse/last_changes.sql"), {"schema": schema}).fetchall()
    return {str(name) for name, at in recorded if name in restored and actual.get(str(name)) != at}


def _mismatch(
    schema: str, binding: Binding, rows: int, versions: int, stale: Collection[str]
) -> Mismatch | None:
    """The mismatch of a table with so many rows and versions, if there is one."""
    recorded = binding.row_count
    lacks_history = binding.version_count not in {None, versions}
    may_be_ahead = recorded is not None and not binding.is_same_etl
    if not binding.is_there:
        problem = "is missing"
    elif recorded is None and rows == 0:
        problem = "is empty"
    elif recorded == UNKNOWN or (may_be_ahead and binding.is_same_table):
        problem = "may hold later batches than the schema etl, which was restored"
    elif recorded is not None and rows != recorded:
        problem = f"has {counted(rows, 'row')}, and {recorded:,} were loaded"
    elif binding.table_name in stale:
        problem = "was last changed at another time than the schema etl, which was restored, records"
    elif recorded is not None and binding.is_same_etl and not binding.is_same_table:
        problem = "is another table than the one that was loaded"
    elif binding.is_same_etl and not binding.has_same_versions:
        problem, lacks_history = "has another history table than the one that was loaded", True
    elif lacks_history:
        problem = f"has {counted(versions, 'version')} of its rows, and {binding.version_count:,} were loaded"
    else:
        return None
    return Mismatch(
        table=binding.table_name,
        reason=f"warehouse: {schema}.{binding.table_name} {problem}",
        is_empty=rows == 0,
        # An earlier history may have as many versions: a deletion ends one and adds none.
        lacks_history=lacks_history or may_be_ahead or binding.was_replaced,
        may_be_ahead=may_be_ahead,
    )
