"""Hash personal columns in the source's SELECT, so that their values never leave the source.

A hash is HMAC-SHA-256: without the key nobody can find a value by trying candidates. The key reaches the
source as a bound parameter that sets a configuration parameter; queries refer to that parameter.
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
# The server hashes; of a text in SQL_ASCII its bytes, as they may not be UTF-8. It has sha256 since Postgres
# 11; hmac needs an extension.
_HMAC = """encode(sha256((SELECT decode(current_setting({outer}), 'hex')) || sha256(
(SELECT decode(current_setting({inner}), 'hex')) || convert_to(
{value}::text, CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END))), 'hex')"""


class HashKey:
    """The key of all hashes; ``id`` distinguishes keys without revealing them.

    Raises SettingsError where the secret is too short.
    """

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
        """The hash of a value's text, equal to the source's."""
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def set_on(self, connection: "Connection") -> None:
        """Set the key for the transaction. It is bound, so it appears in no statement's text."""
        pads = {name: bytes(byte ^ mask for byte in self._block).hex() for name, mask in _PADS.items()}
        connection.execute(
            "SELECT set_config(%s, %s, true) IS NULL, set_config(%s, %s, true) IS NULL",
            [value for name, pad in pads.items() for value in (_setting(name, self.id), pad)],
        )


_PADS = {"inner": 0x36, "outer": 0x5C}


def _setting(name: str, key: str) -> str:
    return f"pipeline.{name}_{key}"


def hashing(value: sql.Composable, key: str) -> sql.Composed:
    """The hash of a value's text, in a transaction after :meth:`HashKey.set_on`; NULL stays NULL."""
    settings = {name: sql.Literal(_setting(name, key)) for name in _PADS}
    return sql.SQL(_HMAC).format(value=value, **settings)
