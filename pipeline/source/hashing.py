"""Personal data: columns that models declare, and hashes in place of values in the source's SELECT.

A hash is HMAC-SHA-256, so nobody without the key can try names until one fits. The key reaches the source
as a bound parameter of one statement, and other statements name the setting that holds it.
"""

import hashlib
import hmac
from typing import TYPE_CHECKING

from psycopg import sql

from pipeline.errors import SettingsError
from pipeline.redaction import learn

if TYPE_CHECKING:
    from pipeline.postgres import Connection
from pipeline.settings import SHORTEST_KEY

_BLOCK = 64
_DIGITS = 12
# Rows are hashed by the server: sha256 is there since Postgres 11, hmac is an extension's.
_HMAC = """encode(sha256((SELECT decode(current_setting({outer}), 'hex')) || sha256(
(SELECT decode(current_setting({inner}), 'hex')) || convert_to({value}::text, 'UTF8'))), 'hex')"""


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
