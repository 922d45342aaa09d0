"""Which tables refer to which: the order in which they are loaded, and references that no load can keep."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from pipeline.errors import WarehouseError
from pipeline.models.library import SCHEMA_FILE, Model
from pipeline.models.target import Target


def load_order(targets: Iterable[Target]) -> list[str]:
    """Each table after those that it refers to, and otherwise dimensions before facts.

    Raises WarehouseError if there is no such order.
    """
    targets = sorted(targets, key=lambda target: (target.fact, target.name))
    names = {target.name for target in targets}
    graph = {
        target.name: {reference.to_table for reference in target.references} & names - {target.name}
        for target in targets
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = ", ".join(reversed(error.args[1]))
        raise WarehouseError(
            f"warehouse: tables refer to each other in a circle: {circle}; drop one of these references,"
            f" also in {SCHEMA_FILE}"
        ) from None


def load_groups(targets: Collection[Target], alone: Collection[str]) -> Iterator[list[str]]:
    """The same order in groups: each of ``alone`` is one, after the groups of those that it refers to."""
    by_name = {target.name: target for target in targets}
    group: list[str] = []
    for name in load_order(targets):
        if name not in alone:
            group.append(name)
            continue
        if any(reference.to_table in group for reference in by_name[name].references):
            yield group
            group = []
        yield [name]
    if group:
        yield group


def refuse_impossible(models: Mapping[str, Model], targets: Mapping[str, Target]) -> None:
    """Raise WarehouseError for references in a circle, or to a bridge, before anything is read for them.

    A bridge's row is deleted when it leaves the result. Versions of facts and rows of dimensions stay, and
    would refer to it for good; rows of a bridge may stay.
    """
    load_order(targets.values())
    losing = {name for name, target in targets.items() if target.bridge and not models[name].keeps_rows}
    for target in targets.values():
        _refuse_references(target, losing)


def _refuse_references(target: Target, losing: Collection[str]) -> None:
    for reference in target.references:
        if reference.to_table in losing:
            raise WarehouseError(
                f"warehouse: {target.name} refers by {reference.name} to {reference.to_table}, a bridge,"
                f" which loses rows that leave its result; drop the reference, also in {SCHEMA_FILE}"
            )
