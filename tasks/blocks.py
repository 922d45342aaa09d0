"""Prefect blocks, and what the engine needs of them. Nothing is loaded at import.

AWS is imported only where a block of its kind is asked for: it takes half a second, which a
run on folders saves. So folders are asked for first.

An environment's name stands before the names of its blocks, so that several live side by
side on one server: ``totesys-source``, ``prod-totesys-source``.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.filesystems import LocalFileSystem
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pyarrow import fs
from pydantic import Field, ValidationError
from sqlalchemy import make_url

from pipeline import connection
from pipeline.connection import Malformed
from pipeline.errors import SettingsError
from pipeline.lake.buckets import Bucket, folder
from pipeline.messages import message
from pipeline.redaction import learn, learn_all
from pipeline.settings import ENVIRONMENT, one_spelling
from pipeline.source.hashing import HashKey

if TYPE_CHECKING:
    from prefect_aws import AwsSecret, S3Bucket

SOURCE, WAREHOUSE = "totesys-source", "totesys-warehouse"
RAW, PROCESSED = "totesys-raw", "totesys-processed"
CREDENTIALS = "totesys"
HASH_KEY = "totesys-hash-key"
ALERTS = "totesys-alerts"

Environment = Annotated[str, Field(pattern=ENVIRONMENT)]
_AnyBlock = TypeVar("_AnyBlock", bound=Block)


def named(name: str, environment: str) -> str:
    """What a block is called in an environment; the empty one has no name."""
    return f"{environment}-{name}" if environment else name


def database_url(name: str, environment: str) -> str:
    """How libpq connects to a database: a conninfo string, password included.

    A ``sqlalchemy-connector`` block holds its parts, or an ``aws-secret`` block says which secret does.
    """
    name = named(name, environment)
    block = _load(SqlAlchemyConnector, name)
    where = (
        f"block sqlalchemy-connector/{name}" if block else f"the secret that block aws-secret/{name} names"
    )
    try:
        return connection.make(_parts_in_block(block) if block else _parts_in_secret(name))
    except Malformed as fault:
        raise SettingsError(f"{where}: {fault}") from None


def _parts_in_block(block: SqlAlchemyConnector) -> dict[str, str]:
    """What a block holds, whoever wrote it, by libpq's keywords. What has a field of its own is not encoded.

    Raises Malformed where two fields say different things, or a secret stands readable.
    """
    info = block.connection_info
    if isinstance(info, ConnectionComponents):
        parts, query = _components(info), info.query or {}
    else:
        parts, query = connection.parts_of_url(str(info)), connection.options_of_url(str(info))
        if "password" in parts:
            # Prefect keeps no part of a URL secret: its pages show it, and its events hold it.
            learn(parts["password"])
            raise Malformed(
                "password in Connection Info", "everybody can read it there; use the fields, with Password"
            )
    for where, options in (("Query", query), ("Connect Args", block.connect_args or {})):
        for keyword, value in options.items():
            if keyword in connection.secret_keywords():
                raise Malformed(
                    f"{keyword} in {where}", "everybody can read it there; use the field Password"
                )
            text = str(int(value) if isinstance(value, bool) else value)
            given = connection.split_hosts(text) if keyword == "host" else {keyword: text}
            if any(parts.setdefault(key, each) != each for key, each in given.items()):
                raise Malformed(f"{keyword} in {where}", "another field of the block says something else")
    return parts


def _components(info: ConnectionComponents) -> dict[str, str]:
    connection.check_scheme(info.driver.value if isinstance(info.driver, Enum) else info.driver)
    fields = {
        "user": info.username,
        "password": info.password.get_secret_value() if info.password else None,
        "port": str(info.port) if info.port else None,
        "dbname": info.database,
    }
    hosts = connection.split_hosts(info.host or "")
    if info.port and hosts.get("port", fields["port"]) != fields["port"]:
        raise Malformed("port", f"{hosts['port']} stands in the host, and another one in its own field")
    return {key: value for key, value in fields.items() if value} | hosts


def _parts_in_secret(name: str) -> dict[str, str]:
    """What a secret's URL says, or its parts as RDS writes them when it rotates passwords."""
    from prefect_aws import AwsSecret  # noqa: PLC0415

    block = _load(AwsSecret, name)
    if block is None:
        raise _missing(f"sqlalchemy-connector/{name} or aws-secret/{name}")
    text = _read(block)
    if connection.is_url(text):
        return connection.parts_of_url(text)
    try:
        parts = json.loads(text)
        return {
            "user": parts["username"],
            "password": parts["password"],
            "host": parts["host"],
            "port": str(parts.get("port", 5432)),
            "dbname": parts["dbname"],
            "sslmode": parts.get("sslmode", "require"),
        }
    except (ValueError, KeyError, TypeError):
        raise SettingsError(
            f"secret {block.secret_name}: is neither a URL postgresql://… nor JSON with username,"
            " password, host, port and dbname"
        ) from None


def _read(block: "AwsSecret") -> str:
    from boto3.exceptions import Boto3Error  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        found = block.read_secret()
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise SettingsError(
            f"secret {block.secret_name}: cannot be read: {message(error)}; the role needs"
            " secretsmanager:GetSecretValue on it"
        ) from None
    return found.decode() if isinstance(found, bytes) else str(found)


def hash_key(environment: str) -> HashKey | None:
    """The key that personal columns are hashed with, where its block is there."""
    block = _load(Secret, named(HASH_KEY, environment))
    return HashKey(str(block.get())) if block else None


def storage(name: str, environment: str) -> "S3Bucket | LocalFileSystem":
    """The bucket block of that name, of whichever of the two kinds it is."""
    name = named(name, environment)
    if block := _load(LocalFileSystem, name):
        return block
    from prefect_aws import S3Bucket  # noqa: PLC0415

    if bucket := _load(S3Bucket, name):
        _refuse_unusable(name, bucket)
        return bucket
    raise _missing(f"s3-bucket/{name} or local-file-system/{name}")


def bucket(name: str, environment: str) -> Bucket:
    """The bucket that the block of that name describes, as the engine uses it."""
    block = storage(name, environment)
    return folder(str(block.basepath)) if isinstance(block, LocalFileSystem) else s3(block)


def s3(block: "S3Bucket") -> Bucket:
    """An S3 prefix, reached through the very client that Prefect's results go through."""
    from pipeline.lake.s3 import S3  # noqa: PLC0415

    uri = one_spelling(f"s3://{block.bucket_name}/{block.bucket_folder}")
    return Bucket(fs.PyFileSystem(S3(_client(block))), uri.removeprefix("s3://"), uri)


def _client(block: "S3Bucket") -> Any:  # noqa: ANN401  boto3 makes its clients' classes at run time
    """A client whose credentials are renewed while it is used, where they can be."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    from pipeline.s3_faults import hint  # noqa: PLC0415

    try:
        return block.credentials.get_client("s3")
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"s3://{block.bucket_name}: {hint(error) or error}") from None


def _refuse_unusable(name: str, block: "S3Bucket") -> None:
    """Refuse a block, edited by hand, that Prefect's results would use differently, or not for long.

    prefect-aws assumes a role once and keeps the role's credentials until they expire.
    """
    where = f"block s3-bucket/{name}"
    try:
        parts = one_spelling(f"s3://{block.bucket_name}/{block.bucket_folder}").split("/")[3:]
    except ValueError as error:
        raise SettingsError(f"{where}: its bucket and folder {error}") from None
    spelled = "/".join(parts)
    if PurePosixPath(block.bucket_folder) != PurePosixPath(spelled):
        raise SettingsError(
            f"{where}: spell its folder {spelled!r}, not {block.bucket_folder!r}, or run `make blocks`"
        )
    if getattr(block.credentials, "assume_role_arn", None):
        raise SettingsError(
            f"{where}: credentials by assume_role_arn expire during a run; name a profile with this role_arn,"
            " whose credentials are renewed"
        )


# Blocks that are tried before they are saved, by name.
_unsaved: ContextVar[Mapping[str, Block]] = ContextVar("unsaved", default=MappingProxyType({}))


@contextmanager
def unsaved(name: str, block: Block) -> Iterator[None]:
    """Let a block count as the one of that name in the block of code, instead of what the server has."""
    token = _unsaved.set({**_unsaved.get(), name: block})
    try:
        yield
    finally:
        _unsaved.reset(token)


def _load(kind: type[_AnyBlock], name: str) -> _AnyBlock | None:
    """The block, asked for once a flow run: each question costs the server and us some 20 ms."""
    if found := _unsaved.get().get(name):
        return found if isinstance(found, kind) else None
    run = flow_run.id
    return _load_once(run, kind, name) if run else _load_now(kind, name)


@lru_cache(maxsize=64)
def _load_once(_: str, kind: type[_AnyBlock], name: str) -> _AnyBlock | None:
    return _load_now(kind, name)


def _load_now(kind: type[_AnyBlock], name: str) -> _AnyBlock | None:
    if _prefect_is_new():
        return None
    try:
        loaded = kind.load(name)
    except (ValidationError, RuntimeError) as error:
        invalid = error if isinstance(error, ValidationError) else error.__cause__
        if not isinstance(invalid, ValidationError):
            raise
        # Its own words show what stands in the block.
        parts = ", ".join(sorted({str(each["loc"][0]) for each in invalid.errors() if each["loc"]}))
        slug = f"{kind.get_block_type_slug()}/{name}"
        raise SettingsError(
            f"block {slug}: {parts}: Prefect cannot read it; edit the block or run `make blocks` again"
        ) from None
    except ValueError as error:
        if "Unable to find block" not in str(error):
            raise
        return None
    if not isinstance(loaded, kind):
        return None
    learn_all(loaded)
    return loaded


def _prefect_is_new() -> bool:
    """Whether Prefect has no server and no database file, so that it has no block either.

    Asking it would start a temporary server, which takes half a minute to make its database.
    """
    prefect = get_current_settings()
    connection_url = prefect.server.database.connection_url
    if prefect.api.url or connection_url is None:
        return False
    url = make_url(connection_url.get_secret_value())
    if url.get_backend_name() != "sqlite" or not url.database:
        return False
    return not Path(url.database).exists()


def forget(kind: type[Block], name: str) -> None:
    """Delete the block of that kind and name, if there is one."""
    if _load(kind, name) is not None:
        kind.delete(name)


def _missing(slug: str) -> SettingsError:
    return SettingsError(f"block {slug} is missing; set TOTESYS_* as the README says and run `make blocks`")
