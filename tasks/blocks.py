"""Prefect blocks, and what the engine needs of them. Nothing is loaded at import.

AWS is imported only where a block of its kind is asked for: it takes half a second, which a
run on folders saves. So folders are asked for first.

An environment's name stands before the names of its blocks, so that several live side by
side on one server: ``totesys-source``, ``prod-totesys-source``.
"""

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, TypeVar

from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem
from prefect.runtime import flow_run
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pyarrow import fs
from pydantic import Field
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipeline.buckets import Bucket, folder
from pipeline.errors import SettingsError
from pipeline.settings import ENVIRONMENT

if TYPE_CHECKING:
    from prefect_aws import AwsSecret, S3Bucket

SOURCE, WAREHOUSE = "totesys-source", "totesys-warehouse"
RAW, PROCESSED = "totesys-raw", "totesys-processed"
CREDENTIALS = "totesys"
ALERTS = "totesys-alerts"

Environment = Annotated[str, Field(pattern=ENVIRONMENT)]
_AnyBlock = TypeVar("_AnyBlock", bound=Block)
SECONDS_TO_CONNECT = 10
SECONDS_TO_ANSWER = 20


def named(name: str, environment: str) -> str:
    """What a block is called in an environment; the empty one has no name."""
    return f"{environment}-{name}" if environment else name


def database_url(name: str, environment: str) -> str:
    """The libpq URL of a database, password included.

    A ``sqlalchemy-connector`` block holds it, or an ``aws-secret`` block says which secret does.
    """
    name = named(name, environment)
    if block := _load(SqlAlchemyConnector, name):
        info = block.connection_info
        url = info.create_url() if isinstance(info, ConnectionComponents) else make_url(str(info))
        arguments = {key: str(value) for key, value in (block.connect_args or {}).items()}
        url = url.update_query_dict(arguments)
    else:
        url = _url_in_secret(name)
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _url_in_secret(name: str) -> URL:
    """The URL that a secret is, or that its parts make as RDS writes them when it rotates passwords."""
    from prefect_aws import AwsSecret  # noqa: PLC0415

    block = _load(AwsSecret, name)
    if block is None:
        raise _missing(f"sqlalchemy-connector/{name} or aws-secret/{name}")
    text = _read(block)
    try:
        if not text.lstrip().startswith("{"):
            return make_url(text.strip())
        parts = json.loads(text)
        return URL.create(
            "postgresql",
            username=parts["username"],
            password=parts["password"],
            host=parts["host"],
            port=int(parts.get("port", 5432)),
            database=parts["dbname"],
            query={"sslmode": parts.get("sslmode", "require")},
        )
    except (ArgumentError, ValueError, KeyError):
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
            f"secret {block.secret_name}: cannot be read: {error}; the role needs"
            " secretsmanager:GetSecretValue on it"
        ) from None
    return found.decode() if isinstance(found, bytes) else str(found)


def storage(name: str, environment: str) -> "S3Bucket | LocalFileSystem":
    """The bucket block of that name, of whichever of the two kinds it is."""
    name = named(name, environment)
    if block := _load(LocalFileSystem, name):
        return block
    from prefect_aws import S3Bucket  # noqa: PLC0415

    if bucket := _load(S3Bucket, name):
        return bucket
    raise _missing(f"s3-bucket/{name} or local-file-system/{name}")


def bucket(name: str, environment: str) -> Bucket:
    """The bucket that the block of that name describes, as the engine uses it."""
    block = storage(name, environment)
    return folder(str(block.basepath)) if isinstance(block, LocalFileSystem) else s3(block)


def s3(block: "S3Bucket") -> Bucket:
    """An S3 prefix, with the credentials and the endpoint of its block."""
    session = block.credentials.get_boto3_session()
    found = session.get_credentials()
    keys = found.get_frozen_credentials() if found else None
    filesystem = fs.S3FileSystem(
        access_key=keys.access_key if keys else None,
        secret_key=keys.secret_key if keys else None,
        session_token=keys.token if keys else None,
        region=session.region_name or "us-east-1",
        endpoint_override=block.credentials.aws_client_parameters.endpoint_url,
        connect_timeout=SECONDS_TO_CONNECT,
        request_timeout=SECONDS_TO_ANSWER,
        # Small objects with one request instead of three.
        allow_delayed_open=True,  # type: ignore[call-arg]  # the stubs are behind
    )
    root = "/".join(filter(None, [block.bucket_name, block.bucket_folder.strip("/")]))
    return Bucket(filesystem, root, f"s3://{root}")


def _load(kind: type[_AnyBlock], name: str) -> _AnyBlock | None:
    """The block, asked for once a flow run: each question costs the server and us some 20 ms."""
    run = flow_run.id
    return _load_once(run, kind, name) if run else _load_now(kind, name)


@lru_cache(maxsize=64)
def _load_once(_: str, kind: type[_AnyBlock], name: str) -> _AnyBlock | None:
    return _load_now(kind, name)


def _load_now(kind: type[_AnyBlock], name: str) -> _AnyBlock | None:
    try:
        loaded = kind.load(name)
    except ValueError as error:
        if "Unable to find block" not in str(error):
            raise
        return None
    return loaded if isinstance(loaded, kind) else None


def forget(kind: type[Block], name: str) -> None:
    """Delete the block of that kind and name, if there is one."""
    if _load(kind, name) is not None:
        kind.delete(name)


def _missing(slug: str) -> SettingsError:
    return SettingsError(f"block {slug} is missing; set TOTESYS_* as the README says and run `make blocks`")
