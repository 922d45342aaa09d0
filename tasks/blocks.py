"""Prefect blocks, and what the engine needs of them. Nothing is loaded at import."""

from typing import TypeVar

from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem
from prefect_aws import S3Bucket
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pyarrow import fs
from sqlalchemy.engine import make_url

from pipeline.buckets import Bucket, folder
from pipeline.errors import SettingsError

SOURCE, WAREHOUSE = "totesys-source", "totesys-warehouse"
RAW, PROCESSED = "totesys-raw", "totesys-processed"
CREDENTIALS = "totesys"

_AnyBlock = TypeVar("_AnyBlock", bound=Block)
_SECONDS_TO_CONNECT = 10
_SECONDS_TO_ANSWER = 60


def database_url(name: str) -> str:
    """The libpq URL that a ``sqlalchemy-connector`` block holds, password included."""
    block = _load(SqlAlchemyConnector, name)
    if block is None:
        raise _missing(f"sqlalchemy-connector/{name}")
    info = block.connection_info
    url = info.create_url() if isinstance(info, ConnectionComponents) else make_url(str(info))
    url = url.set(drivername="postgresql")
    arguments = {key: str(value) for key, value in (block.connect_args or {}).items()}
    return url.update_query_dict(arguments).render_as_string(hide_password=False)


def storage(name: str) -> S3Bucket | LocalFileSystem:
    """The bucket block of that name, of whichever of the two kinds it is."""
    block = _load(S3Bucket, name) or _load(LocalFileSystem, name)
    if block is None:
        raise _missing(f"s3-bucket/{name} or local-file-system/{name}")
    return block


def bucket(name: str) -> Bucket:
    """The bucket that the block of that name describes, as the engine uses it."""
    block = storage(name)
    return s3(block) if isinstance(block, S3Bucket) else folder(str(block.basepath))


def s3(block: S3Bucket) -> Bucket:
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
        connect_timeout=_SECONDS_TO_CONNECT,
        request_timeout=_SECONDS_TO_ANSWER,
    )
    root = "/".join(filter(None, [block.bucket_name, block.bucket_folder.strip("/")]))
    return Bucket(filesystem, root, f"s3://{root}")


def _load(kind: type[_AnyBlock], name: str) -> _AnyBlock | None:
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
