"""Personal data: columns that models declare, and hashes in place of values in the source's SELECT.

A hash is HMAC-SHA-256, so nobody without the key can try names until one fits. The key reaches the source
as a bound parameter of one statement, and other statements name the setting that holds it.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from pipeline.errors import ModelError, SettingsError
from pipeline.redaction import learn
from pipeline.types import Column

if TYPE_CHECKING:
    from pipeline.models import Model
    from pipeline.postgres import Connection

# How many characters a key has at least; `openssl rand -hex 32` makes one of 64.
SHORTEST_KEY = 32
_BLOCK = 64
_DIGITS = 12
# Rows are hashed by the server: sha256 is there since Postgres 11, hmac is an extension's.
_HMAC = """encode(sha256((SELECT decode(current_setting({outer}), 'hex')) || sha256(
(SELECT decode(current_setting({inner}), 'hex')) || convert_to({value}::text, 'UTF8'))), 'hex')"""


@dataclass(frozen=True)
class Declared:
    """A column that a header calls personal, as it names it; its table where it says so."""

    column: str
    table: str | None
    hashed: bool

    @property
    def spelled(self) -> str:
        """As the header spells it."""
        return f"{self.table}.{self.column}" if self.table else self.column


class HashKey:
    """The key of all hashes; ``id`` tells keys apart, and tells nothing of them."""

    def __init__(self, secret: str) -> None:
        if len(secret) < SHORTEST_KEY:
            raise SettingsError(
                f"TOTESYS_HASH_KEY: has fewer than {SHORTEST_KEY} characters; make one: openssl rand -hex 32"
            )
        learn(secret)
        self._key = key = secret.encode()
        self._block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self.id = hmac.digest(key, b"which key this is", "sha256").hex()[:_DIGITS]

    def hash(self, text: str) -> str:
        """The hash of a value's text, as the source makes it."""
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def put(self, connection: "Connection") -> None:
        """Let the transaction hash with this key. Its values are bound, so no statement's text has them."""
        pads = {name: bytes(byte ^ mask for byte in self._block).hex() for name, mask in _PADS.items()}
        connection.execute(
            "SELECT set_config(%s, %s, true) IS NULL, set_config(%s, %s, true) IS NULL",
            [part for name, pad in pads.items() for part in (_setting(name, self.id), pad)],
        )


_PADS = {"inner": 0x36, "outer": 0x5C}


def _setting(name: str, key: str) -> str:
    return f"pipeline.{name}_{key}"


def hashing(value: sql.Composable, key: str) -> sql.Composed:
    """The hash of a value's text, in a transaction that :meth:`HashKey.put` has prepared; NULL stays NULL."""
    settings = {name: sql.Literal(_setting(name, key)) for name in _PADS}
    return sql.SQL(_HMAC).format(value=value, **settings)


def columns(
    models: Mapping[str, "Model"], tables: Mapping[str, Collection[str]]
) -> dict[str, dict[str, bool]]:
    """The personal columns of these tables, and whether they are hashed, by table and name.

    Raises ModelError where a header names a column that no table of its model has, or several have.
    """
    found: dict[str, dict[str, bool]] = {}
    for model in models.values():
        for declared in model.personal:
            table = _table_of(model, declared, tables)
            named = found.setdefault(table, {})
            named[declared.column] = declared.hashed or named.get(declared.column, False)
    return found


def _table_of(model: "Model", declared: Declared, tables: Mapping[str, Collection[str]]) -> str:
    having = [
        name
        for name in sorted(model.reads & tables.keys())
        if declared.column in tables[name] and declared.table in {None, name}
    ]
    if len(having) == 1:
        return having[0]
    where = f"{model.path}: personal column {declared.spelled}"
    if having:
        raise ModelError(f"{where} is in {' and in '.join(having)}; write {having[0]}.{declared.column}")
    raise ModelError(f"{where} is in no table of the source that it reads; correct the name, or leave it out")


def key_id(models: Mapping[str, "Model"], key: HashKey | None) -> str:
    """The key's id, or an empty text where no model hashes; raises SettingsError where one lacks the key."""
    for model in models.values():
        for declared in model.personal:
            if declared.hashed and key is None:
                raise SettingsError(
                    f"{model.path}: {declared.spelled} is hashed, and there is no key; set TOTESYS_HASH_KEY"
                    " and run `make blocks`"
                )
    return key.id if key else ""


def hashes(models: Mapping[str, "Model"]) -> bool:
    """Whether a model has columns hashed."""
    return any(declared.hashed for model in models.values() for declared in model.personal)


def with_hashes(columns: Collection[Column], hashed: Mapping[str, bool], key: str) -> Iterator[Column]:
    """The columns as they are read: hashes are texts, whatever is hashed."""
    for column in columns:
        if hashed.get(column.name):
            yield Column(name=column.name, type="text", cast=column.cast, hashed_by=key)
        else:
            yield column
