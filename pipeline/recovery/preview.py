"""What the next run does because models or schema.sql have changed; nothing is changed to find out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pipeline.columns import Frozen
from pipeline.lake.buckets import Bucket
from pipeline.models.library import Model
from pipeline.models.output import Loaded
from pipeline.models.target import Target
from pipeline.postgres import exists, transaction
from pipeline.recovery import refill, restate
from pipeline.warehouse import bindings, catalogue, ledger, upgrades
from pipeline.warehouse.evolve import Change

Effect = Literal["created", "restated", "compared", "unchanged", "frozen"]


class Preview(Frozen):
    """What happens to a table.

    ``restated`` over ``batches``, so that no version is made; ``compared`` where the lake or the model
    does not allow that: rows that differ get new versions. ``frozen`` if its model was removed. ``altered``
    are statements that the run executes, ``by_hand`` those that it leaves to a person.
    """

    table: str
    effect: Effect
    altered: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    batches: int = 0
    rows: int = 0
    read_by: tuple[str, ...] = ()


def preview(
    url: str, schema: str, models: Mapping[str, Model], transforms: Path, raw: Bucket
) -> list[Preview]:
    """What the next run does to each table that changes, in the order of the models."""
    with transaction(url, "warehouse") as connection:
        upgrades.check(connection)
        if not exists(connection, "etl.model"):
            return [Preview(table=name, effect="created") for name in models]
        changes = catalogue.pending_changes(connection, schema, models, transforms)
        statements = [
            (change.table, change.is_safe, change.statement.as_string(connection)) for change in changes
        ]
    targets = catalogue.targets(url, schema, models)
    with transaction(url, "warehouse", reading=True) as connection:
        rows = bindings.count_rows(connection, schema, targets)
    effects = _effects(
        catalogue.with_contracts(models, targets), targets, ledger.loaded(url, schema), changes
    )
    chain = refill.chain(url, schema, raw)
    found = []
    for name, best in effects.items():
        effect = "compared" if best == "restated" and not chain.manifests else best
        altered, by_hand = (
            tuple(text for table, safe, text in statements if table == name and safe == is_safe)
            for is_safe in (True, False)
        )
        if effect != "unchanged" or by_hand:
            found.append(
                Preview(
                    table=name,
                    effect=effect,
                    altered=altered,
                    by_hand=by_hand,
                    batches=len(chain.manifests) if effect == "restated" else 0,
                    rows=rows.get(name, 0),
                    read_by=tuple(other for other in models if name in models[other].reads),
                )
            )
    return found


def _effects(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    loaded: Mapping[str, Loaded],
    changes: Sequence[Change],
) -> dict[str, Effect]:
    """What happens to each table if the lake has all batches; to those whose models are gone, too."""
    altered = {change.table for change in changes if change.is_safe}
    restated = altered | set(restate.changed(models, loaded))
    effects: dict[str, Effect] = {}
    for name, model in models.items():
        if name not in targets:
            effects[name] = "created"
        elif name in restated:
            effects[name] = "restated"
        elif name in loaded and loaded[name].fingerprint != model.fingerprint:
            effects[name] = "compared"
        else:
            effects[name] = "unchanged"
    return effects | {name: "frozen" for name in loaded if name not in models}
