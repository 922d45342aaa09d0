"""Random models that the engine accepts: each has a query of the grammar, and random headers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from pipeline.errors import ModelError
from pipeline.models import properties
from pipeline.models.library import closure
from tests.differential import grammar, relations
from tests.differential.drawn import Drawn
from tests.differential.relations import FEED, SEED
from tests.made_up import made_target
from tests.support import write_models

KINDS = ("fact", "fact", "dimension", "bridge")
# Why a random model may be refused; anything else is a fault of the engine.
REFUSALS = re.compile(r"`-- unstable: allowed`|differently from Postgres|in floating point")


def choose(
    random: Random, number: int, folder: Path, keys: Mapping[str, tuple[str, ...]], overlap: int = 0
) -> list[Drawn]:
    """Random models, of which later ones read earlier ones and refer to them.

    None is refused if the source's tables have these ``keys``; they are tried in ``folder``. ``overlap`` is
    that of the cursor.
    """
    cursor = f"{FEED.name}.version{f' {overlap}' if overlap else ''}"
    made: list[Drawn] = []
    while len(made) < number:
        below = [each.query.as_relation(each.name) for each in made[-4:]]
        drawn = grammar.draw(random, [*relations.TABLES, SEED, FEED, *below, *below])
        others = [each for each in drawn.numbers if each not in drawn.key]
        short = random.choice(others) if others and random.random() < 0.3 else None
        filled = random.choice(others) if others and random.random() < 0.2 else None
        # By changed rows only, nothing shows that a key has several rows.
        appends = drawn.grows and bool(keys) and random.random() < 0.2
        refers = None if appends else _reference(random, [each for each in others if each != short], made)
        # A rejected row whose deletion is ignored is retried forever; the oracle does not model that.
        keeps_deleted = refers is None and random.random() < 0.1
        name, kind = f"m{len(made):02}", random.choice(KINDS)
        untracked = random.choice(others) if others and kind != "bridge" and random.random() < 0.1 else None
        reads_feed = FEED.name in re.findall(r"\w+", drawn.sql)
        model = Drawn(
            name, kind, drawn, short, filled, refers, keeps_deleted, untracked, appends,
            cursor if reads_feed else None,
        )  # fmt: skip
        try:
            _try([*made, model], folder, keys)
        except ModelError as refused:
            if not REFUSALS.search(str(refused)):
                raise
        else:
            made.append(model)
    return made


def _try(drawn: Sequence[Drawn], folder: Path, keys: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ModelError if the last of the models is refused."""
    all_models = write_models(folder, {model.name: model.file for model in drawn})
    targets = {model.name: made_target(model.name, model.query.key, **model.types) for model in drawn}
    columns = {table.text: table.catalogue for table in (*relations.TABLES, SEED, FEED)}
    properties.analysed(closure(all_models, drawn[-1].name), targets, columns, keys)


def _reference(random: Random, columns: Sequence[str], made: Sequence[Drawn]) -> tuple[str, Drawn] | None:
    """A column of numbers and the dimension that it refers to, or None."""
    all_models = [
        each for each in made
        if each.kind == "dimension" and len(each.query.key) == 1 and each.query.key[0] in each.query.numbers
    ]  # fmt: skip
    if not (columns and all_models and random.random() < 0.5):
        return None
    return random.choice(columns), random.choice(all_models)
