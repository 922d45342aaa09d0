"""Prefect blocks as the engine uses them: connection strings and buckets. No block is loaded at import.

AWS modules are imported only when a block needs them, because that takes half a second. Folders are therefore
tried first.

Block names begin with the environment's name, so that one Prefect server can hold several environments:
``totesys-source``, ``prod-totesys-source``.
"""

import json
from enum import Enum
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.filesystems import LocalFileSystem
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pyarrow import fs
from pydantic import Field

from pipeline import connection
from pipeline.connection import Malformed
from pipeline.errors import SettingsError
from pipeline.lake.buckets import Bucket, folder
from pipeline.messages import message
from pipeline.redaction import learn
from pipeline.settings import ENVIRONMENT, one_spelling
from pipeline.source.hashing import HashKey
from tasks import saved_blocks
from tasks.prefect_messages import api_hint

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
    """A block's name in an environment; the unnamed environment adds no prefix."""
    return f"{environment}-{name}" if environment else name


def database_url(name: str, environment: str) -> str:
    """The conninfo string for libpq, password included.

    Its parts come from a ``sqlalchemy-connector`` block or from the secret that an ``aws-secret`` block
    names.
    """
    block = _load(SqlAlchemyConnector, name, environment)
    full_name = named(name, environment)
    origin = (
        f"block sqlalchemy-connector/{full_name}"
        if block
        else f"the secret that block aws-secret/{full_name} names"
    )
    try:
        return connection.make(_parts_in_block(block) if block else _parts_in_secret(name, environment))
    except Malformed as error:
        raise SettingsError(f"{origin}: {error}") from None


def _parts_in_block(block: SqlAlchemyConnector) -> dict[str, str]:
    """The block's connection parts by libpq's keywords, decoded.

    Raises Malformed if two fields contradict each other or a secret is in a field that Prefect shows.
    """
    info = block.connection_info
    if isinstance(info, ConnectionComponents):
        parts, query = _components(info), info.query or {}
    else:
        parts, query = connection.parts_of_url(str(info)), connection.options_of_url(str(info))
        if "password" in parts:
            # Prefect shows the whole URL on its pages and in its events.
            learn(parts["password"])
            raise Malformed(
                "password in Connection Info", "everybody can read it there; use the fields, with Password"
            )
    for field, options in (("Query", query), ("Connect Args", block.connect_args or {})):
        for keyword, value in options.items():
            if keyword in connection.secret_keywords():
                raise Malformed(
                    f"{keyword} in {field}", "everybody can read it there; use the field Password"
                )
            text = str(int(value) if isinstance(value, bool) else value)
            option = connection.split_hosts(text) if keyword == "host" else {keyword: text}
            if any(parts.setdefault(key, each) != each for key, each in option.items()):
                raise Malformed(f"{keyword} in {field}", "another field of the block has another value")
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
        raise Malformed("port", f"the host contains {hosts['port']}, the field Port another one")
    return {key: value for key, value in fields.items() if value} | hosts


def _parts_in_secret(name: str, environment: str) -> dict[str, str]:
    """The parts of a secret: a URL, or the JSON that RDS writes when it rotates passwords."""
    from prefect_aws import AwsSecret  # noqa: PLC0415

    block = _load(AwsSecret, name, environment)
    if block is None:
        name = named(name, environment)
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
        secret = block.read_secret()
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise SettingsError(
            f"secret {block.secret_name}: cannot be read: {message(error)}; the role needs"
            " secretsmanager:GetSecretValue on it"
        ) from None
    return secret.decode() if isinstance(secret, bytes) else str(secret)


def hash_key(environment: str) -> HashKey | None:
    """The key for hashing personal columns; None if there is no block for it."""
    block = _load(Secret, HASH_KEY, environment)
    return HashKey(str(block.get())) if block else None


def storage(name: str, environment: str) -> "S3Bucket | LocalFileSystem":
    """The block of a bucket: a folder or an S3 prefix."""
    if block := _load(LocalFileSystem, name, environment):
        return block
    from prefect_aws import S3Bucket  # noqa: PLC0415

    bucket, name = _load(S3Bucket, name, environment), named(name, environment)
    if bucket:
        _refuse_unusable(name, bucket)
        return bucket
    raise _missing(f"s3-bucket/{name} or local-file-system/{name}")


def bucket(name: str, environment: str) -> Bucket:
    """The bucket of a block, as the engine uses it; one for all that a flow run does in this process."""
    run = saved_blocks.current_run()
    return _bucket_once(run, name, environment) if run else _bucket(name, environment)


def buckets(environment: str) -> tuple[Bucket, Bucket]:
    """The raw and the processed bucket."""
    return bucket(RAW, environment), bucket(PROCESSED, environment)


@lru_cache(maxsize=8)
def _bucket_once(_: str, name: str, environment: str) -> Bucket:
    return _bucket(name, environment)


def _bucket(name: str, environment: str) -> Bucket:
    block = storage(name, environment)
    return folder(str(block.basepath)) if isinstance(block, LocalFileSystem) else s3(block)


def s3(block: "S3Bucket") -> Bucket:
    """An S3 prefix, accessed with the same client as Prefect's results."""
    from pipeline.lake.s3 import S3  # noqa: PLC0415

    uri = one_spelling(f"s3://{block.bucket_name}/{block.bucket_folder}")
    return Bucket(fs.PyFileSystem(S3(_client(block))), uri.removeprefix("s3://"), uri)


def _client(block: "S3Bucket") -> Any:  # noqa: ANN401  boto3 makes its clients' classes at run time
    """A boto3 client; it renews credentials that expire, if their kind can be renewed."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    from pipeline.s3_errors import hint  # noqa: PLC0415

    try:
        return block.credentials.get_client("s3")
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"s3://{block.bucket_name}: {hint(error) or error}") from None


def _refuse_unusable(name: str, block: "S3Bucket") -> None:
    """Refuse a block that Prefect's results would use with another path, or with credentials that expire.

    prefect-aws assumes a role once and never renews the role's credentials.
    """
    label = f"block s3-bucket/{name}"
    try:
        parts = one_spelling(f"s3://{block.bucket_name}/{block.bucket_folder}").split("/")[3:]
    except ValueError as error:
        raise SettingsError(f"{label}: its bucket and folder {error}") from None
    spelled = "/".join(parts)
    if PurePosixPath(block.bucket_folder) != PurePosixPath(spelled):
        raise SettingsError(
            f"{label}: spell its folder {spelled!r}, not {block.bucket_folder!r}, or run `make blocks`"
        )
    if getattr(block.credentials, "assume_role_arn", None):
        raise SettingsError(
            f"{label}: credentials by assume_role_arn expire during a run; name a profile with this role_arn,"
            " whose credentials are renewed"
        )


def _load(kind: type[_AnyBlock], name: str, environment: str) -> _AnyBlock | None:
    """A block of an environment; None if there is none."""
    names = (named(each, environment) for each in (SOURCE, WAREHOUSE, RAW, PROCESSED, HASH_KEY))
    return saved_blocks.load(kind, named(name, environment), tuple(names))


def _missing(slug: str) -> SettingsError:
    return SettingsError(
        f"block {slug} is missing; set TOTESYS_* as the README says and run `make blocks`{api_hint()}"
    )
